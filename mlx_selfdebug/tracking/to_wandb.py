"""Write the points of a run to wandb.

Nothing is uploaded unless the user has logged in (``wandb login``) or has set ``WANDB_MODE``. Otherwise the records stay in the
folder ``wandb`` of the run, from which ``wandb sync`` uploads them.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import wandb

from mlx_selfdebug.config import Config
from mlx_selfdebug.tracking.points import Point
from mlx_selfdebug.tracking.tracker import PROJECT, Tracker, run_name

TIMEOUT_S = 30.0
"""The longest time that wandb may take to begin or to finish a run, in seconds."""
STEP = "step"
"""The name of the figure that is the horizontal axis of a series, as wandb's own step counts the points of all series."""


class Wandb(Tracker):
    """One run in wandb.

    Offline, wandb cannot read the records of earlier sessions. So each session records all points from the beginning, and only
    the records of the last session have to be uploaded later.
    """

    def __init__(self, path: Path, config: Config) -> None:
        super().__init__()
        settings = wandb.Settings(silent=True, console="off", init_timeout=TIMEOUT_S, finish_timeout=TIMEOUT_S)
        wandb.setup(settings)
        has_chosen_mode = "WANDB_MODE" in os.environ or wandb.login(prompt=False, verify=False)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run_name(path),
            name=path.resolve().name,
            dir=None if "WANDB_DIR" in os.environ else path.resolve(),
            config={key: value for key, value in asdict(config).items() if key != "track"},
            resume="allow",
            mode=None if has_chosen_mode else "offline",
            settings=settings,
        )
        folder = Path(self._run.dir).parent
        self.view = self._run.url or f"wandb sync {shlex.quote(os.path.relpath(folder))}"
        self._defined: set[str] = set()
        # A run that is resumed online has the summary of its earlier sessions, and so the last step of each series.
        for name in list(self._run.summary.keys()):
            series, _, figure = name.rpartition("/")
            if figure == STEP:
                self._last[series] = int(self._run.summary[name])

    def write(self, points: Sequence[Point]) -> None:
        for point in points:
            axis = f"{point.series}/{STEP}"
            for name in point.named.keys() - self._defined:
                self._run.define_metric(name, step_metric=axis)
                self._defined.add(name)
            self._run.log({**point.named, axis: point.step})

    def close(self) -> None:
        self._run.finish()
