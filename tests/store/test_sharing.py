"""Ranks that open a run together have the same rows afterwards. Here each rank is a thread with a store of its own."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier
from typing import Any, cast

from mlx_selfdebug.distributed import Group
from mlx_selfdebug.store import Run
from mlx_selfdebug.store.sharing import share_rows
from mlx_selfdebug.testing import make_attempt
from mlx_selfdebug.values.attempt import Attempt


class ThreadGroup:
    """The group of one thread, with what ``share_rows`` asks of a group."""

    def __init__(self, rank: int, values: list[str], barrier: Barrier) -> None:
        self.rank, self.size, self.is_first = rank, len(values), rank == 0
        self._values, self._barrier = values, barrier

    def gather_json(self, value: Any) -> list[Any]:
        self._values[self.rank] = json.dumps(value)
        self._barrier.wait()
        gathered = [json.loads(text) for text in self._values]
        self._barrier.wait()
        return gathered

    def agree(self, compute: Any) -> Any:
        return self.gather_json(compute() if self.is_first else None)[0]

    def require_same(self, facts: dict[str, str]) -> None:
        assert len({json.dumps(facts) for facts in self.gather_json(facts)}) == 1


def shared(folder: Path, *attempts_of_ranks: list[Attempt]) -> list[list[Attempt]]:
    """Return the attempts of each rank after the ranks have shared what they have."""
    n_ranks = len(attempts_of_ranks)
    values, barrier = [""] * n_ranks, Barrier(n_ranks, timeout=20)
    with ExitStack() as stack, ThreadPoolExecutor(n_ranks) as pool:
        runs = [stack.enter_context(Run(folder / f"run-{rank}")) for rank in range(n_ranks)]
        for run, attempts in zip(runs, attempts_of_ranks, strict=True):
            run.remember("id", "the same run")
            for attempt in attempts:
                run.add_attempt(attempt)
            run.flush()
        groups = [cast(Group, ThreadGroup(rank, values, barrier)) for rank in range(n_ranks)]
        list(pool.map(lambda pair: share_rows(pair[0], pair[0]._writer.call, pair[1]), zip(runs, groups, strict=True)))
        return [list(run.attempts()) for run in runs]


def test_what_any_rank_has_all_ranks_have_afterwards(tmp_path: Path) -> None:
    one, two, three = (make_attempt(sample=sample) for sample in range(3))
    assert shared(tmp_path, [one], [two], [one, three]) == [[one, two, three]] * 3


def test_of_two_attempts_that_differ_in_their_code_alone_that_of_the_lower_rank_counts(tmp_path: Path) -> None:
    lower, higher = make_attempt(code="x = 1\n"), make_attempt(code="x = 2\n")
    assert shared(tmp_path, [], [lower], [higher]) == [[lower]] * 3
