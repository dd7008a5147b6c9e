"""Give the ranks of a group the same rows when they open a run together. Each rank has a store in a folder of its own.

An attempt that any rank has is copied to all others, so nothing that a machine finished before it stopped is lost. If two ranks
have an attempt with the same id and different content, that of the lower rank is kept. All other rows, such as facts, pairs and
training steps, are copied from rank 0.
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

_FROM_RANK_0: Sequence[Table[Any]] = (ENVIRONMENT, PAIRS, STEPS, REWARD_STEPS, STAGES)
"""The tables whose rows are copied from rank 0."""


def share_rows(run: StoredRun, call: Call, group: Group) -> None:
    """Give the stores of all ranks the same rows. All ranks call this together.

    ``run`` is this rank's run, and ``call`` calls a function with its database. Raises DistributedError if the configurations of
    the ranks differ, or if the folder of a rank belongs to another run.
    """
    group.require_same({"configuration": to_toml(run.config)})
    _require_same_run(run, call, group)
    _share_attempts(call, group)
    _copy_from_first(call, group)


def _require_same_run(run: StoredRun, call: Call, group: Group) -> None:
    """Check that each rank's folder belongs to the run of rank 0, and store the id of the run where it is not stored yet.

    A folder belongs to the run if it has the id of rank 0, or if it has neither an id nor attempts. The folder of rank 0 may have
    attempts but no id, because a run gets its id when several machines first open it.
    """
    own_id = run.facts().stored.get(Key.ID)
    id_ = group.agree(lambda: own_id or secrets.token_hex(8))
    may_take_id = own_id is None and (group.is_first or not _digests(call))
    is_foreign = own_id != id_ and not may_take_id
    foreign_paths = [path for path in group.gather_json(str(run.path) if is_foreign else None) if path]
    if foreign_paths:
        raise DistributedError(
            f"{foreign_paths[0]} belongs to another run than that of rank 0",
            hint=f"remove it on its machine: rm -r {foreign_paths[0]}",
            on_all_ranks=True,
        )
    if own_id is None:
        fact = ENVIRONMENT.to_row(Fact(Key.ID, id_))
        call(lambda db: db.execute(ENVIRONMENT.insert(), fact).close())


def _share_attempts(call: Call, group: Group) -> None:
    """Copy each attempt from the lowest rank that has it to the ranks that do not have it, or have it with other content.

    The ranks first exchange digests of their attempts, and then send only attempts that another rank needs.
    """
    digests_by_rank: list[dict[str, str]] = group.gather_json(_digests(call))
    senders: dict[str, int] = {}
    for rank, digests in enumerate(digests_by_rank):
        for id_ in digests:
            senders.setdefault(id_, rank)
    correct = {id_: digests_by_rank[rank][id_] for id_, rank in senders.items()}

    def is_needed_by(rank: int, id_: str) -> bool:
        return digests_by_rank[rank].get(id_) != correct[id_]

    to_send = [
        asdict(attempt)
        for attempt in _attempts(call)
        if senders[attempt.id] == group.rank and any(is_needed_by(rank, attempt.id) for rank in range(group.size))
    ]
    received = [parse(ATTEMPTS.value_type, data) for sent in group.gather_json(to_send) for data in sent]
    rows = [ATTEMPTS.to_row(attempt) for attempt in received if is_needed_by(group.rank, attempt.id)]
    call(lambda db: db.executemany(ATTEMPTS.insert("INSERT OR REPLACE"), rows).close())


def _copy_from_first(call: Call, group: Group) -> None:
    """Replace the rows of this rank that are not attempts by those of rank 0."""
    for table in _FROM_RANK_0:
        values = group.agree(lambda table=table: [asdict(value) for value in _read(call, table)])  # type: ignore[misc]
        if group.is_first:
            continue
        rows = [table.to_row(parse(table.value_type, data)) for data in values]

        def replace(db: sqlite3.Connection, table: Table[Any] = table, rows: list[Any] = rows) -> None:
            db.execute(f"DELETE FROM {table.name}")
            db.executemany(table.insert(), rows)

        call(replace)


def _digests(call: Call) -> dict[str, str]:
    """Return a digest of all fields of each stored attempt, by the attempt's id."""
    return {
        attempt.id: hashlib.sha256(repr(ATTEMPTS.to_row(attempt)).encode()).hexdigest()[:16]
        for attempt in _attempts(call)
    }


def _attempts(call: Call) -> list[Any]:
    return _read(call, ATTEMPTS)


def _read(call: Call, table: Table[Any]) -> list[Any]:
    return list(call(lambda db: list(table.read(db))))
