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
from dataclasses import replace
from pathlib import Path

from mlx_selfdebug.errors import SandboxError
from mlx_selfdebug.sandbox.confinement import bubblewrap
from mlx_selfdebug.sandbox.confinement.system import command_layer_names
from mlx_selfdebug.sandbox.limits import CommandLimits
from mlx_selfdebug.sandbox.prepared_command import Wanted, prepared
from mlx_selfdebug.sandbox.probes import CONTROL_TIMEOUT_S, Findings, Group, Probe, open_targets
from mlx_selfdebug.sandbox.processes.confined import run
from mlx_selfdebug.sandbox.processes.outcome import Ending, Outcome

_LIMITS = CommandLimits(
    wall_s=60, cpu_s=60, memory_bytes=256 << 20, processes=32, output_bytes=1 << 20, disk_bytes=4 << 20, files=1000
)
_START_MADE = """
shutil.copy(sys.executable, "made")
assert not os.waitpid(os.posix_spawn("./made", ["./made", "-S", "-c", ""], os.environ), 0)[1]
"""
# Outside, this sets the limits of the caller to what they are.
_SET_LIMITS = """
import resource
resource.prlimit(keeper, resource.RLIMIT_CORE, resource.prlimit(keeper, resource.RLIMIT_CORE))
"""
# Each is run in a process of its own and reaches its end only if the escape succeeds. ``x`` holds what there is to reach.
_ATTEMPTS: tuple[tuple[str, Group, str], ...] = (
    ("read a file outside its folders", "files", "open(x['canary']).read()"),
    ("list the home folder", "files", "os.listdir(x['home'])"),
    ("write a file outside its folders", "files", "open(x['folder'] + '/written', 'w').write('x')"),
    ("empty a file outside its folders", "files", "os.truncate(x['victim'], 0)"),
    ("change the mode of a file outside", "files", "os.chmod(x['victim'], 0o600)"),
    ("remove a file outside its folders", "files", "os.unlink(x['doomed'])"),
    ("follow a link out of its folder", "files", "os.symlink(x['canary'], 'link'); open('link').read()"),
    ("change its interpreter's library", "files", "open(os.__file__, 'a').close()"),
    ("make a program that runs as its owner", "files", "open('owner', 'w').close(); os.chmod('owner', 0o4755)"),
    ("connect over TCP", "network", "socket.create_connection(('127.0.0.1', x['tcp']), 5).close()"),
    ("send over UDP", "network", "socket.socket(2, 2).sendto(b'x', ('127.0.0.1', x['udp']))"),
    ("connect to a local socket", "network", "socket.socket(socket.AF_UNIX).connect(x['unix'])"),
    ("start another program", "processes", "assert not os.waitpid(os.posix_spawn('/bin/sh', ['sh', '-c', ':'], {}), 0)[1]"),
    ("start a program that it made", "processes", _START_MADE),
    ("make namespaces of its own", "processes", "import ctypes; assert not ctypes.CDLL(None).unshare(0x10000000)"),
    ("set the limits of the process that keeps it", "processes", _SET_LIMITS),
    ("signal a process outside", "processes", "os.kill(x['pid'], 0)"),
    ("read the environment of a process outside", "processes", "open(f\"/proc/{x['pid']}/environ\").read()"),
)  # fmt: skip
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
_LIMIT_ATTEMPTS: tuple[tuple[str, Ending, CommandLimits, str], ...] = (
    ("run past its time limit", "timed_out", replace(_LIMITS, wall_s=0.3), "import time; time.sleep(60)"),
    ("use more than its memory limit", "memory", replace(_LIMITS, memory_bytes=64 << 20),
     "import mmap, time; m = mmap.mmap(-1, 96 << 20); [m.write(b'x' * (1 << 20)) for _ in range(96)]; time.sleep(60)"),
    ("start more processes than its limit", "processes", _LIMITS,
     "import os, time; all(os.fork() for _ in range(40)); time.sleep(60)"),
    ("write more than its limit of output", "output", _LIMITS, "import time; print('x' * (2 << 20)); time.sleep(60)"),
    ("fill more of the disk than its limit", "disk", _LIMITS,
     "import time; [open(f'f{i}', 'wb').write(b'x' * (1 << 20)) for i in range(8)]; time.sleep(60)"),
)  # fmt: skip
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
_KILL_KEEPER = "import os, time; os.kill(os.getppid(), 9); time.sleep(0.1); print('kept')"


def probe_command(interpreter: str, *, network: bool, without: frozenset[str]) -> Findings:
    """Make every attempt in a confined command of this interpreter and return the results.

    Raises SandboxError if no such command can be started.
    """
    attempts = [attempt for attempt in _ATTEMPTS if not (network and attempt[1] == "network")]
    with open_targets() as reachable, _folder() as folder:
        possible = _reached_unconfined(_program(interpreter, attempts, reachable), folder)
    with open_targets() as reachable, _folder() as folder:
        wanted = Wanted(
            _program(interpreter, attempts, reachable), folder, limits=_LIMITS, network=network, without=without
        )
        wanted, outcome = _as_well_as_possible(wanted)
        reached = _names(outcome.stdout.text())
    probes = [Probe(name, group, name not in reached if name in possible else None) for name, group, _ in attempts]
    limited = replace(wanted, required=outcome.in_force - {"bubblewrap"})
    return Findings(outcome.layers, outcome.in_force, (*probes, *_limit_probes(interpreter, limited)))


def _program(
    interpreter: str, attempts: Sequence[tuple[str, Group, str]], reachable: Mapping[str, object]
) -> tuple[str, ...]:
    sources = [(name, source) for name, _, source in attempts]
    return interpreter, "-I", "-S", "-c", _PROGRAM, json.dumps([sources, reachable])


def _reached_unconfined(program: Sequence[str], folder: str) -> frozenset[str]:
    """Return the names of the attempts that succeed in a process that is not confined."""
    done = subprocess.run(program, capture_output=True, text=True, cwd=folder, timeout=CONTROL_TIMEOUT_S, check=False)
    return _names(done.stdout) if done.returncode == 0 else frozenset()


def _as_well_as_possible(wanted: Wanted) -> tuple[Wanted, Outcome]:
    """Run what is wanted, with the namespaces of bubblewrap if this program may make none, and return how it was run."""
    outcome = _outcome(wanted)
    lacking = "namespaces" in command_layer_names() and "namespaces" not in outcome.in_force
    if lacking and "namespaces" not in wanted.without and bubblewrap.works():
        wanted = replace(wanted, without=wanted.without | {"namespaces"}, bubblewrap=True)
        outcome = _outcome(wanted)
    return wanted, outcome


def _limit_probes(interpreter: str, wanted: Wanted) -> Iterator[Probe]:
    for name, ending, limits, source in _LIMIT_ATTEMPTS:
        with _folder() as folder:
            outcome = _outcome(_python(interpreter, source, replace(wanted, folder=folder, limits=limits)))
            yield Probe(name, "limits", outcome.ending == ending)
    with _folder() as folder:
        _outcome(_python(interpreter, _LINGER, replace(wanted, folder=folder)))
        yield Probe("leave a process behind", "limits", is_released(Path(folder, "held")))
    with _folder() as folder:
        yield Probe(
            "end the process that keeps it", "processes", _keeper_survives(interpreter, replace(wanted, folder=folder))
        )


def _keeper_survives(interpreter: str, wanted: Wanted) -> bool:
    try:
        outcome = _outcome(_python(interpreter, _KILL_KEEPER, wanted))
    except SandboxError:
        return False
    return outcome.ending == "exited"


def is_released(path: Path) -> bool:
    """Return whether no process holds a lock on the file any more."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _python(interpreter: str, source: str, wanted: Wanted) -> Wanted:
    return replace(wanted, argv=(interpreter, "-I", "-S", "-c", source))


def _outcome(wanted: Wanted) -> Outcome:
    with prepared(wanted) as command:
        return run(command)


def _names(text: str) -> frozenset[str]:
    """Return the names that the program of attempts printed. Raises SandboxError if it printed none."""
    try:
        return frozenset(json.loads(text))
    except ValueError as error:
        raise SandboxError(f"a command that probes the sandbox printed no result: {text[-200:]!r}") from error


@contextmanager
def _folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="selfdebug-", ignore_cleanup_errors=True) as folder:
        yield os.path.realpath(folder)
