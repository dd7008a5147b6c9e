"""Runs that end at their first failed check, or sooner than others: the same passes, the same first failure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_selfdebug.sandbox import Limits, TestRunner, Verdict
from mlx_selfdebug.sandbox.grading.checking import prepare, run_checks
from mlx_selfdebug.sandbox.grading.recorder import Recorder
from mlx_selfdebug.sandbox.grading.report import Report
from mlx_selfdebug.translating.unittests import tests_to_source as unittest_source
from mlx_selfdebug.values.checks import Checks
from tests.sandbox.hostile import BREAKAGE, FORGING, HANDLES, PROGRAMS, ROOMY
from tests.sandbox.test_asserts import FUNCTIONS, LocalCandidate, statements

NONE = "def f(*x): return None"
LOOP = "def f(x):\n    while x == 3: pass\n    return x\n"


def first(runner: TestRunner, source: str, *asserts: str) -> Verdict:
    return runner.run(source, Checks.from_asserts(asserts), "f", stop_at_first_failure=True)


def reported(source: str, name: str, stop: bool) -> tuple[Report, list[tuple[Any, ...]]]:
    candidate = LocalCandidate(FUNCTIONS[name])
    prepared = prepare(source, "", "f")
    recorder = Recorder(prepared.checks, candidate, stop_at_first_failure=stop)  # type: ignore[arg-type]
    return run_checks(prepared, candidate, "f", recorder), candidate.calls  # type: ignore[arg-type]


@settings(max_examples=400, deadline=None)
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@given(st.lists(statements, min_size=1, max_size=4), st.sampled_from(sorted(FUNCTIONS)))
def test_a_run_that_stops_finds_the_first_failure_of_a_full_run_and_no_other(lines: list[str], name: str) -> None:
    body = "\n".join(["x, y = 1, 0", *lines]).replace("\n", "\n    ")
    source = f"def check(candidate):\n    {body}\n"
    full, calls = reported(source, name, stop=False)
    short, short_calls = reported(source, name, stop=True)
    assert (short.outcome, short.failures) == (full.outcome, full.failures[:1]), source
    assert short_calls == calls[: len(short_calls)], source
    assert short.n_checks <= full.n_checks, source
    assert short == full or full.failures, source


@pytest.fixture(scope="module")
def roomy() -> Iterator[TestRunner]:
    with TestRunner(workers=3, limits=ROOMY) as runner:
        yield runner


def test_no_program_of_the_corpus_passes_or_fails_by_stopping(roomy: TestRunner) -> None:
    corpus = [*FORGING, *BREAKAGE, *HANDLES, *PROGRAMS]
    chosen = [h for h in corpus if h.limits == ROOMY and "million" not in h.name]  # those take seconds
    futures = {h: roomy.submit(h.source, h.checks, h.entry_point, stop_at_first_failure=True) for h in chosen}
    assert {h.name for h, f in futures.items() if f.result().passed} == {
        h.name for h in chosen if h.outcome == "passed"
    }
    assert {len(f.result().failures) for f in futures.values() if not f.result().passed} == {1}


def test_a_wrong_program_costs_one_check(runner: TestRunner) -> None:
    verdict = first(runner, NONE, "assert f(1) is None", "assert f(2) == 4", "assert f(3) == 9", "assert f(4) == 16")
    assert (verdict.outcome, verdict.n_passed, verdict.n_checks) == ("failed", 1, 2)
    assert [(failure.input, failure.expected, failure.got) for failure in verdict.failures] == [("2", "4", "None")]


def test_a_program_that_does_not_load_begins_no_check(runner: TestRunner) -> None:
    verdict = first(runner, "def f(", "assert f(2) == 4")
    assert (verdict.outcome, verdict.n_checks) == ("load_error", 0)
    assert verdict.failures == runner.run("def f(", Checks.from_asserts(["assert f(2) == 4"]), "f").failures


def test_a_death_after_the_first_failure_is_not_seen(runner: TestRunner) -> None:
    source = "import os\ndef f(x):\n    if x == 3: os._exit(0)\n"
    asserts = "assert f(2) == 4", "assert f(3) == 9"
    assert first(runner, source, *asserts).outcome == "failed"
    assert first(runner, source, *asserts[::-1]).outcome == "early_exit"


def test_an_assert_the_checks_catch_is_no_failure(runner: TestRunner) -> None:
    text = "try:\n    assert f(3) == 9\nexcept AssertionError:\n    pass"
    assert first(runner, NONE, text, "assert f(4) is None").passed


def test_an_exception_the_checks_catch_is_no_failure(runner: TestRunner) -> None:
    text = "try:\n    assert f(3) == 9\nexcept ValueError:\n    pass"
    assert first(runner, "def f(x):\n    if x == 3: raise ValueError\n    return 16", text, "assert f(4) == 16").passed


def test_checks_that_catch_everything_cannot_catch_the_end(runner: TestRunner) -> None:
    text = "def helper():\n    assert f(3) == 9\ntry:\n    helper()\nexcept:\n    pass\ntry:\n    f(5)\nfinally:\n    assert f(6) is None"
    verdict = first(runner, NONE, text)
    assert (verdict.outcome, verdict.n_passed, verdict.n_checks) == ("failed", 0, 1)
    assert [failure.input for failure in verdict.failures] == ["3"]


def test_an_expected_exception_that_is_not_raised_is_a_first_failure(runner: TestRunner) -> None:
    verdict = first(runner, NONE, "with raises(ValueError):\n    f(3)", "assert f(4) == 16")
    assert (verdict.n_checks, verdict.failures[0].expected, verdict.failures[0].input) == (1, "ValueError", "3")


def test_no_test_runs_after_one_that_failed(runner: TestRunner) -> None:
    source = "def test_a():\n    assert f(1) == 1\ndef test_b():\n    raise KeyError(f(2))\ndef test_c():\n    assert f(3) == 3\n"
    checks = Checks.from_source(unittest_source(source))
    verdict = runner.run("def f(x): return x", checks, "f", stop_at_first_failure=True)
    assert (verdict.n_passed, verdict.n_checks, verdict.failures[0].check) == (1, 2, "test_b")


def test_a_check_that_fails_while_the_candidate_waits_ends_the_run(runner: TestRunner) -> None:
    text = "def g(x):\n    assert x == 4\n    return x"
    source = "def f(g):\n    while True:\n        try: g(3)\n        except BaseException: pass\n"
    verdict = first(runner, source, text, "assert f(g) == 9")
    assert (verdict.outcome, verdict.n_checks, verdict.failures[0].check) == ("failed", 2, "assert x == 4")


def test_an_object_that_swallows_exceptions_does_not_swallow_the_end(runner: TestRunner) -> None:
    source = "class Q:\n  def __enter__(s): return s\n  def __exit__(s, *e): return True\ndef f(x): return Q()"
    verdict = first(runner, source, "with f(3):\n    assert f(4).x == 9", "assert f(5).y == 9")
    assert (verdict.n_checks, len(verdict.failures)) == (1, 1)


def test_a_program_stops_at_its_first_failed_case(runner: TestRunner) -> None:
    checks = Checks.from_io([("1\n", "1\n"), ("2\n", "4\n"), ("3\n", "9\n")])
    verdict = runner.run("print(int(input()))", checks, "", stop_at_first_failure=True)
    assert (verdict.outcome, verdict.n_passed, verdict.n_checks) == ("failed", 1, 2)
    assert [failure.input for failure in verdict.failures] == ["2\n"]


def test_a_program_whose_cases_all_pass_passes(runner: TestRunner) -> None:
    checks = Checks.from_io([("1\n", "1\n"), ("2\n", "4\n")])
    verdict = runner.run("print(int(input()) ** 2)", checks, "", stop_at_first_failure=True)
    assert (verdict.passed, verdict.n_checks) == (True, 2)


def test_a_shorter_time_holds_for_one_run(runner: TestRunner) -> None:
    checks = Checks.from_asserts(["assert f(3) == 9"])
    assert runner.run(LOOP, checks, "f", wall_s=0.2).outcome == "timeout_wall"
    slow = "import time\ntime.sleep(0.4)\ndef f(x): return 9"
    assert runner.run(slow, checks, "f", wall_s=0.2).outcome == "timeout_wall"
    assert runner.run(slow, checks, "f").passed


def test_a_longer_time_than_the_limit_changes_nothing() -> None:
    with TestRunner(workers=1, limits=Limits(wall_s=0.2)) as runner:
        assert runner.run(LOOP, Checks.from_asserts(["assert f(3) == 9"]), "f", wall_s=60).outcome == "timeout_wall"


@pytest.mark.parametrize("wall_s", [0, -1.0, float("nan")])
def test_a_time_must_be_positive(runner: TestRunner, wall_s: float) -> None:
    with pytest.raises(ValueError, match="wall_s"):
        runner.submit(NONE, Checks.from_asserts(["assert f(3) == 9"]), "f", wall_s=wall_s)


def test_a_timeout_costs_the_worker_no_process_but_the_candidates() -> None:
    checks = Checks.from_asserts(["assert f(3) == 3"])
    with TestRunner(workers=1) as runner:
        for _ in range(2):  # checks are known as fit to share a process after their first run
            assert runner.run("def f(x): return x", checks, "f").passed
        link, pid = runner._all_workers[0]._link, runner._all_workers[0]._pid
        assert runner.run(LOOP, checks, "f", wall_s=0.2).outcome == "timeout_wall"
        assert (runner._all_workers[0]._link, runner._all_workers[0]._pid) == (link, pid)
        assert runner.run("def f(x): return x", checks, "f").passed
