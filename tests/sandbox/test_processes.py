"""The processes behind the runner: killed, spoilt, cut off, they are replaced or reported, and none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from mlx_selfdebug.sandbox import Limits, TestRunner, describe_isolation
from mlx_selfdebug.sandbox.confinement.layout import this_interpreter
from mlx_selfdebug.sandbox.grading.report import Report
from mlx_selfdebug.sandbox.processes import worker
from mlx_selfdebug.sandbox.processes.grader import LINK
from mlx_selfdebug.sandbox.processes.launch import Setup
from mlx_selfdebug.sandbox.wire import messages
from mlx_selfdebug.values.checks import Checks

SQUARE = Checks.from_asserts(["assert candidate(3) == 9", "assert candidate(4) == 16"])
RIGHT = "def square(x): return x * x"
ROOMY = Limits(wall_s=60, cpu_s=60)


@pytest.fixture
def alone() -> Iterator[TestRunner]:
    with TestRunner(workers=1, limits=ROOMY) as runner:
        runner.run(RIGHT, SQUARE, "square")
        yield runner


def descendants(process: psutil.Process | None = None) -> list[psutil.Process]:
    found = (process or psutil.Process()).children(recursive=True)
    return [child for child in found if is_ours(child)]


def is_ours(process: psutil.Process) -> bool:
    try:
        return "zygote.main" in " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def none_left(processes: list[psutil.Process], timeout_s: float = 20) -> bool:
    return not psutil.wait_procs(processes, timeout=timeout_s)[1]


def test_a_zygote_killed_from_outside_is_replaced(alone: TestRunner) -> None:
    kill(descendants())
    assert alone.run(RIGHT, SQUARE, "square").passed


@pytest.mark.skipif(sys.platform != "linux", reason="the layer that is left out here is one of Linux")
def test_a_sandbox_process_with_less_confinement_than_was_probed_runs_no_program() -> None:
    required = describe_isolation().in_force
    weaker = worker.Worker(Setup(this_interpreter(), ROOMY, without=frozenset({"seccomp"}), required=required))
    with pytest.raises(worker.WorkerError, match=r"less confinement than was probed \(seccomp: absent: left out\)"):
        weaker.start()
    assert weaker.close() is None, "its process is gone"


def test_a_run_whose_processes_are_killed_is_made_again(alone: TestRunner) -> None:
    future = alone.submit("import time\ntime.sleep(1.5)\n" + RIGHT, SQUARE, "square")
    time.sleep(0.5)
    kill(descendants())
    assert future.result().passed


def test_a_run_whose_processes_are_killed_again_and_again_is_the_machines_fault(alone: TestRunner) -> None:
    future = alone.submit("import time\ntime.sleep(20)\n" + RIGHT, SQUARE, "square")
    while not future.done():
        kill(descendants())
        time.sleep(0.05)
    verdict = future.result()
    assert verdict.outcome == "infrastructure"
    assert verdict.failures[0].error is not None


def test_no_process_outlives_a_killed_runner() -> None:
    program = (
        "import sys; from mlx_selfdebug.sandbox import TestRunner, Limits; from mlx_selfdebug.values.checks import Checks\n"
        "runner = TestRunner(2, Limits(wall_s=600, cpu_s=600))\n"
        "checks = Checks.from_asserts(['assert f() == 1'])\n"
        "futures = [runner.submit(s, checks, 'f') for s in ('def f():\\n  while True: pass', 'import time\\ndef f(): time.sleep(600)')]\n"
        "print('ready', flush=True); [future.result() for future in futures]"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        left: list[psutil.Process] = []
        deadline = time.monotonic() + 60
        while len(left) < 4 and time.monotonic() < deadline:
            time.sleep(0.1)
            left = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert len(left) >= 4
    assert none_left(left)


def test_closing_ends_all_processes() -> None:
    runner = TestRunner(workers=2, limits=ROOMY)
    for future in [runner.submit(RIGHT, SQUARE, "square") for _ in range(4)]:
        future.result()
    left = descendants()
    runner.close()
    assert left
    assert none_left(left)


def test_a_program_ended_in_mid_call_leaves_no_process() -> None:
    before = {process.pid for process in descendants()}
    with TestRunner(workers=1, limits=Limits(wall_s=0.3)) as runner:
        assert runner.run("def square(x):\n  while True: pass", SQUARE, "square").outcome == "timeout_wall"
        assert runner.run(RIGHT, SQUARE, "square").passed
    assert {process.pid for process in descendants()} == before


SPOILING = "import math, builtins\nmath.floor = lambda x: 0\nbuiltins.round = lambda x: 0\n"


def test_checks_that_spoil_their_process_spoil_no_others(alone: TestRunner) -> None:
    spoilt = Checks.from_source(SPOILING + "def check(candidate):\n    assert candidate(3) == 9\n")
    honest = Checks.from_asserts(["import math", "assert math.floor(candidate(3) + 0.5) == round(9.1) == 9"])
    for _ in range(2):
        assert alone.run(RIGHT, honest, "square").passed
        assert alone.run(RIGHT, spoilt, "square").passed
    assert alone.run(RIGHT, honest, "square").passed


@pytest.mark.parametrize(
    "action",
    [
        "import os; os._exit(0)",
        "import os; os.kill(os.getpid(), 9)",
        "import ctypes; ctypes.string_at(0)",
        "import os; os.close(3)",
        "import os; os.write(3, b'x' * 100)",
        "import os; os.fork()",
        "import subprocess; subprocess.run(['/bin/true'])",
        "import socket; socket.create_connection(('127.0.0.1', 22))",
    ],
)
def test_checks_that_break_their_own_process_are_broken_checks(alone: TestRunner, action: str) -> None:
    verdict = alone.run(RIGHT, Checks.from_source(f"def check(candidate):\n    {action}\n"), "square")
    assert verdict.outcome == "infrastructure"
    assert alone.run(RIGHT, SQUARE, "square").passed


def test_a_report_about_another_run_is_not_believed(alone: TestRunner) -> None:
    forged = messages.frame(messages.REPORT, 10**6, Report("passed", (), 1, 1).to_tuple())
    action = f"import os; os.write({LINK}, {forged!r})"
    verdict = alone.run(RIGHT, Checks.from_source(f"def check(candidate):\n    {action}\n"), "square")
    assert verdict.outcome == "infrastructure"
    assert "about run 1000000" in str(verdict)


@pytest.mark.parametrize("action", ["open('/etc/passwd')", "import os; os.listdir(os.path.expanduser('~'))",
                                    "open('/tmp/selfdebug-escape', 'w')"])  # fmt: skip
def test_checks_can_read_and_write_no_files(alone: TestRunner, action: str) -> None:
    checks = Checks.from_source(f"def check(candidate):\n    {action}\n    assert candidate(3) == 9\n")
    assert not alone.run(RIGHT, checks, "square").passed


def test_checks_run_in_a_process_of_their_own(alone: TestRunner) -> None:
    checks = Checks.from_source(
        f"import os\ndef check(candidate):\n    assert candidate(0) != os.getpid()\n    assert os.getpid() != {os.getpid()}\n"
    )
    assert alone.run("import os\ndef square(x): return os.getpid()", checks, "square").passed


def test_expected_values_are_not_in_the_candidates_memory(alone: TestRunner) -> None:
    source = (
        "import gc\ndef square(x):\n    secret = ''.join(['sel', 'fde', 'bug!'])\n"
        "    found = [o for o in gc.get_objects() if type(o) is tuple and secret in [i for i in o if type(i) is str]]\n"
        "    return secret if found else None"
    )
    checks = Checks.from_asserts(["assert candidate(3) == 'selfdebug!'"])
    for _ in range(3):
        assert alone.run(source, checks, "square").outcome == "failed"


def test_a_program_draws_the_same_random_numbers_in_each_run(alone: TestRunner) -> None:
    source = "import random\ndef square(x): return random.random()"
    assert len({alone.run(source, SQUARE, "square").failures[0].got for _ in range(3)}) == 1


def test_a_value_that_keeps_the_checks_busy_for_ever_is_a_timeout(
    alone: TestRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "GRADER_S", 0.5)
    monkeypatch.setattr(alone, "limits", Limits(wall_s=0.5, cpu_s=60))
    checks = Checks.from_asserts(["assert sum(candidate(3)) == 9"])
    verdict = alone.run("def square(x): return range(10 ** 12)", checks, "square")
    assert verdict.outcome == "timeout_wall"
    assert alone.run("def square(x): return [x * x]", checks, "square").passed


def test_a_waiting_run_is_cancelled_when_the_runner_closes() -> None:
    runner = TestRunner(workers=1, limits=Limits(wall_s=0.5))
    futures = [runner.submit("def square(x):\n  while True: pass", SQUARE, "square") for _ in range(20)]
    futures[0].result()
    runner.close()
    assert sum(future.cancelled() for future in futures) > 10


def test_a_runner_does_not_take_over_the_signals_of_its_program(alone: TestRunner) -> None:
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
    assert alone.run(RIGHT, SQUARE, "square").passed


def test_a_runner_works_in_a_program_that_closed_its_standard_descriptors() -> None:
    program = (
        "import os\nfor fd in (0, 1, 2): os.close(fd)\n"
        "from mlx_selfdebug.sandbox import TestRunner; from mlx_selfdebug.values.checks import Checks\n"
        "with TestRunner(1) as runner:\n"
        "  ok = runner.run('def f(): return 1', Checks.from_asserts(['assert f() == 1']), 'f').passed\n"
        "os._exit(0 if ok else 1)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=120, check=False).returncode == 0


def test_the_processes_that_run_tests_load_no_code_of_the_package_but_the_sandboxs_and_its_values():
    listed = "import sys; from mlx_selfdebug.sandbox.processes import zygote; print('\\n'.join(sys.modules))"
    found = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in found if name.startswith("mlx_selfdebug.")}
    allowed = ("mlx_selfdebug.sandbox.", "mlx_selfdebug.values.verdict.")
    assert {name for name in ours if not f"{name}.".startswith(allowed)} == {"mlx_selfdebug.values"}
