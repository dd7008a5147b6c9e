from __future__ import annotations

from collections import Counter

import pytest

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.repair.attempt import Attempt
from mlx_selfdebug.sandbox.verdict import Verdict
from mlx_selfdebug.testing import make_task
from mlx_selfdebug.training.mix import make_pairs
from mlx_selfdebug.training.pair import Pair

from ..conftest import FAILED, make_attempt

PASSED = Verdict("passed", n_passed=3, n_checks=3)
TASK = make_task()
DOMAIN = domain_of("python")


def good(code: str, sample: int = 0, **changes: object) -> Attempt:
    return make_attempt(code=code, sample=sample, verdict=PASSED, **changes)


def bad(code: str, sample: int = 0, verdict: Verdict = FAILED, **changes: object) -> Attempt:
    return make_attempt(code=code, sample=sample, verdict=verdict, **changes)


REPAIRS_ONLY = TrainConfig(repair_share=1, direct_share=0, keep_share=0)


def repairs(attempts: list[Attempt], config: TrainConfig = REPAIRS_ONLY) -> list[Pair]:
    return make_pairs(attempts, [TASK], config, 0)


def test_a_failed_attempt_is_paired_with_the_nearest_passing_code() -> None:
    near = "def square(x):\n    y = x * x\n    return y\n"
    far = "def square(x):\n    return x ** 2\n"
    pairs = repairs([good(far, 0), good(near, 1), bad("def square(x):\n    y = x + x\n    return y\n", 2)])
    assert [pair.target for pair in pairs] == [DOMAIN.completion(near)]


def test_codes_that_differ_in_layout_comments_or_docstrings_count_once() -> None:
    same = [
        "def f(x):\n    return 2*x",
        "def f(x):\n    # hm\n    return 2 * x",
        'def f(x):\n    """Double."""\n    return (2 * x)',
    ]
    pairs = repairs([good("def f(x):\n    return x*x\n"), *(bad(code, i + 1) for i, code in enumerate(same))])
    assert len(pairs) == 1


def test_a_task_nobody_solved_gives_no_pairs() -> None:
    assert make_pairs([bad("def f(x): return 1")], [TASK], TrainConfig(), 0) == []


@pytest.mark.parametrize("outcome", ["policy_denied", "early_exit", "protocol_error"])
def test_suspicious_programs_stay_out(outcome: str) -> None:
    assert repairs([good("def f(x): return x"), bad("def f(x): exit()", 1, Verdict(outcome))]) == []


def test_a_completion_cut_at_its_limit_stays_out() -> None:
    assert repairs([good("def f(x): return x"), bad("def f(x): retu", 1, finish="length")]) == []


def test_code_that_passes_hidden_checks_but_fails_a_public_one_is_no_target() -> None:
    odd = make_attempt(code="def f(x): return 1", verdict=PASSED, public=FAILED)
    assert repairs([odd, bad("def f(x): return 2", 1)]) == []


def test_at_most_the_configured_number_of_failures_of_a_task_is_used_nearest_first() -> None:
    attempts = [
        good("def f(x):\n    return x\n"),
        *(bad(f"def f(x):\n    return x{' + 1' * i}\n", i) for i in range(1, 7)),
    ]
    config = TrainConfig(repair_share=1, direct_share=0, keep_share=0, failed_per_task=2)
    used = {pair.attempts[0] for pair in repairs(attempts, config)}
    assert used == {"collect:test/square:1:0", "collect:test/square:2:0"}


def test_the_kinds_are_mixed_in_the_configured_shares() -> None:
    attempts = [good(f"def f(x):\n    return x * {i}\n", i) for i in range(40)]
    attempts += [bad(f"def f(x):\n    return x - {i}\n", 100 + i) for i in range(10)]
    config = TrainConfig(failed_per_task=10)
    kinds = Counter(pair.kind for pair in make_pairs(attempts, [TASK], config, 0))
    assert kinds == {"repair": 10, "direct": 6, "keep": 4}


def test_no_more_pairs_than_the_maximum() -> None:
    attempts = [good(f"def f(x):\n    return x * {i}\n", i) for i in range(40)]
    attempts += [bad(f"def f(x):\n    return x - {i}\n", 100 + i) for i in range(40)]
    pairs = make_pairs(attempts, [TASK], TrainConfig(failed_per_task=40, max_pairs=20), 0)
    assert Counter(pair.kind for pair in pairs) == {"repair": 10, "direct": 6, "keep": 4}


def test_a_keep_pair_shows_passing_code_and_asks_for_the_same() -> None:
    pairs = make_pairs(
        [good("def f(x):\n    return x\n")], [TASK], TrainConfig(repair_share=0, direct_share=0.5, keep_share=0.5), 0
    )
    keep = next(pair for pair in pairs if pair.kind == "keep")
    assert "All tests passed." in keep.prompt
    assert keep.target == DOMAIN.completion("def f(x):\n    return x\n")


def test_a_repair_prompt_carries_the_task_the_code_and_the_facts() -> None:
    pair = repairs([good("def f(x):\n    return x\n"), bad("def f(x):\n    return 6\n", 1)])[0]
    for part in (TASK.statement, "return 6", "Input: 3", "Expected: 9"):
        assert part in pair.prompt


def test_the_same_attempts_give_the_same_pairs() -> None:
    attempts = [good(f"def f(x):\n    return x * {i}\n", i) for i in range(5)]
    attempts += [bad(f"def f(x):\n    return x - {i}\n", 10 + i) for i in range(5)]
    assert make_pairs(attempts, [TASK], TrainConfig(), 3) == make_pairs(
        list(reversed(attempts)), [TASK], TrainConfig(), 3
    )
