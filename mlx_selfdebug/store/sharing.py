"""Bring the stores of several ranks to the same rows when they open a run together.

An attempt that any rank has is passed on to all others, so what a machine finished before it stopped is never lost. If two ranks
have an attempt of the same key with different content, that of the lower rank counts. All other rows, such as facts, pairs and
training steps, are those of rank 0.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mlx_selfdebug.config import to_toml
from mlx_selfdebug.distributed import Group
from mlx_selfdebug.errors import DistributedError
from mlx_selfdebug.store.codec import parse
from mlx_selfdebug.store.facts import Key
from mlx_selfdebug.store.rows import ATTEMPTS, ENVIRONMENT, PAIRS, REWARD_STEPS, STAGES, STEPS, Fact, Table

if TYPE_CHECKING:
    from mlx_selfdebug.store.stored import Call, StoredRun

_OF_RANK_0: Sequence[Table[Any]] = (ENVIRONMENT, PAIRS, STEPS, REWARD_STEPS, STAGES)
"""The tables whose rows all ranks take from rank 0."""


def share_rows(run: StoredRun, call: Call, group: Group) -> None:
    """Give the stores of all ranks the same rows. ``call`` runs a function on the database of this rank's ``run``.

    Raises DistributedError if the ranks have different configurations, or if this folder of a rank belongs to another run.
    """
    group.require_same({"configuration": to_toml(run.config)})
    _require_same_run(run, call, group)
    _share_attempts(call, group)
    _copy_from_first(call, group)


def _require_same_run(run: StoredRun, call: Call, group: Group) -> None:
    """Give a new run an id, and check that each rank's folder has the id of rank 0 or no rows yet."""
    own = run.facts().stored.get(Key.ID)
    id_ = group.agree(lambda: own or secrets.token_hex(8))
    foreign = own not in (None, id_) or (own is None and not group.is_first and bool(_digests(call)))
    strangers = [path for path in group.gather_json(str(run.path) if foreign else None) if path]
    if strangers:
        raise DistributedError(
            f"{strangers[0]} belongs to another run than that of rank 0",
            hint=f"remove it on its machine: rm -r {strangers[0]}",
            on_all_ranks=True,
        )
    if own is None:
        fact = ENVIRONMENT.to_row(Fact(Key.ID, id_))
        call(lambda db: db.execute(ENVIRONMENT.insert(), fact).close())


def _share_attempts(call: Call, group: Group) -> None:
    """Pass on each attempt from the lowest rank that has it to the ranks that do not have it, or have it with other content."""
    known: list[dict[str, str]] = group.gather_json(_digests(call))
    owners: dict[str, int] = {}
    for rank, digests in reversed(list(enumerate(known))):
        owners |= dict.fromkeys(digests, rank)
    wanted = {id_ for id_, owner in owners.items() if any(digests.get(id_) != known[owner][id_] for digests in known)}
    own = [asdict(attempt) for attempt in _attempts(call) if attempt.id in wanted and owners[attempt.id] == group.rank]
    received = [parse(ATTEMPTS.value_type, data) for sent in group.gather_json(own) for data in sent]
    mine = known[group.rank]
    rows = [
        ATTEMPTS.to_row(attempt)
        for attempt in received
        if mine.get(attempt.id) != known[owners[attempt.id]][attempt.id]
    ]
    call(lambda db: db.executemany(ATTEMPTS.insert("INSERT OR REPLACE"), rows).close())


def _copy_from_first(call: Call, group: Group) -> None:
    """Replace the rows of this rank that are not attempts by those of rank 0."""
    for table in _OF_RANK_0:
        values = group.agree(lambda table=table: [asdict(value) for value in _read(call, table)])  # type: ignore[misc]
        if group.is_first:
            continue
        rows = [table.to_row(parse(table.value_type, data)) for data in values]

        def replace(db: sqlite3.Connection, table: Table[Any] = table, rows: list[Any] = rows) -> None:
            db.execute(f"DELETE FROM {table.name}")
            db.executemany(table.insert(), rows)

        call(replace)


def _digests(call: Call) -> dict[str, str]:
    """Return a digest of each stored attempt, by the attempt's id."""
    return {
        attempt.id: hashlib.sha256(repr(attempt).encode("utf-8", "backslashreplace")).hexdigest()[:16]
        for attempt in _attempts(call)
    }


def _attempts(call: Call) -> list[Any]:
    return _read(call, ATTEMPTS)


def _read(call: Call, table: Table[Any]) -> list[Any]:
    return list(call(lambda db: list(table.read(db))))
