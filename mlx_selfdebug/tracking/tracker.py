"""Define what a tracker is, which trackers there are, and the name of a run in them.

We keep no list of the points that were sent. Instead, the tracker is asked which points it has. So a run that was killed and
resumed sends no point twice and leaves none out. A run whose records were deleted in the tracker is sent again as a whole.
"""

from __future__ import annotations

import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path

from mlx_selfdebug.config import Config
from mlx_selfdebug.errors import UnknownNameError, UsageError
from mlx_selfdebug.store import write_atomically
from mlx_selfdebug.tracking.points import Point

TRACKERS = {"trackio": "Trackio", "wandb": "Wandb", "tensorboard": "TensorBoard"}
"""The class of each tracker, by the tracker's name.

The name is also that of the tracker's package, of the extra that installs it, and of our module: ``to_wandb.py``.
"""
PROJECT = "mlx-selfdebug"
"""The project under which trackers list the runs."""
ID_FILE = "tracking.json"
"""The file in the folder of a run that holds the time at which the run was first tracked (``run_name``)."""


class Tracker(ABC):
    """A tracker that is open for one run. Its methods raise whatever the tracker's package raises.

    A subclass finds out when it is opened which points the tracker has. It notes them in ``_sent`` or, if the tracker can tell
    only the last step of a series, in ``_last``.
    """

    view: str
    """What to type, or which address to open, to see the run in the tracker."""

    def __init__(self) -> None:
        self._sent: set[tuple[str, int]] = set()
        """The series and the step of each point that the tracker is known to have."""
        self._last: dict[str, int] = {}
        """The last step that the tracker has of a series, by the series. It is known to have every step up to that one."""

    def send(self, points: Sequence[Point]) -> int:
        """Send the points that the tracker does not have yet, and return their number.

        When this returns, the points survive the end of this process.
        """
        new = [point for point in points if not self.has(point)]
        if new:
            self.write(new)
            self._sent.update((point.series, point.step) for point in new)
        return len(new)

    def has(self, point: Point) -> bool:
        """Return whether the tracker has the point already."""
        return (point.series, point.step) in self._sent or point.step <= self._last.get(point.series, -1)

    @abstractmethod
    def write(self, points: Sequence[Point]) -> None:
        """Store points that the tracker does not have. When this returns, they survive the end of this process."""

    @abstractmethod
    def close(self) -> None:
        """Close the tracker. It can be opened again, for the same run."""


def require_trackers(names: str) -> list[str]:
    """Return the names of trackers in a text that separates them by commas. An empty text names none.

    Raises UnknownNameError for a name that no tracker has, and UsageError for a tracker that is not installed.
    """
    chosen = list(dict.fromkeys(name for text in names.split(",") if (name := text.strip())))
    for name in chosen:
        if name not in TRACKERS:
            raise UnknownNameError("tracker", name, TRACKERS)
        # Importing the package would also find a folder of its name in the working folder, and wandb makes such a folder.
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            raise UsageError(
                f"the tracker {name} is not installed", hint=f"pip install 'mlx-selfdebug[{name}]'"
            ) from None
    return chosen


def open_tracker(name: str, path: Path, config: Config) -> Tracker:
    """Open the tracker ``name`` for the run at ``path``, whose settings become the hyperparameters of the run in the tracker.

    Raises what the tracker's package raises.
    """
    module = import_module(f"mlx_selfdebug.tracking.to_{name}")
    tracker: Tracker = getattr(module, TRACKERS[name])(path, config)
    return tracker


def run_name(path: Path) -> str:
    """Return the name of a run in trackers that keep the runs of many folders, such as "mine-20261201-090500".

    It consists of the name of the folder and the time at which the run was first tracked. The time is kept in the folder, so a
    resumed run has the same name, and a run that was begun anew in the same folder has another. Raises StoreError if the folder
    cannot be written.
    """
    file = path / ID_FILE
    try:
        begun = str(json.loads(file.read_text(encoding="utf-8"))["begun"])
    except (OSError, ValueError, KeyError, TypeError):
        begun = time.strftime("%Y%m%d-%H%M%S")
        write_atomically(file, json.dumps({"begun": begun}) + "\n")
    # wandb allows fewer characters in the id of a run than a folder may have.
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', path.resolve().name)}-{begun}"
