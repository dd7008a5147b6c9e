"""What a caller gets back, what it may ask for, and what is refused before anything runs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mlx_selfdebug.errors import SandboxError
from mlx_selfdebug.sandbox import CommandLimits, Completed, describe_command_isolation, run_confined
from mlx_selfdebug.sandbox.confinement import bubblewrap
from mlx_selfdebug.sandbox.confinement.system import command_layer_names
from mlx_selfdebug.sandbox.prepared_command import CommandRequest, prepare_command
from mlx_selfdebug.sandbox.processes.confined import run as run_command
from tests.sandbox.command.corpus import ATTEMPTS
from tests.sandbox.command.running import is_released, not_contained, outside, statuses_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="proven on Linux")
LAYERS = frozenset(command_layer_names())
_CALLER = """
import sys
from mlx_selfdebug.sandbox import run_confined
source = '''
import fcntl, os, time
held = open("held", "w")
fcntl.flock(held, fcntl.LOCK_EX)
os.fork()
os.setsid() if os.getpgid(0) != os.getpid() else None
open("ready", "w").close()
time.sleep(600)
'''
run_confined([sys.executable, "-S", "-c", source], folder=sys.argv[1], level="none", without=frozenset(sys.argv[2:]))
"""


def run(source: str, folder: Path, *arguments: str, **options: object) -> Completed:
    return run_confined([sys.executable, "-S", "-c", source, *arguments], folder=folder, **options)  # type: ignore[arg-type]


def test_here_every_probe_is_stopped_and_every_control_gets_there() -> None:
    isolation = describe_command_isolation(sys.executable, afresh=True)
    unproven = {"change its interpreter's library"} if os.getuid() else set()
    assert {probe.name for probe in isolation.probes if not probe.held} <= unproven
    assert isolation.level == "full"
    assert isolation.in_force == LAYERS


def test_exit_code_and_both_outputs_come_back(tmp_path: Path) -> None:
    done = run("import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)", tmp_path)
    assert (done.ending, done.exit_code, done.signal) == ("exited", 7, None)
    assert (done.stdout, done.stderr, done.output_bytes) == ("out\n", "err\n", 8)
    assert not done.succeeded
    assert done.isolation == "full"


_START = """
import subprocess, sys
for program in sys.argv[1:]:
    try:
        print(subprocess.run([program], stdin=subprocess.DEVNULL).returncode)
    except OSError as error:
        print(type(error).__name__)
"""


def test_of_other_programs_only_those_that_are_named_can_be_started(tmp_path: Path) -> None:
    assert run(_START, tmp_path, "/usr/bin/true", "/usr/bin/false").stdout == "FileNotFoundError\nFileNotFoundError\n"
    done = run(_START, tmp_path, "/usr/bin/true", "/usr/bin/false", programs=["/usr/bin/true"])
    assert done.stdout == "0\nFileNotFoundError\n"
    shown = run(
        _START, tmp_path, "/usr/bin/true", "/usr/bin/false", programs=["/usr/bin/true"], readable=["/usr/bin/false"]
    )
    assert shown.stdout == "0\nPermissionError\n"


def test_a_program_that_is_none_is_refused(tmp_path: Path) -> None:
    for program in ("/nowhere", str(tmp_path), __file__):
        with pytest.raises(ValueError, match="is not a program, so a command cannot be allowed to start it"):
            run("", tmp_path, programs=[program])


def test_the_signal_that_ended_it_comes_back(tmp_path: Path) -> None:
    done = run("import os; os.kill(os.getpid(), 15)", tmp_path)
    assert (done.ending, done.exit_code, done.signal) == ("killed", None, signal.SIGTERM)


def test_of_long_output_the_end_is_kept(tmp_path: Path) -> None:
    done = run("print('x' * 100_000); print('end')", tmp_path, limits=CommandLimits(tail_bytes=100))
    assert done.stdout == "x" * 95 + "\nend\n"
    assert done.output_bytes == 100_005


def test_output_that_is_no_text_comes_back_as_replacement_characters(tmp_path: Path) -> None:
    assert run("import os; os.write(1, b'\\xff')", tmp_path).stdout == "\ufffd"


def test_time_and_memory_are_measured(tmp_path: Path) -> None:
    done = run("a = b'x' * (64 << 20)\nwhile __import__('time').process_time() < 0.2: pass", tmp_path)
    assert done.cpu_s >= 0.2
    assert done.wall_s > 0
    assert done.peak_bytes > 64 << 20


def test_what_it_writes_in_its_folder_stays_there(tmp_path: Path) -> None:
    assert run("open('written', 'w').write('x')", tmp_path).succeeded
    assert (tmp_path / "written").read_text() == "x"


def test_nothing_stays_of_its_temporary_folder(tmp_path: Path) -> None:
    done = run("import os, tempfile; print(tempfile.mkdtemp()); open(os.environ['HOME'] + '/x', 'w')", tmp_path)
    assert done.succeeded
    assert not Path(done.stdout.strip()).parent.exists()


def test_it_gets_the_variables_that_are_named_and_no_others(tmp_path: Path) -> None:
    done = run("import os; print(sorted(os.environ))", tmp_path, environment={"COLOUR": "red"})
    assert done.stdout == "['COLOUR', 'HOME', 'LC_ALL', 'LD_ORIGIN_PATH', 'PATH', 'TMPDIR', 'USER']\n"


def test_it_may_read_and_write_where_it_is_told(tmp_path: Path) -> None:
    for name in ("folder", "data", "results"):
        (tmp_path / name).mkdir()
    (tmp_path / "data/in").write_text("7")
    source = "import sys; open(sys.argv[2] + '/out', 'w').write(open(sys.argv[1] + '/in').read())"
    names = [str(tmp_path / "data"), str(tmp_path / "results")]
    assert run(source, tmp_path / "folder", *names, readable=names[:1], writable=names[1:]).succeeded
    assert (tmp_path / "results/out").read_text() == "7"
    assert not run("import sys; open(sys.argv[1] + '/in', 'w')", tmp_path / "folder", *names, readable=names).succeeded


def test_it_sees_its_folder_at_another_path(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "project").mkdir()
    (tmp_path / "project/secret").write_text("x")
    done = run("import os; print(os.getcwd(), os.listdir())", tmp_path / "scratch", seen_at=tmp_path / "project")
    assert done.stdout == f"{tmp_path}/project []\n"


def test_a_link_in_its_folder_leads_nothing_astray(tmp_path: Path) -> None:
    """What is shown inside of the folder needs a place there, and a link must not put that place elsewhere."""
    (tmp_path / "scratch").mkdir()
    (tmp_path / "project/data").mkdir(parents=True)
    (tmp_path / "scratch/data").symlink_to("/.outside" + str(tmp_path / "made"))
    with pytest.raises(SandboxError):
        run("pass", tmp_path / "scratch", seen_at=tmp_path / "project", readable=[tmp_path / "project/data"])
    assert not (tmp_path / "made").exists()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        found.settimeout(20)
        yield found


def test_with_a_network_it_connects_and_all_else_still_holds(tmp_path: Path, server: socket.socket) -> None:
    source = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 10)"
    assert run(source, tmp_path, allow_network=True).succeeded
    server.accept()[0].close()
    with outside() as there:
        others = [attempt for attempt in ATTEMPTS if "socket" not in attempt.source and "urllib" not in attempt.source]
        assert not_contained(others, statuses_of(others, sys.executable, there, allow_network=True)) == {}
        assert there.changes() == []


def test_several_run_at_once(tmp_path: Path) -> None:
    found: list[str] = []

    def one(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        found.append(run(f"print({number})", folder).stdout)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["0\n", "1\n", "2\n", "3\n"]


@pytest.mark.parametrize("left_out", [(), ("namespaces",)], ids=["namespaces", "no namespaces"])
def test_killing_the_caller_leaves_none(left_out: tuple[str, ...], tmp_path: Path) -> None:
    caller = subprocess.Popen([sys.executable, "-c", _CALLER, str(tmp_path), *left_out])
    _wait_until(lambda: (tmp_path / "ready").exists())
    caller.kill()
    caller.wait()
    _wait_until(lambda: is_released(tmp_path / "held"))


@pytest.mark.parametrize("left_out", [(), ("namespaces",)], ids=["namespaces", "no namespaces"])
def test_killing_what_keeps_it_leaves_none_and_is_an_error(left_out: tuple[str, ...], tmp_path: Path) -> None:
    describe_command_isolation(sys.executable, without=frozenset(left_out))
    before = {child.pid for child in psutil.Process().children()}

    def kill() -> None:
        _wait_until(lambda: (tmp_path / "ready").exists())
        for child in psutil.Process().children():
            if child.pid not in before:
                child.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    source = "import fcntl, time; f = open('held', 'w'); fcntl.flock(f, 2); open('ready', 'w'); time.sleep(600)"
    with pytest.raises(SandboxError, match="lost"):
        run(source, tmp_path, level="none", without=frozenset(left_out))
    killer.join()
    _wait_until(lambda: is_released(tmp_path / "held"))


@pytest.mark.parametrize("layer", sorted(LAYERS))
def test_with_a_layer_off_an_attempt_gets_out_only_where_the_level_says_so(layer: str) -> None:
    without = frozenset({layer})
    level = describe_command_isolation(sys.executable, without=without).level
    with outside() as there:
        reached = not_contained(ATTEMPTS, statuses_of(ATTEMPTS, sys.executable, there, level="none", without=without))
        changes = there.changes()
    escaped = {name for name, status in reached.items() if status == 0}
    assert level == "weaker" or (not changes and escaped <= {"opens a raw socket", "opens a netlink socket"}), (
        level,
        reached,
    )


def test_without_any_layer_the_level_is_none_and_the_open_ways_are_named() -> None:
    open_ = describe_command_isolation(sys.executable, without=LAYERS)
    assert open_.level == "none"
    assert {"read a file outside its folders", "connect over TCP", "start another program"} <= set(open_.open_ways)


def test_below_the_level_nothing_is_run(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="read a file outside its folders") as caught:
        run("open('written', 'w')", tmp_path, without=LAYERS)
    assert "--allow-weak-sandbox" in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []


def test_without_namespaces_a_folder_cannot_be_shown_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    with pytest.raises(SandboxError, match="without namespaces"):
        run("pass", tmp_path / "scratch", seen_at=tmp_path, level="none", without=frozenset({"namespaces"}))


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        ([], "argv is empty"),
        (["/nothing/python"], "'/nothing/python', which is not a program"),
        (["/"], "not a program"),
    ],
)
def test_an_interpreter_that_is_not_there_is_named(argv: list[str], part: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=part):
        run_confined(argv, folder=tmp_path)


def test_a_program_that_is_no_python_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="/bin/sh is not a Python interpreter"):
        run_confined(["/bin/sh", "-c", "true"], folder=tmp_path)


@pytest.mark.parametrize("folder", ["/", os.path.expanduser("~"), "/nothing/here", sys.prefix])
def test_a_folder_in_which_writing_would_do_harm_is_refused(folder: str) -> None:
    with pytest.raises(ValueError, match=r"may not write in|is not a folder"):
        run_confined([sys.executable, "-c", "pass"], folder=folder)


def test_the_environment_of_an_interpreter_may_not_be_written_under_another_name(tmp_path: Path) -> None:
    link = tmp_path / "venv"
    link.symlink_to(sys.prefix)
    for folder in (link, Path(sys.prefix)):
        with pytest.raises(ValueError, match="which holds the interpreter"):
            run_confined([str(link / "bin" / "python"), "-c", "pass"], folder=folder)


def test_what_makes_no_sense_is_said_with_its_value(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'A=B'"):
        run("pass", tmp_path, environment={"A=B": "c"})
    with pytest.raises(ValueError, match="/nothing/here does not exist"):
        run("pass", tmp_path, readable=["/nothing/here"])
    with pytest.raises(ValueError, match=r"CommandLimits\.processes is 0"):
        CommandLimits(processes=0)


def _wait_until(holds: object, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(not bubblewrap.works(), reason="there is no bubblewrap that works")
def test_in_namespaces_of_bubblewrap_a_command_is_confined_as_well(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("canary")
    (tmp_path / "project").mkdir()
    source = "import sys; open('inside', 'w').write('written'); open(sys.argv[1])"
    argv = (sys.executable, "-S", "-c", source, str(tmp_path / "outside"))
    request = CommandRequest(argv, str(tmp_path / "project"), without=frozenset({"namespaces"}), bubblewrap=True)
    with prepare_command(request) as command:
        outcome = run_command(command)
    assert outcome.in_force == LAYERS - {"namespaces"} | {"bubblewrap"}
    assert (tmp_path / "project" / "inside").read_text() == "written"
    assert outcome.status == 1
    assert "outside" in outcome.stderr.text()
