from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.testing import make_attempt, make_task
from mlx_selfdebug.training.mix import make_pairs
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.pair import Pair
from mlx_selfdebug.values.verdict import Failure, Verdict

from ..support.values import FAILED

PASSED = Verdict("passed", n_passed=3, n_checks=3)
TASK = make_task()
DOMAIN = domain_of("python")


def good(code: str, sample: int = 0, **changes: object) -> Attempt:
    return make_attempt(code=code, sample=sample, verdict=PASSED, **changes)


def bad(code: str, sample: int = 0, verdict: Verdict = FAILED, **changes: object) -> Attempt:
    return make_attempt(code=code, sample=sample, verdict=verdict, **changes)


WITHOUT_BUGS = TrainConfig(repair_share=0.5, bug_share=0, direct_share=0.3, keep_share=0.2)
REPAIRS_ONLY = TrainConfig(repair_share=1, bug_share=0, direct_share=0, keep_share=0, minimal_share=1)
BUGS_ONLY = TrainConfig(repair_share=0, bug_share=1, direct_share=0, keep_share=0, minimal_share=1, hide_facts_share=0)
CUBE = "def f(x):\n    y = x * x\n    z = y * x\n    return z\n"


def bug(code: str, parent: str, sample: int = 0) -> Attempt:
    return make_attempt(code=code, sample=sample, arm="bugs", kind="given", parent=parent, verdict=FAILED)


def repairs(attempts: list[Attempt], config: TrainConfig = REPAIRS_ONLY) -> list[Pair]:
    return make_pairs(attempts, [TASK], config, 0)


def test_a_failed_attempt_is_paired_with_the_nearest_passing_code() -> None:
    near = "def square(x):\n    y = x * x\n    return y\n"
    far = "def square(x):\n    return x ** 2\n"
    pairs = repairs([good(far, 0), good(near, 1), bad("def square(x):\n    y = x + x\n    return y\n", 2)])
    assert [pair.target for pair in pairs] == [DOMAIN.completion(near)]


def test_or_with_another_draft_that_copying_does_not_give() -> None:
    near, far = good("def f(x):\n    y = x * x\n    return y\n"), good("def f(x):\n    return x ** 2\n", 1)
    failed = bad("def f(x):\n    y = x + x\n    return y\n", 2)
    other = replace(REPAIRS_ONLY, minimal_share=0)
    assert [pair.target for pair in repairs([near, far, failed], other)] == [DOMAIN.completion(far.code)]
    assert [pair.target for pair in repairs([near, failed], other)] == [DOMAIN.completion(near.code)]


def test_references_fill_up_only_what_the_models_own_code_leaves_open() -> None:
    unsolved = replace(TASK, id="test/a")
    attempts = [bad("def f(x): return 0"), good("def f(x): return 3", 1), replace(bad("x = 1"), task_id=unsolved.id)]
    one, both = (replace(REPAIRS_ONLY, max_pairs=n) for n in (1, 2))
    assert [pair.task_id for pair in make_pairs(attempts, [unsolved, TASK], one, 0)] == [TASK.id]
    assert {pair.task_id for pair in make_pairs(attempts, [unsolved, TASK], both, 0)} == {TASK.id, unsolved.id}


def test_codes_that_differ_in_layout_comments_or_docstrings_count_once() -> None:
    same = [
        "def f(x):\n    return 2*x",
        "def f(x):\n    # hm\n    return 2 * x",
        'def f(x):\n    """Double."""\n    return (2 * x)',
    ]
    pairs = repairs([good("def f(x):\n    return x*x\n"), *(bad(code, i + 1) for i, code in enumerate(same))])
    assert len(pairs) == 1


def test_a_task_nobody_solved_gives_no_pairs() -> None:
    assert make_pairs([bad("def f(x): return 1")], [TASK], TrainConfig(targets="own"), 0) == []


def test_where_nobody_solved_a_task_its_reference_is_the_target_if_it_may_be() -> None:
    failed = bad("def f(x): return 1")
    pairs = make_pairs([failed], [TASK], REPAIRS_ONLY, 0)
    assert [(pair.target, pair.attempts) for pair in pairs] == [(DOMAIN.completion(TASK.reference), (failed.id,))]


def test_a_bug_is_mended_by_the_code_it_was_put_into_laid_out_alike() -> None:
    right = good("def f(x):\n    # twice\n    return (x * 2)\n")
    [pair] = make_pairs([right, bug("def f(x):\n    return x * 3\n", right.id)], [TASK], BUGS_ONLY, 0)
    assert pair.kind == "bug"
    assert "return x * 3" in pair.prompt
    assert pair.target == DOMAIN.completion("def f(x):\n    return x * 2\n")
    assert pair.attempts == ("bugs:test/square:0:0", right.id)


def test_the_other_bugs_are_mended_by_a_draft_written_without_sight_of_them() -> None:
    right, other = good("def f(x):\n    return x * 2\n"), good("def f(x):\n    return x + x\n", 1)
    config = replace(BUGS_ONLY, minimal_share=0)
    [pair] = make_pairs([right, other, bug("def f(x):\n    return x * 3\n", right.id)], [TASK], config, 0)
    assert pair.target == DOMAIN.completion(other.code)
    assert pair.attempts[1] == other.id


def test_a_bug_in_the_reference_of_a_task_that_was_solved_meanwhile_is_mended_by_what_solved_it() -> None:
    right = good("def f(x):\n    return x * 2\n")
    [pair] = make_pairs([right, bug("def square(x):\n    return x\n", "")], [TASK], BUGS_ONLY, 0)
    assert pair.target == DOMAIN.completion(right.code)


def test_no_bug_is_a_repair_or_the_target_of_one() -> None:
    right = good("def f(x):\n    return x * 2\n")
    pairs = make_pairs([right, bug("def f(x):\n    return x * 3\n", right.id)], [TASK], REPAIRS_ONLY, 0)
    assert pairs == []


def test_bugs_stand_in_for_repairs_that_are_missing() -> None:
    right = good(CUBE)
    bugs = [bug(CUBE.replace("y * x", f"y * {i}"), right.id, i) for i in range(2, 9)]
    config = TrainConfig(repair_share=0.5, bug_share=0.5, direct_share=0, keep_share=0, failed_per_task=20, max_pairs=6)
    made = make_pairs([right, bad("def f(x):\n    return x\n", 1), *bugs], [TASK], config, 0)
    assert Counter(pair.kind for pair in made) == {"repair": 1, "bug": 5}


def test_lines_of_the_failed_code_are_blanked_and_its_first_line_never() -> None:
    right = good(CUBE)
    config = replace(BUGS_ONLY, blank_share=1)
    [pair] = make_pairs([right, bug(CUBE.replace("y * x", "y + x"), right.id)], [TASK], config, 0)
    shown = pair.prompt.partition("This code was tested:")[2]
    assert "def f(x):\n" in shown
    assert "    ...\n" in shown
    assert pair.target == DOMAIN.completion(CUBE)


@pytest.mark.parametrize("outcome", ["policy_denied", "early_exit", "protocol_error"])
def test_suspicious_programs_stay_out(outcome: str) -> None:
    assert repairs([good("def f(x): return x"), bad("def f(x): exit()", 1, Verdict(outcome))]) == []


def test_a_completion_cut_at_its_limit_stays_out() -> None:
    assert repairs([good("def f(x): return x"), bad("def f(x): retu", 1, finish="length")]) == []


def test_code_that_passes_hidden_checks_but_fails_a_public_one_is_no_target() -> None:
    odd = make_attempt(code="def f(x): return 1", verdict=PASSED, public=FAILED)
    assert repairs([odd, bad("def f(x): return 2", 1)], replace(REPAIRS_ONLY, targets="own")) == []


def test_at_most_the_configured_number_of_failures_of_a_task_is_used_nearest_first() -> None:
    attempts = [
        good("def f(x):\n    return x\n"),
        *(bad(f"def f(x):\n    return x{' + 1' * i}\n", i) for i in range(1, 7)),
    ]
    config = replace(REPAIRS_ONLY, failed_per_task=2)
    used = {pair.attempts[0] for pair in repairs(attempts, config)}
    assert used == {"collect:test/square:1:0", "collect:test/square:2:0"}


def test_the_kinds_are_mixed_in_the_configured_shares() -> None:
    attempts = [good(f"def f(x):\n    return x * {i}\n", i) for i in range(40)]
    attempts += [bad(f"def f(x):\n    return x - {i}\n", 100 + i) for i in range(10)]
    config = replace(WITHOUT_BUGS, failed_per_task=10)
    kinds = Counter(pair.kind for pair in make_pairs(attempts, [TASK], config, 0))
    assert kinds == {"repair": 10, "direct": 6, "keep": 4}


def test_no_more_pairs_than_the_maximum() -> None:
    attempts = [good(f"def f(x):\n    return x * {i}\n", i) for i in range(40)]
    attempts += [bad(f"def f(x):\n    return x - {i}\n", 100 + i) for i in range(40)]
    pairs = make_pairs(attempts, [TASK], replace(WITHOUT_BUGS, failed_per_task=40, max_pairs=20), 0)
    assert Counter(pair.kind for pair in pairs) == {"repair": 10, "direct": 6, "keep": 4}


def test_a_keep_pair_shows_passing_code_and_asks_for_the_same() -> None:
    pairs = make_pairs([good("def f(x):\n    return x\n")], [TASK], replace(WITHOUT_BUGS, repair_share=0), 0)
    keep = next(pair for pair in pairs if pair.kind == "keep")
    assert "All tests passed." in keep.prompt
    assert keep.target == DOMAIN.completion("def f(x):\n    return x\n")


def test_a_repair_prompt_carries_the_task_the_code_and_the_facts() -> None:
    pair = repairs([good("def f(x):\n    return x\n"), bad("def f(x):\n    return 6\n", 1)])[0]
    for part in (TASK.statement, "return 6", "Input: 3", "Expected: 9"):
        assert part in pair.prompt


OTHER = replace(TASK, id="test/other")
ELSEWHERE = Verdict("failed", (Failure("other(1)", expected="'elsewhere'", got="2"),), n_checks=1)


def mixed(facts: str) -> str:
    """The prompt of the repair pair of TASK, where another task has a failure too."""
    config = replace(REPAIRS_ONLY, facts=facts)
    attempts = [good("def f(x): return 3"), bad("def f(x): return 1", 1)]
    attempts += [replace(a, task_id=OTHER.id) for a in (good("y = 3"), bad("y = 1", 1, ELSEWHERE, public=ELSEWHERE))]
    [pair] = [pair for pair in make_pairs(attempts, [TASK, OTHER], config, 0) if pair.task_id == TASK.id]
    return pair.prompt


def test_prompts_show_the_failed_codes_own_facts() -> None:
    assert "Expected: 9" in mixed("own")
    assert "elsewhere" not in mixed("own")


def test_as_a_control_prompts_show_the_facts_of_another_task() -> None:
    assert "Expected: 9" not in mixed("other")
    assert "elsewhere" in mixed("other")


def test_as_a_control_prompts_show_no_facts() -> None:
    assert "Expected: " not in mixed("none")
    assert "def f(x): return 1" in mixed("none")


def test_where_no_other_task_failed_the_control_shows_no_facts() -> None:
    [pair] = repairs([good("def f(x): return 3"), bad("def f(x): return 1", 1)], replace(REPAIRS_ONLY, facts="other"))
    assert "Expected: " not in pair.prompt


def test_the_same_attempts_give_the_same_pairs() -> None:
    attempts = [good(f"def f(x):\n    return x * {i}\n", i) for i in range(5)]
    attempts += [bad(f"def f(x):\n    return x - {i}\n", 10 + i) for i in range(5)]
    assert make_pairs(attempts, [TASK], TrainConfig(), 3) == make_pairs(
        list(reversed(attempts)), [TASK], TrainConfig(), 3
    )
