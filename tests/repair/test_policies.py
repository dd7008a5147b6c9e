from __future__ import annotations

from dataclasses import replace

import pytest

from mlx_selfdebug.repair.policies import (
    Alternate,
    Greedy,
    MiningPolicy,
    Move,
    Policy,
    Repair,
    Resample,
    Search,
    either,
    passed_in_public,
    solved,
    spent,
)
from mlx_selfdebug.testing import make_attempt, make_task
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.verdict import ErrorFact, Failure, Verdict

from ..support.values import FAILED

TASK = make_task()
PASSED = Verdict("passed", n_passed=2, n_checks=2)
WRONG = Verdict("failed", (Failure("public[0]", "3", "9", "value", "6"),), 0, 1)
NAME_ERROR = Verdict(
    "raised", (Failure("public[0]", "3", "9", "value", "", ErrorFact("NameError", "no", 2, "")),), 0, 1
)


def attempt(
    sample: int = 0, round_: int = 0, public: Verdict = WRONG, verdict: Verdict = FAILED, n: int = 9
) -> Attempt:
    code = f"x = {sample}, {round_}"
    return make_attempt(sample=sample, round=round_, public=public, verdict=verdict, code=code, n_completion_tokens=n)


@pytest.mark.parametrize("policy", [Greedy(), Resample(3), Repair(2), Alternate(4), Search(), MiningPolicy(4, 1, 2)])
def test_every_policy_begins_with_drafts(policy: Policy) -> None:
    moves = policy.moves(TASK, ())
    assert moves
    assert all(move.parent is None and move.round == 0 for move in moves)


@pytest.mark.parametrize("policy", [Greedy(), Resample(3), Repair(2), Alternate(4), Search()])
def test_every_policy_ends_when_the_public_checks_pass(policy: Policy) -> None:
    assert policy.moves(TASK, (attempt(public=PASSED),)) == []


def test_hidden_failures_are_never_a_reason_to_repair() -> None:
    assert Repair(3).moves(TASK, (attempt(public=PASSED, verdict=FAILED),)) == []


def test_only_the_last_attempt_is_repaired_and_only_so_often() -> None:
    first, second = attempt(), attempt(round_=1)
    assert Repair(2).moves(TASK, (first, second)) == [Move(0, 2, second)]
    assert Repair(1).moves(TASK, (first, second)) == []


@pytest.mark.parametrize("outcome", ["early_exit", "protocol_error", "policy_denied"])
def test_suspicious_attempts_are_not_repaired(outcome: str) -> None:
    bad = Verdict(outcome)  # type: ignore[arg-type]
    assert Repair(2).moves(TASK, (attempt(public=bad, verdict=bad),)) == []
    mined = MiningPolicy(2, 1, 2).moves(TASK, (attempt(verdict=bad), attempt(1)))
    assert [move.sample for move in mined] == [1]


def test_greedy_draws_nothing_at_random() -> None:
    assert [move.temperature for move in Greedy().moves(TASK, ())] == [0.0]


def test_blind_resampling_never_shows_an_attempt() -> None:
    attempts: list[Attempt] = []
    while moves := Resample(4).moves(TASK, attempts):
        assert all(move.parent is None for move in moves)
        attempts += [attempt(move.sample) for move in moves]
    assert [a.sample for a in attempts] == [0, 1, 2, 3]


def test_a_token_budget_ends_a_task() -> None:
    policy = Resample(9, either(passed_in_public, spent(20)))
    assert policy.moves(TASK, (attempt(n=9), attempt(1, n=9)))
    assert policy.moves(TASK, (attempt(n=9), attempt(1, n=11))) == []


def test_errors_of_name_are_repaired_at_once() -> None:
    bad = attempt(public=NAME_ERROR)
    assert Alternate(5).moves(TASK, (bad,)) == [Move(0, 1, bad)]


def test_after_a_failed_assertion_drafts_and_repairs_take_turns() -> None:
    attempts: list[Attempt] = []
    while moves := Alternate(6).moves(TASK, sorted(attempts, key=lambda a: (a.sample, a.round))):
        attempts += [attempt(move.sample, move.round) for move in moves]
    assert [(a.sample, a.round) for a in attempts] == [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0)]


def test_mining_repairs_only_unsolved_tasks_and_attempts_of_different_code() -> None:
    twins = (attempt(), attempt(1), make_attempt(sample=2, verdict=FAILED, public=WRONG, code="x = 0, 0  # again"))
    assert [move.sample for move in MiningPolicy(3, 1, 5).moves(TASK, twins)] == [0, 1]
    assert MiningPolicy(3, 1, 5).moves(TASK, (*twins, attempt(3, verdict=PASSED))) == []


def test_solved_looks_at_hidden_checks() -> None:
    assert solved((attempt(verdict=PASSED),))
    assert not solved((attempt(public=PASSED, verdict=FAILED),))


PUBLIC_FAILS = attempt()
EDITED, NOT_EDITED = "edited", "exhausted"


def made_by(move: Move, public: Verdict = WRONG, finish: str = "fence", n: int = 9) -> Attempt:
    """The attempt that a move leads to."""
    return make_attempt(
        sample=move.sample, round=move.round, kind=move.kind, public=public, verdict=FAILED, finish=finish,
        parent=move.parent.id if move.parent else "", n_completion_tokens=0 if move.by == "edits" else n,
    )  # fmt: skip


def played(policy: Policy, *, places: int = 9, begun: Attempt = PUBLIC_FAILS) -> list[Move]:
    """All moves of a policy whose attempts all fail, on a program with so many places to fork at."""
    moves, attempts = list[Move](), [begun]
    while following := policy.moves(TASK, tuple(attempts)):
        [move] = following
        ended = move.by == "edits" or (move.kind == "fork" and move.place >= places)
        attempts.append(made_by(move, finish=NOT_EDITED if ended else "fence"))
        moves.append(move)
    assert [(a.sample, a.round) for a in attempts] == sorted((a.sample, a.round) for a in attempts)
    return moves


def test_a_search_tries_edits_once_then_lines_then_forks_one_by_one_then_fresh_drafts() -> None:
    moves = played(Search(lines=3, forks=2, max_followups=2))
    assert moves[0] == Move(0, 1, PUBLIC_FAILS, by="edits")
    assert moves[1:4] == [Move(0, 2 + i, PUBLIC_FAILS, by="line", place=i) for i in range(3)]
    assert moves[4:6] == [Move(0, 5 + i, PUBLIC_FAILS, by="fork", place=i) for i in range(2)]
    assert moves[6:] == [Move(1), Move(2)]


def test_a_search_may_end_in_repairs_of_the_program_that_was_searched() -> None:
    moves = played(Search(lines=0, forks=1, then="repairs", max_followups=2))
    assert moves[2:] == [Move(0, 3, PUBLIC_FAILS), Move(0, 4, PUBLIC_FAILS)]


@pytest.mark.parametrize(
    ("policy", "by"),
    [
        (Search(then="nothing", forks=0), ["edits"]),
        (Search(then="nothing", edits=False, lines=1, forks=2), ["line", "fork", "fork"]),
    ],
)
def test_a_search_may_end_where_nothing_was_found(policy: Search, by: list[str]) -> None:
    assert [move.by for move in played(policy)] == by


def test_where_the_places_to_fork_at_run_out_the_drafts_follow() -> None:
    assert [move.kind for move in played(Search(lines=0, forks=5, max_followups=1), places=2)] == [
        "edits",
        *["fork"] * 3,
        "draft",
    ]


def test_where_the_lines_to_fork_run_out_the_forks_of_the_whole_rest_follow() -> None:
    moves = played(Search(lines=3, forks=2, then="nothing"), places=1)
    assert [(move.by, move.place) for move in moves[1:]] == [("line", 0), ("line", 1), ("fork", 0), ("fork", 1)]


@pytest.mark.parametrize("stage", range(3))
def test_a_search_ends_as_soon_as_an_attempt_passes_in_public(stage: int) -> None:
    attempts = [PUBLIC_FAILS]
    for _ in range(stage):
        [move] = Search(forks=1).moves(TASK, tuple(attempts))
        attempts.append(made_by(move))
    [move] = Search(forks=1).moves(TASK, tuple(attempts))
    assert Search(forks=1).moves(TASK, (*attempts, made_by(move, public=PASSED, finish=EDITED))) == []


def test_a_search_ends_when_the_tokens_are_spent() -> None:
    assert Search(stop=either(passed_in_public, spent(9))).moves(TASK, (PUBLIC_FAILS,)) == []


@pytest.mark.parametrize("outcome", ["early_exit", "protocol_error", "policy_denied"])
def test_a_suspicious_program_is_not_searched_and_fresh_drafts_follow(outcome: str) -> None:
    bad = Verdict(outcome)  # type: ignore[arg-type]
    begun = attempt(public=bad, verdict=bad)
    assert played(Search(max_followups=1), begun=begun) == [Move(1)]
    assert played(Search(then="repairs"), begun=begun) == []


def test_a_task_without_public_checks_is_not_searched() -> None:
    assert Search().moves(replace(TASK, public=Checks()), (PUBLIC_FAILS,)) == [Move(1)]


def test_the_first_draft_after_a_given_program_is_greedy() -> None:
    given = replace(PUBLIC_FAILS, kind="given")
    assert played(Search(edits=False, forks=0, max_followups=3), begun=given) == [
        Move(1, temperature=0.0),
        Move(2),
        Move(3),
    ]
