"""Every number of the report can be had by the query that the documentation names for it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import mlx_selfdebug.reporting
from mlx_selfdebug.evaluation.evidence import ArmEvidence
from mlx_selfdebug.evaluation.metrics import mean_pass_at_k
from mlx_selfdebug.reporting.records import Records, read_records
from mlx_selfdebug.store import open_stored

from .runs import make_run

README = Path(mlx_selfdebug.reporting.__path__[0], "README.md").read_text(encoding="utf-8")
QUERIES = dict(re.findall(r"```sql\n-- (.+)\n([^`]+)```", README))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Records]:
    path = tmp_path_factory.mktemp("queries") / "run"
    make_run(path, tasks=60).close()
    with open_stored(path) as run:
        yield read_records(run)


def arm(records: Records) -> ArmEvidence:
    assert records.evidence
    return next(one for one in records.evidence.arms if one.name == "adapter/facts")


def contrast(records: Records) -> list[tuple[int, int]]:
    assert records.evidence
    assert records.evidence.primary
    return [records.evidence.primary.base[1:]]


Expected = Callable[[Records], list[tuple[Any, ...]]]
EXPECTED: dict[str, Expected] = {
    "problems solved, problems": lambda r: [arm(r).score.problems],
    "checks passed, checks": lambda r: [arm(r).score.checks],
    "wrong in the first draft and right in the answer, right and wrong": lambda r: [
        (arm(r).transitions.fixed, arm(r).transitions.broken)
    ],
    "problems solved within 150 tokens a problem (the curve)": lambda r: [
        ([point.solved for point in arm(r).curve if point.tokens <= 150][-1],)
    ],
    "problems solved after two attempts": lambda r: [(arm(r).after[1],)],
    "problems that the adapter solves with facts and the base blind does not, and the reverse": contrast,
    "attempts and generated tokens of an arm": lambda r: [(arm(r).n_attempts, arm(r).n_tokens)],
    "retries, and those that are the code before letter for letter": lambda r: [
        (arm(r).copies.total, arm(r).copies.count)
    ],
    "attempts on training tasks by outcome": lambda r: sorted(r.collected.outcomes.items()),
    "pairs by kind": lambda r: [(kind, sum(p.kind == kind for p in r.pairs)) for kind in ("direct", "keep", "repair")],
    "training loss": lambda r: [(step.step, step.loss) for step in r.steps],
    "stages: seconds and peak bytes": lambda r: sorted((s.name, s.wall_s, s.peak_bytes) for s in r.stages),
    "memory in time": lambda r: sorted((s.name, m.at_s, m.n_bytes) for s in r.stages for m in s.memory),
    "where time went": lambda r: sorted((s.name, part, wall) for s in r.stages for part, wall in s.parts.items()),
}
PASS_AT = "drafts and right ones of each training task, of which pass@k is computed"


def rows(records: Records, title: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(records.path / "run.db")) as db:
        return db.execute(QUERIES[title]).fetchall()


@pytest.mark.parametrize("title", EXPECTED)
def test_the_query_gives_the_number_of_the_report(records: Records, title: str) -> None:
    assert rows(records, title) == EXPECTED[title](records)


def test_pass_at_k_follows_from_the_counts_of_its_query(records: Records) -> None:
    counts = [(n, right) for _, n, right in rows(records, PASS_AT)]
    assert records.collected.pass_at == {k: mean_pass_at_k(counts, k) for k in (1, 2)}


def test_no_query_is_untested() -> None:
    assert set(QUERIES) == {*EXPECTED, PASS_AT}
