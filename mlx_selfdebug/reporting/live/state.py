"""Find out from the folder of a run whether the run waits to begin, is under way, has stopped or is finished."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlx_selfdebug.reporting.records import STAGES, Records
from mlx_selfdebug.store.lock import FILE as LOCK
from mlx_selfdebug.store.lock import Holder, read_holder
from mlx_selfdebug.store.under_way import Work, read_work

Phase = Literal["waiting", "running", "between", "stopped", "finished"]
"""The state of a run, as far as its folder shows it.

- waiting: it has not begun, and has no database yet.
- running: a process has it open.
- between: the last process has closed it, and the process of the next stage may be starting.
- stopped: no process has it open, and it is not finished.
- finished: its summary is written.
"""
BETWEEN_S = 20.0
"""The seconds after which a run that was closed counts as stopped. The process of the next stage takes a few of them to start."""


@dataclass(frozen=True)
class State:
    """The state of a run at one moment."""

    phase: Phase
    holder: Holder | None = None
    """The process that has the run open, or that was killed while it had."""
    work: tuple[Work, ...] = ()
    """The work that is under way, or was when the process ended. Each piece is within the one before it."""

    @property
    def is_active(self) -> bool:
        """Whether a process works on the run, or is about to."""
        return self.phase in ("running", "between")


def read_state(path: Path) -> State:
    """Return the state of the run at ``path``, which need not exist yet."""
    holder = read_holder(path)
    return State(_phase(path, holder), holder, read_work(path))


def _phase(path: Path, holder: Holder | None) -> Phase:
    if not (path / "run.db").exists():
        return "waiting"
    if holder and holder.is_alive is not False:
        return "running"
    if (path / "summary.json").exists():
        return "finished"
    return "between" if holder is None and _closed_lately(path) else "stopped"


def _closed_lately(path: Path) -> bool:
    """Return whether the run was closed in the last ``BETWEEN_S`` seconds. Closing a run empties its lock file."""
    try:
        return time.time() - (path / LOCK).stat().st_mtime < BETWEEN_S
    except OSError:
        return False


def stage_under_way(records: Records, work: tuple[Work, ...]) -> str | None:
    """Return the stage that is under way, or None if none has begun since the last one was finished."""
    named = [piece.name for piece in work if piece.name in STAGES]
    done = {stage.name for stage in records.stages if stage.done}
    begun = [stage for stage in STAGES if stage in records.facts.machines and stage not in done]
    return next(reversed(named or begun), None)
