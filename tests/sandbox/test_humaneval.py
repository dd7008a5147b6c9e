"""The 164 HumanEval tasks: right programs pass, empty ones fail with facts a model can use."""

from __future__ import annotations

import pytest

from mlx_selfdebug.sandbox import TestRunner, Verdict
from tests.sandbox.humaneval import Problem, problems

PROBLEMS = problems()


def judged(runner: TestRunner, sources: dict[str, str], *, stop: bool = False) -> dict[str, Verdict]:
    futures = {
        p.id: runner.submit(sources[p.id], p.checks, p.entry_point, stop_at_first_failure=stop) for p in PROBLEMS
    }
    return {id_: future.result() for id_, future in futures.items()}


@pytest.fixture(scope="module")
def canonical(runner: TestRunner) -> dict[str, Verdict]:
    return judged(runner, {p.id: p.canonical for p in PROBLEMS})


@pytest.fixture(scope="module")
def returns_none(runner: TestRunner) -> dict[str, Verdict]:
    return judged(runner, {p.id: p.returns_none for p in PROBLEMS})


def test_there_are_164_tasks() -> None:
    assert len(PROBLEMS) == 164


def test_every_canonical_solution_passes_all_its_checks(canonical: dict[str, Verdict]) -> None:
    assert not {id_: v for id_, v in canonical.items() if not v.passed or v.n_passed != v.n_checks or v.failures}


def test_no_program_that_returns_none_passes(returns_none: dict[str, Verdict]) -> None:
    assert not [id_ for id_, verdict in returns_none.items() if verdict.passed]


def test_programs_that_return_none_give_input_expected_and_got(returns_none: dict[str, Verdict]) -> None:
    complete = [
        v
        for v in returns_none.values()
        if v.failures[0].input and v.failures[0].expected and v.failures[0].got == "None"
    ]
    assert len(complete) >= 159


def test_expected_values_are_values_and_not_source_text(returns_none: dict[str, Verdict]) -> None:
    assert sum(v.failures[0].expected_kind in ("value", "approx") for v in returns_none.values()) >= 157


def test_good_and_bad_programs_have_the_same_number_of_checks(
    canonical: dict[str, Verdict], returns_none: dict[str, Verdict]
) -> None:
    assert {id_: v.n_checks for id_, v in canonical.items()} == {id_: v.n_checks for id_, v in returns_none.items()}


def test_programs_that_do_not_load_are_counted_like_good_ones(
    runner: TestRunner, canonical: dict[str, Verdict]
) -> None:
    dead = judged(runner, {p.id: "def (" for p in PROBLEMS})
    assert {v.outcome for v in dead.values()} == {"load_error"}
    assert not any(v.n_passed for v in dead.values())
    # Task 32 calls the candidate outside its assert, in a loop: what would follow cannot be counted.
    assert [id_ for id_ in dead if dead[id_].n_checks != canonical[id_].n_checks] == ["HumanEval/32"]


def test_facts_are_the_same_on_every_run(runner: TestRunner, returns_none: dict[str, Verdict]) -> None:
    chosen: list[Problem] = [p for p in PROBLEMS if p.id.split("/")[1] in ("32", "38", "50", "53", "95", "111")]
    for problem in chosen:
        again = runner.run(problem.returns_none, problem.checks, problem.entry_point)
        assert again.failures == returns_none[problem.id].failures


def test_a_run_that_stops_at_its_first_failure_says_the_same_of_it(
    runner: TestRunner, canonical: dict[str, Verdict], returns_none: dict[str, Verdict]
) -> None:
    passed = judged(runner, {p.id: p.canonical for p in PROBLEMS}, stop=True)
    assert {id_: (v.passed, v.n_checks) for id_, v in passed.items()} == {
        id_: (v.passed, v.n_checks) for id_, v in canonical.items()
    }
    stopped = judged(runner, {p.id: p.returns_none for p in PROBLEMS}, stop=True)
    assert {id_: (v.outcome, v.failures) for id_, v in stopped.items()} == {
        id_: (v.outcome, v.failures[:1]) for id_, v in returns_none.items()
    }
