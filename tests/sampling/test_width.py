from __future__ import annotations

import os
import platform
from typing import Any

import pytest

from mlx_selfdebug import memory
from mlx_selfdebug.errors import BudgetError
from mlx_selfdebug.memory import Governor
from mlx_selfdebug.models.load import loaded_bytes
from mlx_selfdebug.sampling.width import DecodingPlan, plan_decoding

GB = 10**9


def plan(model: Any, budget_bytes: int, max_rows: int = 512, max_row_tokens: int = 2000) -> DecodingPlan:
    return plan_decoding(
        model.network,
        "tiny",
        loaded_bytes(model),
        budget_bytes=budget_bytes,
        max_rows=max_rows,
        max_row_tokens=max_row_tokens,
    )


def test_a_batch_is_never_wider_than_asked(tiny: Any) -> None:
    assert plan(tiny, 6 * GB, max_rows=7).width == 7


def test_a_larger_budget_gives_no_narrower_batch(tiny: Any) -> None:
    widths = [plan(tiny, budget * GB // 1000).width for budget in (480, 500, 550, 700, 1000)]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


def test_longer_rows_make_a_narrower_batch(tiny: Any) -> None:
    assert plan(tiny, GB // 2, max_row_tokens=3000).width < plan(tiny, GB // 2, max_row_tokens=300).width


@pytest.mark.parametrize("budget", [480, 600, 1000, 6000])
def test_what_is_planned_stays_within_the_budget(tiny: Any, budget: int) -> None:
    planned = plan(tiny, budget * GB // 1000)
    assert planned.predicted_bytes <= budget * GB // 1000
    assert planned.cache_bytes + planned.prefix_bytes < budget * GB // 1000


def test_a_budget_too_small_is_refused_with_the_smallest_that_works(tiny: Any) -> None:
    with pytest.raises(BudgetError, match=r"at least 0\.\d\d GB are needed .* 0\.20 GB are allowed") as caught:
        plan(tiny, GB // 5)
    assert plan(tiny, caught.value.needed_bytes).width >= 1
    with pytest.raises(BudgetError):
        plan(tiny, caught.value.needed_bytes - 10**6)


def test_near_the_budget_the_batch_gets_narrower_and_far_from_it_wider_again(monkeypatch: pytest.MonkeyPatch) -> None:
    used = [97, 97, 97, 97, 50, 50, 90]
    monkeypatch.setattr(memory, "tree_bytes", lambda: used.pop(0))
    monkeypatch.setattr(memory, "CHECK_S", 0.0)
    governor = Governor(100, 16)
    assert [governor.width() for _ in range(5)] == [12, 9, 10, 11, 11]


def test_a_batch_stays_as_wide_if_giving_free_memory_back_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    used = [97, 80]
    monkeypatch.setattr(memory, "tree_bytes", lambda: used.pop(0))
    assert Governor(100, 16).width() == 16


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps free memory until it is asked for it")
def test_free_memory_is_given_back_to_the_system() -> None:
    blocks = [bytearray(2000) for _ in range(50_000)]
    last = bytearray(2000)  # the memory above the last block would go back by itself
    del blocks
    before = memory.process_bytes(os.getpid())
    memory.release_free_memory()
    assert before - memory.process_bytes(os.getpid()) > 50 * 10**6
    assert last


def test_memory_is_looked_at_twice_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    monkeypatch.setattr(memory, "tree_bytes", lambda: looks.append(1) or 50)
    governor = Governor(100, 16)
    assert [governor.width() for _ in range(1000)] == [16] * 1000
    assert len(looks) <= 2
