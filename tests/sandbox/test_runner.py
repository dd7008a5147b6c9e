"""The runner itself: many threads, nothing left behind, faults of the machine and of the checks kept apart."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from mlx_selfdebug.sandbox import Limits, TestRunner, Verdict
from mlx_selfdebug.sandbox.processes import launch as launch_module
from mlx_selfdebug.sandbox.processes.worker import WorkerError
from mlx_selfdebug.store.codec import parse, plain
from mlx_selfdebug.values.checks import Checks

SQUARE = Checks.from_asserts(["assert candidate(3) == 9", "assert candidate(4) == 16"])
RIGHT = "def square(x): return x * x"


def test_what_is_kept_is_opened_once_for_each_key_and_closed_with_the_runner() -> None:
    open_now: list[str] = []

    @contextmanager
    def opened(name: str, level: str) -> Iterator[str]:
        open_now.append(f"{name} at {level}")
        yield name
        open_now.remove(f"{name} at {level}")

    with TestRunner(1) as runner:
        for name in ("one", "two", "one"):
            assert runner.kept(name, lambda level, name=name: opened(name, level)) == name
        assert open_now == ["one at full", "two at full"]
    assert open_now == []


def test_nothing_is_left_after_200_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    sources = [
        RIGHT,
        "import os\ndef square(x): os._exit(0)",
        "import os\nos.makedirs('a/b'); open('a/b/c', 'w').close()\ndef square(x): return x",
        "import os, time\nif os.fork() == 0: time.sleep(1000)\ndef square(x): return x * x",
        "def square(",
        "import os, signal\ndef square(x): os.kill(os.getpid(), signal.SIGSEGV)",
        "def square(x):\n    while True: pass",
        "raise SystemExit",
    ]
    before = psutil.Process().num_fds(), threading.active_count(), len(psutil.Process().children(recursive=True))
    with TestRunner(workers=3, limits=Limits(wall_s=0.3)) as runner:
        futures = [runner.submit(sources[i % len(sources)], SQUARE, "square") for i in range(200)]
        outcomes = {future.result().outcome for future in futures}
    assert {"passed", "early_exit", "load_error", "crashed", "timeout_wall", "policy_denied"} <= outcomes
    assert (
        psutil.Process().num_fds(),
        threading.active_count(),
        len(psutil.Process().children(recursive=True)),
    ) == before
    assert list(tmp_path.iterdir()) == []


def test_verdicts_from_many_threads_are_those_of_one(runner: TestRunner) -> None:
    checks = Checks.from_source(
        "def check(candidate):\n    import random\n    for _ in range(5):\n        assert candidate(random.randint(0, 10**9)) == 0\n"
    )
    alone = runner.run(RIGHT, checks, "square").failures
    found: list[Verdict] = []
    threads = [threading.Thread(target=lambda: found.append(runner.run(RIGHT, checks, "square"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [verdict.failures for verdict in found] == [alone] * 6


def test_from_random_import_is_seeded_as_well(runner: TestRunner) -> None:
    checks = Checks.from_source(
        "from random import randint\ndef check(candidate):\n    assert candidate(randint(0, 10**9)) == 0\n"
    )
    assert len({runner.run(RIGHT, checks, "square").failures for _ in range(3)}) == 1


def test_wall_time_cpu_time_and_peak_memory_are_the_childs_own(runner: TestRunner) -> None:
    ballast = bytearray(b"x" * (200 << 20))
    verdict = runner.run("data = bytearray(b'x' * (50 << 20))\ndef square(x): return x * x", SQUARE, "square")
    assert len(ballast) > 150 << 20 > verdict.peak_bytes > 50 << 20
    assert 0 < verdict.cpu_s < 5
    assert verdict.wall_s > 0


def test_the_candidate_starts_with_an_empty_environment_and_no_descriptor_but_its_channel(runner: TestRunner) -> None:
    source = (
        "import os\ndef is_open(fd):\n  try: os.fstat(fd)\n  except OSError: return False\n  return True\n"
        "def f(): return sorted(os.environ), [fd for fd in range(1000) if is_open(fd)]"
    )
    names = [
        "HOME",
        "LC_ALL",
        "MALLOC_ARENA_MAX",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "PYTHONHASHSEED",
        "PYTHONUTF8",
    ]
    assert runner.run(source, Checks.from_asserts([f"assert f() == ({names!r}, [0, 1, 2, 3])"]), "f").passed


def test_setup_is_for_the_checks_alone(runner: TestRunner) -> None:
    checks = Checks.from_asserts(["assert candidate(3) == helper(3)"], setup="def helper(x): return x * x")
    assert runner.run(RIGHT, checks, "square").passed
    assert runner.run("def square(x): return helper(x)", checks, "square").outcome == "raised"


def test_the_entry_points_name_is_the_candidate_in_the_checks(runner: TestRunner) -> None:
    checks = Checks.from_asserts(["assert square(3) == 9"], setup="def square(x): return None")
    assert runner.run(RIGHT, checks, "square").passed


def test_the_prelude_runs_before_the_source_in_the_same_module(runner: TestRunner) -> None:
    assert runner.run(
        "def square(x): return power(x, 2)", SQUARE, "square", prelude="def power(x, n): return x ** n"
    ).passed


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def check(candidate):\n    assert undefined(candidate(3)) == 9\n", "undefined"),
        ("import nothing_of_this_name\ndef check(candidate):\n    assert candidate(3) == 9\n", "nothing_of_this_name"),
        ("def check(candidate):\n    assert candidate(object()) == 9\n", "object"),
        ("def check(candidate):\n    assert [][0] == candidate(3)\n", "index"),
        ("def check(candidate)\n    pass", "compile"),
        ("def other(candidate):\n    pass", "check"),
        ("", "no checks"),
    ],
)
def test_broken_checks_are_never_the_candidates_fault(runner: TestRunner, source: str, said: str) -> None:
    verdict = runner.run(RIGHT, Checks(source), "square")
    assert verdict.outcome == "infrastructure"
    assert verdict.failures[0].error is not None
    assert said in verdict.failures[0].error.message


def test_the_candidate_cannot_make_the_checks_look_broken(runner: TestRunner) -> None:
    checks = Checks.from_source(
        "def check(candidate):\n    for x in candidate(3):\n        y = x\n    assert y == 9\n    assert eval(candidate(4)) == 16\n"
    )
    assert runner.run("def square(x): return []", checks, "square").outcome == "failed"
    assert runner.run("def square(x): return 'undefined' if x == 4 else [8]", checks, "square").outcome == "failed"
    assert runner.run("def square(x): return None", checks, "square").outcome == "failed"


def test_checks_without_an_assert_pass_by_coming_to_their_end(runner: TestRunner) -> None:
    checks = Checks.from_source(
        "def check(candidate):\n    if candidate(3) != 9:\n        raise AssertionError('no')\n"
    )
    assert runner.run(RIGHT, checks, "square").n_checks == 1
    assert runner.run(RIGHT, checks, "square").passed
    assert runner.run("def square(x): return 0", checks, "square").outcome == "failed"


def test_a_dead_candidate_does_not_keep_endless_checks_going(runner: TestRunner) -> None:
    checks = Checks.from_source("def check(candidate):\n    while True:\n        assert candidate(3) != 10\n")
    assert runner.run("raise SystemExit", checks, "square").outcome == "early_exit"


def test_checks_that_compare_with_is_give_no_warning(runner: TestRunner) -> None:
    assert runner.run(RIGHT, Checks("def check(candidate):\n    assert candidate(3) is 9\n"), "square").passed


def test_checks_that_print_stay_silent(runner: TestRunner, capfd: pytest.CaptureFixture[str]) -> None:
    checks = Checks.from_asserts(["print('loud')", "assert candidate(3) == 9"])
    assert runner.run("print('louder')\n" + RIGHT, checks, "square").passed
    assert capfd.readouterr() == ("", "")


def test_a_child_that_cannot_be_started_is_tried_again_and_then_the_machines_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with TestRunner(workers=1) as runner:
        monkeypatch.setattr(
            launch_module, "zygote_command", lambda _: [sys.executable, "-c", "raise SystemExit('lost')"]
        )
        verdict = runner.run(RIGHT, SQUARE, "square")
    assert verdict.outcome == "infrastructure"
    assert verdict.failures[0].error is not None
    assert verdict.failures[0].error.type == WorkerError.__name__


def test_a_missing_interpreter_is_the_machines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    with TestRunner(workers=1) as runner:
        monkeypatch.setattr(launch_module, "zygote_command", lambda _: [os.devnull + "/none"])
        assert runner.run(RIGHT, SQUARE, "square").outcome == "infrastructure"


def test_a_closed_runner_takes_no_more_work() -> None:
    runner = TestRunner(workers=1)
    runner.close()
    with pytest.raises(RuntimeError):
        runner.submit(RIGHT, SQUARE, "square")


@pytest.mark.parametrize("field", ["wall_s", "cpu_s", "memory_bytes", "output_bytes"])
def test_limits_must_be_positive(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Limits(**{field: 0})


def test_a_verdict_survives_json(runner: TestRunner) -> None:
    verdict = runner.run("def square(x): return 1 / 0", SQUARE, "square")
    assert parse(Verdict, json.loads(json.dumps(plain(verdict)))) == verdict


def test_a_runner_whose_folder_is_gone_says_infrastructure_and_blames_nobody() -> None:
    with TestRunner(workers=1) as runner:
        shutil.rmtree(runner._folder.name)
        verdict = runner.run(RIGHT, Checks.from_asserts(["assert square(3) == 9"]), "square")
    assert verdict.outcome == "infrastructure"
    assert verdict.failures[0].error is not None
    assert verdict.failures[0].error.type == "WorkerError"
