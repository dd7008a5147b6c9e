"""Define the command ``estimate``, which predicts the memory and time of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mlx_selfdebug.cli.session import Session, stage_command
from mlx_selfdebug.errors import BudgetError

if TYPE_CHECKING:
    from mlx_selfdebug.stages.estimate import StageEstimate


@stage_command("estimate", "collect", "train", "eval", "sandbox", "budget")
def estimate_command(session: Session) -> int:
    """Estimate the memory and time of each stage before the whole model is loaded.

    A few of the model's layers are loaded and timed; what training needs is measured once and cached. The memory is that of all
    processes together. The times are rough. An existing run is estimated with its own settings and pairs. The exit code is 3 if a
    stage does not fit its budget.

    \b
    Examples:
      mlx-selfdebug estimate
      mlx-selfdebug estimate --model qwen3.5-0.8b --budget-training-gb 8
      mlx-selfdebug estimate --run runs/mine --json
    """
    from mlx_selfdebug.stages.estimate import estimate
    from mlx_selfdebug.store import Run

    if (session.run_path / "config.toml").exists():
        with Run(session.run_path) as run:
            estimates = estimate(session.config, run, progress=session.progress)
    else:
        estimates = estimate(session.config, progress=session.progress)
    _show(session, estimates)
    return 0 if all(stage.fits for stage in estimates) else BudgetError.exit_code


def _show(session: Session, estimates: Sequence[StageEstimate]) -> None:
    """Print the estimates as a table, then what to change for each stage that does not fit. With --json, print them as JSON too."""
    from mlx_selfdebug.columns import columns

    head = ["stage", "peak GB", "budget GB", "", "time"]
    rows = [
        [
            stage.stage,
            f"{stage.peak_bytes / 1e9:.2f}",
            f"{stage.budget_bytes / 1e9:.2f}",
            "fits" if stage.fits else "DOES NOT FIT",
            _duration(stage.wall_s),
        ]
        for stage in estimates
    ]
    session.say(
        f"model {session.config.model} · preset {session.config.preset}\n\n{columns([head, *rows], right=(1, 2, 4))}"
    )
    for stage in estimates:
        if not stage.fits:
            session.say(f"\n{stage.stage}: {stage.hint}")
    if session.as_json:
        click.echo(json.dumps([{**asdict(stage), "fits": stage.fits} for stage in estimates]))


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
