"""Try to escape from a confined command, the way a hostile test suite would, and report which attempts were stopped.

Each attempt to escape has a positive control: the same code must succeed in a process that is not confined. Where it does not,
its failure inside the sandbox would prove nothing, and ``held`` is None. The attempts against limits need no control, since what
would happen without a limit is known.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mlx_selfdebug.errors import SandboxError
from mlx_selfdebug.sandbox.confinement import bubblewrap
from mlx_selfdebug.sandbox.confinement.system import command_layer_names
from mlx_selfdebug.sandbox.limits import CommandLimits
from mlx_selfdebug.sandbox.prepared_command import CommandRequest, prepare_command
from mlx_selfdebug.sandbox.probes import CONTROL_TIMEOUT_S, Attempt, Findings, Probe, open_targets
from mlx_selfdebug.sandbox.processes.confined import run
from mlx_selfdebug.sandbox.processes.outcome import Ending, Outcome

# Small limits, so that the attempts to exceed them are over quickly.
_LIMITS = CommandLimits(
    wall_s=60, cpu_s=60, memory_bytes=256 << 20, processes=32, output_bytes=1 << 20, disk_bytes=4 << 20, files=1000
)
# Copies the interpreter into the writable folder, and starts the copy.
_START_COPY = """
shutil.copy(sys.executable, "made")
assert not os.waitpid(os.posix_spawn("./made", ["./made", "-S", "-c", ""], os.environ), 0)[1]
"""
# Sets a limit of the keeper to the value that it has. In the control, ``keeper`` is the calling program, which this leaves
# unchanged.
_SET_LIMITS = """
import resource
resource.prlimit(keeper, resource.RLIMIT_CORE, resource.prlimit(keeper, resource.RLIMIT_CORE))
"""
# Each attempt runs in a process of its own, forked by _PROGRAM. ``x`` holds what there is to reach (see ``open_targets``), and
# ``keeper`` is the number of the process that started the command and watches over it. In the attempts, socket 2 is AF_INET or
# SOCK_DGRAM, the flag of ``unshare`` is CLONE_NEWUSER, and the mode 0o4755 makes a program run with the rights of its file's
# owner.
_ATTEMPTS = (
    Attempt("read a file outside its folders", "files", "open(x['canary']).read()"),
    Attempt("list the home folder", "files", "os.listdir(x['home'])"),
    Attempt("write a file outside its folders", "files", "open(x['folder'] + '/written', 'w').write('x')"),
    Attempt("empty a file outside its folders", "files", "os.truncate(x['victim'], 0)"),
    Attempt("change the mode of a file outside", "files", "os.chmod(x['victim'], 0o600)"),
    Attempt("remove a file outside its folders", "files", "os.unlink(x['doomed'])"),
    Attempt("follow a link out of its folder", "files", "os.symlink(x['canary'], 'link'); open('link').read()"),
    Attempt("change its interpreter's library", "files", "open(os.__file__, 'a').close()"),
    Attempt("make a program that runs as its owner", "files", "open('owner', 'w').close(); os.chmod('owner', 0o4755)"),
    Attempt("connect over TCP", "network", "socket.create_connection(('127.0.0.1', x['tcp']), 5).close()"),
    Attempt("send over UDP", "network", "socket.socket(2, 2).sendto(b'x', ('127.0.0.1', x['udp']))"),
    Attempt("connect to a local socket", "network", "socket.socket(socket.AF_UNIX).connect(x['unix'])"),
    Attempt("start another program", "processes", "assert not os.waitpid(os.posix_spawn('/bin/sh', ['sh', '-c', ':'], {}), 0)[1]"),
    Attempt("start a program that it made", "processes", _START_COPY),
    Attempt("make namespaces of its own", "processes", "import ctypes; assert not ctypes.CDLL(None).unshare(0x10000000)"),
    Attempt("set the limits of the process that keeps it", "processes", _SET_LIMITS),
    Attempt("signal a process outside", "processes", "os.kill(x['pid'], 0)"),
    Attempt("read the environment of a process outside", "processes", "open(f\"/proc/{x['pid']}/environ\").read()"),
)  # fmt: skip
# The program of the command: it makes the attempts and prints the names of those that succeeded.
_PROGRAM = """
import json, os, shutil, socket, sys
attempts, x = json.loads(sys.argv[1])
keeper = os.getppid()
reached = []
for name, source in attempts:
    pid = os.fork()
    if not pid:
        try:
            exec(source)
            os._exit(0)
        finally:
            os._exit(1)
    if not os.waitpid(pid, 0)[1]:
        reached.append(name)
print(json.dumps(reached))
"""


@dataclass(frozen=True)
class _LimitAttempt:
    """An attempt to use more than a limit allows."""

    name: str
    ending: Ending
    """How the command must end if the limit holds."""
    limits: CommandLimits
    code: str


_LIMIT_ATTEMPTS = (
    _LimitAttempt("run past its time limit", "timed_out", replace(_LIMITS, wall_s=0.3), "import time; time.sleep(60)"),
    _LimitAttempt(
        "use more than its memory limit",
        "memory",
        replace(_LIMITS, memory_bytes=64 << 20),
        "import mmap, time; m = mmap.mmap(-1, 96 << 20); [m.write(b'x' * (1 << 20)) for _ in range(96)]; time.sleep(60)",
    ),
    _LimitAttempt(
        "start more processes than its limit",
        "processes",
        _LIMITS,
        "import os, time; all(os.fork() for _ in range(40)); time.sleep(60)",
    ),
    _LimitAttempt(
        "write more than its limit of output", "output", _LIMITS, "import time; print('x' * (2 << 20)); time.sleep(60)"
    ),
    _LimitAttempt(
        "fill more of the disk than its limit",
        "disk",
        _LIMITS,
        "import time; [open(f'f{i}', 'wb').write(b'x' * (1 << 20)) for i in range(8)]; time.sleep(60)",
    ),
)
# Forks twice and starts a new session, as a daemon does. The process that remains holds a lock on a file for as long as it lives.
_LINGER = """
import fcntl, os, time
held = open("held", "w")
fcntl.flock(held, fcntl.LOCK_EX)
if not os.fork():
    os.setsid()
    if not os.fork():
        time.sleep(60)
    os._exit(0)
"""
# Sends SIGKILL to the keeper. The command comes to its own end only if the keeper survives.
_KILL_KEEPER = "import os, time; os.kill(os.getppid(), 9); time.sleep(0.1); print('kept')"


def probe_command(interpreter: str, *, network: bool, without: frozenset[str]) -> Findings:
    """Make every attempt in a confined command of this interpreter and return the results.

    With ``network``, commands may use the network, so no attempt to reach it is made. ``without`` names layers to leave out. Raises
    SandboxError if no such command can be started.
    """
    attempts = [attempt for attempt in _ATTEMPTS if not (network and attempt.group == "network")]
    with open_targets() as targets, _temporary_folder() as folder:
        possible = _reached_unconfined(_program(interpreter, attempts, targets), folder)
    # The control has removed and emptied files, so the confined command gets targets of its own.
    with open_targets() as targets, _temporary_folder() as folder:
        argv = _program(interpreter, attempts, targets)
        request, outcome = _run_with_namespaces(
            CommandRequest(argv, folder, limits=_LIMITS, network=network, without=without)
        )
        reached = _printed_names(outcome.stdout.text())
    probes = []
    for attempt in attempts:
        held = attempt.name not in reached if attempt.name in possible else None
        probes.append(Probe(attempt.name, attempt.group, held))
    limited = replace(request, required=outcome.in_force - {"bubblewrap"})
    return Findings(outcome.layers, outcome.in_force, (*probes, *_limit_probes(interpreter, limited)))


def _program(interpreter: str, attempts: Sequence[Attempt], targets: Mapping[str, object]) -> tuple[str, ...]:
    """Return the command line of the program that makes the attempts."""
    sources = [(attempt.name, attempt.code) for attempt in attempts]
    return interpreter, "-I", "-S", "-c", _PROGRAM, json.dumps([sources, targets])


def _reached_unconfined(program: Sequence[str], folder: str) -> frozenset[str]:
    """Return the names of the attempts that succeed in a process that is not confined."""
    done = subprocess.run(program, capture_output=True, text=True, cwd=folder, timeout=CONTROL_TIMEOUT_S, check=False)
    return _printed_names(done.stdout) if done.returncode == 0 else frozenset()


def _printed_names(text: str) -> frozenset[str]:
    """Return the names that the program of attempts printed. Raises SandboxError if it printed none."""
    try:
        return frozenset(json.loads(text))
    except ValueError as error:
        raise SandboxError(f"a command that probes the sandbox printed no result: {text[-200:]!r}") from error


def _run_with_namespaces(request: CommandRequest) -> tuple[CommandRequest, Outcome]:
    """Run a command in namespaces if there is any way to make them.

    If this program may make none, bubblewrap is tried. Return the request that was run in the end, and its outcome.
    """
    outcome = _run(request)
    lacking = "namespaces" in command_layer_names() and "namespaces" not in outcome.in_force
    if lacking and "namespaces" not in request.without and bubblewrap.works():
        request = replace(request, without=request.without | {"namespaces"}, bubblewrap=True)
        outcome = _run(request)
    return request, outcome


def _limit_probes(interpreter: str, request: CommandRequest) -> Iterator[Probe]:
    """Yield the results of the attempts against limits and against the keeper.

    Each of them takes a command of its own, since it decides how its command ends.
    """
    for attempt in _LIMIT_ATTEMPTS:
        with _temporary_folder() as folder:
            limited = replace(request, folder=folder, limits=attempt.limits)
            outcome = _run(_with_code(interpreter, attempt.code, limited))
            yield Probe(attempt.name, "limits", outcome.ending == attempt.ending)
    with _temporary_folder() as folder:
        _run(_with_code(interpreter, _LINGER, replace(request, folder=folder)))
        yield Probe("leave a process behind", "limits", is_released(Path(folder, "held")))
    with _temporary_folder() as folder:
        held = _keeper_survives(interpreter, replace(request, folder=folder))
        yield Probe("end the process that keeps it", "processes", held)


def _keeper_survives(interpreter: str, request: CommandRequest) -> bool:
    """Run a command that tries to kill its keeper, and return whether the keeper survives."""
    try:
        outcome = _run(_with_code(interpreter, _KILL_KEEPER, request))
    except SandboxError:
        return False
    return outcome.ending == "exited"


def is_released(path: Path) -> bool:
    """Return whether no process holds a lock on the file."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _with_code(interpreter: str, code: str, request: CommandRequest) -> CommandRequest:
    """Return the request with ``code`` as the program of the command."""
    return replace(request, argv=(interpreter, "-I", "-S", "-c", code))


def _run(request: CommandRequest) -> Outcome:
    with prepare_command(request) as command:
        return run(command)


@contextmanager
def _temporary_folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="selfdebug-", ignore_cleanup_errors=True) as folder:
        yield os.path.realpath(folder)
