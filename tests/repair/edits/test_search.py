"""The search: which edits are tried, in which order, when it ends, and what it is that wins."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.errors import SandboxError
from mlx_selfdebug.repair.edits.candidates import MIN_RATIO, Candidate, candidates, log_ratios, worthwhile
from mlx_selfdebug.repair.edits.edit import Edit
from mlx_selfdebug.repair.edits.hints import Hints, hints_of
from mlx_selfdebug.repair.edits.search import FURTHER, MAX_TIMEOUTS, EditSearch, likeliest
from mlx_selfdebug.repair.edits.trying import wall_s_of
from mlx_selfdebug.repair.program_reading import ProgramReading
from mlx_selfdebug.repair.reading import Readings
from mlx_selfdebug.sampling.decoder import BatchDecoder
from mlx_selfdebug.testing import make_task
from mlx_selfdebug.values.verdict import Failure, Verdict

PYTHON, SQL = domain_of("python"), domain_of("sql")
CODE = "\ndef add(a, b):\n    return a - b\n"


def read_with(model: Any, code: str = CODE) -> ProgramReading:
    prompt = tuple(model.encode("Add two numbers."))
    return Readings(model, BatchDecoder(model, 4)).read(make_task("add"), code, "Add two numbers.", prompt, ())


def candidate(code: str) -> Candidate:
    return Candidate(code, Edit(0, 0, code, "token"), 0.0, 0.0)


def verdict(passed: bool) -> Future[Verdict]:
    future: Future[Verdict] = Future()
    future.set_result(Verdict("passed" if passed else "failed"))
    return future


def searched(passing: set[int], n: int = 200, max_tries: int = 150) -> EditSearch:
    search = EditSearch(
        (candidate(str(i)) for i in range(n)), lambda edit: verdict(int(edit.code) in passing), max_tries
    )
    search.ended.result(timeout=10)
    return search


def test_candidates_come_best_first_and_each_text_once(tiny: Any) -> None:
    found = candidates(read_with(tiny), PYTHON)
    assert [c.score for c in found] == sorted((c.score for c in found), reverse=True)
    assert len({c.code for c in found}) == len(found)


def test_the_program_itself_is_no_candidate(tiny: Any) -> None:
    assert CODE not in {c.code for c in candidates(read_with(tiny), PYTHON)}


def test_an_edit_keeps_what_stands_around_the_program(tiny: Any) -> None:
    assert "\ndef add(a, b):\n    return a + b\n" in {c.code for c in candidates(read_with(tiny), PYTHON)}


def test_the_first_order_ratio_of_one_changed_token_is_exact(tiny: Any) -> None:
    """With one token a character, the next difference is the only one at its place."""
    program = read_with(tiny)
    place = program.body.index("-")
    (ratio,) = log_ratios(program, [program.body.replace("-", "+")])
    wanted = program.reading.log_likelihood_of([place], tiny.encode("+"))[0] - program.reading.log_likelihood[place]
    assert np.isclose(ratio, max(wanted, MIN_RATIO), atol=1e-5)


def test_a_text_that_only_goes_on_has_the_least_ratio(tiny: Any) -> None:
    program = read_with(tiny)
    assert log_ratios(program, [program.body]) == [MIN_RATIO]


def test_an_edit_of_a_line_that_no_failing_check_ran_comes_last(tiny: Any) -> None:
    program = read_with(tiny, "def f(a):\n    if a:\n        return 1\n    return 2\n")
    found = candidates(program, PYTHON, executed={2: 1.0, 4: 1.0})
    lines = [1 + program.body.count("\n", 0, c.edit.start) for c in found]
    assert lines.index(2) < lines.index(3)
    assert np.mean([i for i, line in enumerate(lines) if line == 3]) > np.mean(
        [i for i, line in enumerate(lines) if line == 2]
    )


def test_an_edit_that_only_writes_the_expected_value_comes_last(tiny: Any) -> None:
    program = read_with(tiny, "def f(a):\n    return 7\n")
    found = candidates(program, PYTHON, Hints(numbers=(42,), answers=frozenset({"42"})))
    assert found[-1].edit.text == "42"


def test_candidates_of_python_parse_and_differ_in_more_than_layout(tiny: Any) -> None:
    program = read_with(tiny)
    codes = [c.code for c in worthwhile(candidates(program, PYTHON), program, PYTHON)]
    normal = [PYTHON.normalise(code) for code in codes]
    assert len(set(normal)) == len(normal)
    assert PYTHON.normalise(CODE) not in normal
    for code in codes:
        compile(code, "candidate", "exec", dont_inherit=True)


def test_what_was_tried_before_is_not_tried_again(tiny: Any) -> None:
    program, right = read_with(tiny), "def add(a, b):\n    return a + b\n"
    codes = [c.code for c in worthwhile(candidates(program, PYTHON), program, PYTHON, [right])]
    assert PYTHON.normalise(right) not in {PYTHON.normalise(code) for code in codes}


def test_code_that_does_not_parse_is_mended_by_token_edits(tiny: Any) -> None:
    found = candidates(read_with(tiny, "def add(a, b:\n    return a\n"), PYTHON)
    assert {c.edit.operator for c in found} <= {"token", "inserted token", "dropped token"}
    assert found


def test_a_domain_without_operators_has_token_edits(tiny: Any) -> None:
    task = replace(make_task("q"), domain="sql")
    program = Readings(tiny, BatchDecoder(tiny, 4)).read(task, "SELECT 1\n", "p", tuple(tiny.encode("p")), ())
    assert {c.edit.operator for c in candidates(program, SQL)} <= {"token", "inserted token", "dropped token"}


def test_a_search_ends_some_tries_after_the_first_that_passed() -> None:
    search = searched({7, 9, 180})
    assert [c.code for c in search.passing] == ["7", "9"]
    assert search.n_tries == 8 + FURTHER


def test_a_search_that_finds_nothing_ends_at_its_limit_or_its_last_candidate() -> None:
    assert searched(set()).n_tries == 150
    assert searched(set(), n=20).n_tries == 20
    assert searched(set(), n=0).n_tries == 0


@given(st.sets(st.integers(0, 99), max_size=6), st.randoms(use_true_random=False))
def test_what_a_search_finds_does_not_depend_on_which_run_ends_first(passing: set[int], random: Any) -> None:
    waiting: list[tuple[Future[Verdict], bool]] = []

    def run(edit: Candidate) -> Future[Verdict]:
        waiting.append((Future(), int(edit.code) in passing))
        return waiting[-1][0]

    search = EditSearch((candidate(str(i)) for i in range(100)), run, 60)
    while not search.ended.done():
        future, passed = waiting.pop(random.randrange(len(waiting)))
        if future.set_running_or_notify_cancel():
            future.set_result(Verdict("passed" if passed else "failed"))
    wanted = searched(passing, n=100, max_tries=60)
    assert ([c.code for c in search.passing], search.n_tries) == ([c.code for c in wanted.passing], wanted.n_tries)


def test_a_search_goes_on_in_the_threads_of_its_runs() -> None:
    threads = set()

    def run(code: str) -> Verdict:
        threads.add(threading.current_thread().name)
        return Verdict("passed" if code == "77" else "failed")

    with ThreadPoolExecutor(2, thread_name_prefix="tests") as pool:
        search = EditSearch((candidate(str(i)) for i in range(300)), lambda edit: pool.submit(run, edit.code), 200)
        search.ended.result(timeout=30)
    assert [c.code for c in search.passing] == ["77"]
    assert all(name.startswith("tests") for name in threads)


def test_a_run_that_cannot_be_made_ends_the_search_with_its_error() -> None:
    def run(edit: Candidate) -> Future[Verdict]:
        raise RuntimeError("closed")

    with pytest.raises(RuntimeError, match="closed"):
        EditSearch([candidate("1")], run, 10).ended.result(timeout=5)


def test_of_edits_that_pass_the_likeliest_program_wins_and_of_equals_the_first() -> None:
    found = [candidate("a"), candidate("b"), candidate("c")]
    assert likeliest(found, lambda codes: [-3.0, -1.0, -1.0]).code == "b"
    assert likeliest(found[:1], lambda codes: pytest.fail("asked for nothing")).code == "a"


def test_hints_are_the_numbers_and_texts_of_statement_and_facts() -> None:
    task = make_task("f", statement="Return 'yes' above 17.5, else `no`; at most 3 times.")
    hints = hints_of(task, [Failure("c", "-4, 'x'", "99", "value", "1")])
    assert hints.numbers == (17.5, 3, -4, 99)
    assert hints.texts == ("yes", "no", "x")
    assert hints.answers == {"99"}


def test_a_trivial_expected_value_is_no_answer_given_away() -> None:
    assert not hints_of(make_task("f"), [Failure("c", "1", "True", "value", "False")]).answers


@pytest.mark.parametrize(
    ("statement", "numbers"),
    [
        ("At most 15.", (15,)),
        ("Between 3 and 7.5, or -2.", (3, 7.5, -2)),
        ("Version 1.2.3 of x2 and 4th.", ()),
        ("Up to " + "9" * 17 + " or 8", (8,)),
    ],
)
def test_a_number_of_the_statement_is_a_hint_also_before_a_full_stop(statement: str, numbers: tuple[float, ...]):
    assert hints_of(replace(make_task("f"), statement=statement)).numbers == numbers


def test_a_try_may_take_longer_where_the_failed_program_does() -> None:
    assert wall_s_of(Verdict("failed", wall_s=0.001), 5.0) == 0.25
    assert wall_s_of(Verdict("failed", wall_s=0.1), 5.0) == 2.0
    assert wall_s_of(Verdict("failed", wall_s=3.0), 5.0) == 5.0
    assert wall_s_of(Verdict("timeout_wall", wall_s=5.0), 5.0) == 0.25


def test_a_search_gives_up_where_nearly_every_edit_runs_for_ever() -> None:
    def run(edit: Candidate) -> Future[Verdict]:
        future: Future[Verdict] = Future()
        future.set_result(Verdict("timeout_wall" if int(edit.code) % 2 else "failed"))
        return future

    search = EditSearch((candidate(str(i)) for i in range(300)), run, 250)
    search.ended.result(timeout=10)
    assert search.n_tries == 2 * MAX_TIMEOUTS


def test_trouble_of_the_machine_ends_a_search_and_is_no_failed_edit() -> None:
    def require_tested(found: Verdict) -> Verdict:
        raise SandboxError("the tests could not be run")

    search = EditSearch([candidate("1")], lambda _: verdict(False), 10, require_tested)
    with pytest.raises(SandboxError, match="could not be run"):
        search.ended.result(timeout=5)


def test_a_closed_search_ends_with_what_it_has() -> None:
    runs: list[Future[Verdict]] = []

    def run(edit: Candidate) -> Future[Verdict]:
        runs.append(Future())
        return runs[-1]

    search = EditSearch((candidate(str(i)) for i in range(100)), run, 100)
    runs[0].set_result(Verdict("passed"))
    n_begun = len(runs)
    search.close()
    runs[1].set_result(Verdict("passed"))
    search.ended.result(timeout=10)
    assert [found.code for found in search.passing] == ["0"]
    assert len(runs) == n_begun
