"""What the tests' zygote runs: it confines itself, then runs each probe in a forked child. Started by ``room.py``, never imported."""

import errno
import json
import os
import select
import signal
import socket
import sys
import time

PATIENCE_S = 20
CONTROL = int(sys.argv[1])


def load(sources):
    for name, source in sources:
        module = sys.modules[name] = type(sys)(name)
        if source is None:
            module.__path__ = []
            continue
        parent, _, leaf = name.rpartition(".")
        setattr(sys.modules[parent], leaf, module)
        exec(compile(source, name, "exec"), module.__dict__)


def main(control):
    stream = socket.socket(fileno=control).makefile("rw", encoding="utf-8")
    config = json.loads(stream.readline())
    load(config["sources"])
    linux = sys.modules["mlx_selfdebug.sandbox.confinement.linux"]
    layouts = sys.modules["mlx_selfdebug.sandbox.confinement.layout"]
    layout = layouts.Layout(**config["layout"])
    sys.path[:0] = config["path"]
    if config["abi"]:  # as an older kernel would answer
        linux.landlock.version = lambda: config["abi"]
    plan = layouts.Plan(layout, (0, 1, 2, control), frozenset(config["without"]))
    started = time.perf_counter()
    confinement = linux.confine_zygote(plan)
    cost_ms = (time.perf_counter() - started) * 1000
    say(
        stream, layers=confinement.layers, details=confinement.details, cost_ms=cost_ms, pid=os.getpid(), fds=open_fds()
    )
    for line in stream:
        request = json.loads(line)
        if "here" in request:
            exec(request["here"])
        grader = start_grader(confinement)
        outcome = probe(confinement, request["source"], {**config["names"], "GRADER": grader, "ZYGOTE": os.getpid()})
        os.kill(grader, signal.SIGKILL)
        ending = os.waitpid(grader, 0)[1]
        say(stream, outcome=outcome, grader=ending)


def open_fds():
    found = []
    for fd in range(256):
        try:
            os.fstat(fd)
        except OSError:
            continue
        found.append(fd)
    return found


def say(stream, **answer):
    stream.write(json.dumps(answer) + "\n")
    stream.flush()


def start_grader(confinement):
    ready, done = os.pipe()
    pid = os.fork()
    if not pid:
        confinement.apply()
        os.write(done, b"x")
        while True:
            signal.pause()
    os.read(ready, 1)
    os.close(ready)
    os.close(done)
    return pid


def probe(confinement, source, names):
    answer, mine = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(answer)
        os.write(mine, run(confinement, source, names).encode())
        os._exit(0)
    os.close(mine)
    text = b""
    while answer in (ready := select.select([answer, CONTROL], [], [], PATIENCE_S)[0]) and (
        more := os.read(answer, 65536)
    ):
        text += more
    if CONTROL in ready and not text:  # nothing more is asked before an answer: whoever asked is gone
        os._exit(0)
    os.close(answer)
    if not text:
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else text.decode()


def run(confinement, source, names):
    try:
        started = time.perf_counter_ns()
        confinement.apply()
        names["APPLY_NS"] = time.perf_counter_ns() - started
        exec(source, names)
    except OSError as error:
        return errno.errorcode.get(error.errno, "OSError")
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return f"ok {names.get('result', '')}".strip()


main(CONTROL)
