"""Every number of the report can be had by the query that the documentation names for it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import mlx_selfdebug.reporting
from mlx_selfdebug.evaluation.evidence import ArmEvidence, HalfEvidence
from mlx_selfdebug.evaluation.metrics import Share, mean_pass_at_k
from mlx_selfdebug.evaluation.played import BUGS, OWN
from mlx_selfdebug.reporting.records import Records, read_records
from mlx_selfdebug.store import open_stored

from ..support.runs import make_run

README = Path(mlx_selfdebug.reporting.__path__[0], "README.md").read_text(encoding="utf-8")
QUERIES = dict(re.findall(r"```sql\n-- (.+)\n([^`]+)```", README))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Records]:
    path = tmp_path_factory.mktemp("queries") / "run"
    make_run(path, tasks=60).close()
    with open_stored(path) as run:
        yield read_records(run)


def half(records: Records, name: str) -> HalfEvidence:
    assert records.evidence
    return records.evidence.halves[name]


def arm(half: HalfEvidence, name: str = "adapter/facts") -> ArmEvidence:
    return next(one for one in half.arms if one.name == name)


def contrast(half: HalfEvidence) -> list[tuple[int, int]]:
    assert half.primary
    return [half.primary.base[1:]]


OfHalf = Callable[[HalfEvidence], list[tuple[Any, ...]]]
OF_HALVES: dict[str, OfHalf] = {
    "problems solved, problems": lambda half: [arm(half).score.problems],
    "checks passed, checks": lambda half: [arm(half).score.checks],
    "wrong in the first draft and right in the answer, right and wrong": lambda half: [
        (arm(half).transitions.fixed, arm(half).transitions.broken)
    ],
    "problems solved within 150 tokens per problem (the curve)": lambda half: [
        ([point.solved for point in arm(half).curve if point.tokens <= 150][-1],)
    ],
    "problems solved after two attempts": lambda half: [(arm(half).after[1],)],
    "problems that the adapter solves with facts and the base blind does not, and the reverse": contrast,
    "attempts, generated tokens, tokens read and edits tried of an arm": lambda half: [costs(arm(half))],
    "answers that pass the public checks and fail hidden ones, answers that pass the public checks": lambda half: [
        counts(arm(half).wrong_accepted)
    ],
    "retries, and those that are the code before letter for letter": lambda half: [counts(arm(half).copies)[::-1]],
}


def costs(one: ArmEvidence) -> tuple[int, int, int, int]:
    return (one.n_attempts, one.n_tokens, one.n_read_tokens, one.n_tries)


def counts(share: Share) -> tuple[int, int]:
    return (share.count, share.total)


Expected = Callable[[Records], list[tuple[Any, ...]]]
EXPECTED: dict[str, Expected] = {
    "bugs by what made them, and those that an arm repairs": lambda r: sorted(
        (operator, share.total, share.count) for operator, share in arm(half(r, BUGS)).by_operator.items()
    ),
    "attempts on training tasks by outcome": lambda r: sorted(r.collected.outcomes.items()),
    "pairs by kind": lambda r: [(kind, sum(p.kind == kind for p in r.pairs)) for kind in ("direct", "keep", "repair")],
    "training loss": lambda r: [(step.step, step.loss) for step in r.steps],
    "stages: seconds and peak bytes": lambda r: sorted((s.name, s.wall_s, s.peak_bytes) for s in r.stages),
    "memory in time": lambda r: sorted((s.name, m.at_s, m.n_bytes) for s in r.stages for m in s.memory),
    "where time went": lambda r: sorted((s.name, part, wall) for s in r.stages for part, wall in s.parts.items()),
}
PASS_AT = "drafts and correct drafts of each training task, from which pass@k is computed"


def rows(records: Records, title: str, names: Mapping[str, str] = MappingProxyType({})) -> list[tuple[Any, ...]]:
    """With other ``names`` put for those that the query has."""
    query = QUERIES[title]
    for name, other in names.items():
        query = query.replace(f"'{name}'", f"'{other}'")
    with closing(sqlite3.connect(records.path / "run.db")) as db:
        return db.execute(query).fetchall()


OF_BUGS = {
    "adapter/first": "bugs/given",
    "base/first": "bugs/given",
    "adapter/facts": "bugs/adapter/facts",
    "base/blind": "bugs/base/blind",
    "eval.figures": "eval.bugs.figures",
}


@pytest.mark.parametrize("title", OF_HALVES)
@pytest.mark.parametrize(("name", "names"), [(OWN, {}), (BUGS, OF_BUGS)])
def test_the_query_gives_the_number_of_each_half(
    records: Records, title: str, name: str, names: dict[str, str]
) -> None:
    assert rows(records, title, names) == OF_HALVES[title](half(records, name))


def test_what_a_search_read_and_tried_is_had_by_the_same_query(records: Records) -> None:
    title = "attempts, generated tokens, tokens read and edits tried of an arm"
    found = rows(records, title, {"adapter/facts": "adapter/edits+forks+blind"})
    assert found == [costs(arm(half(records, OWN), "adapter/edits+forks+blind"))]
    assert min(found[0]) > 0


@pytest.mark.parametrize("title", EXPECTED)
def test_the_query_gives_the_number_of_the_report(records: Records, title: str) -> None:
    assert rows(records, title) == EXPECTED[title](records)


def test_pass_at_k_follows_from_the_counts_of_its_query(records: Records) -> None:
    counts = [(n, right) for _, n, right in rows(records, PASS_AT)]
    assert records.collected.pass_at == {k: mean_pass_at_k(counts, k) for k in (1, 2)}


def test_no_query_is_untested() -> None:
    assert set(QUERIES) == {*OF_HALVES, *EXPECTED, PASS_AT}
