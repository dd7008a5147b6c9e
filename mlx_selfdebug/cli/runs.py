"""Define the group ``runs``, whose commands list, show, watch, compare, export, import, branch, track and upgrade runs."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mlx_selfdebug.cli import options
from mlx_selfdebug.cli.completers import complete_trackers
from mlx_selfdebug.cli.groups import Group
from mlx_selfdebug.cli.paths import PathType
from mlx_selfdebug.cli.watch import watch_command
from mlx_selfdebug.columns import columns
from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.reporting.live.state import read_state
from mlx_selfdebug.reporting.summary import read_summary, summary_text
from mlx_selfdebug.store import (
    Run,
    export_run,
    import_run,
    open_stored,
    read_pairs,
    reading,
    write_atomically,
    writing_atomically,
)
from mlx_selfdebug.store.database import LIST_RUNS

run_argument = click.argument("run_path", metavar="RUN", type=PathType())


@click.group("runs", cls=Group)
def runs_command() -> None:
    """List, show, watch and compare runs; branch, export and import them."""


runs_command.add_command(watch_command)


@runs_command.command("list")
@click.option("--folder", type=PathType(), default="runs", show_default=True, help="folder that holds the runs")
@options.json_option
@options.debug_option
def list_runs(folder: Path, as_json: bool) -> None:
    """List the runs and how far each has come.

    A run is running, stopped, or finished; or it is between stages, which means that it was closed moments ago and that its next
    stage may be starting.

    \b
    Example:
      mlx-selfdebug runs list --folder runs
    """
    rows = [_overview(path.parent) for path in sorted(folder.glob("*/run.db"))]
    if as_json:
        click.echo(json.dumps(rows))
    elif rows:
        cells = [["-" if value is None else str(value) for value in row.values()] for row in rows]
        click.echo(columns([list(rows[0]), *cells]))
    else:
        click.echo(f"there are no runs in {folder}")


def _overview(path: Path) -> dict[str, Any]:
    """Return how far a run has come. If its database cannot be read, the reason is printed, and the counts are None."""
    try:
        with reading(path) as db:
            attempts = db.execute("SELECT count(*) FROM attempts").fetchone()[0]
            pairs = db.execute("SELECT count(*) FROM pairs").fetchone()[0]
            done = [row["name"] for row in db.execute("SELECT name FROM stages WHERE done ORDER BY name")]
    except StoreError as error:
        click.echo(error.text, err=True)
        return {"run": str(path), "state": "unreadable", "attempts": None, "pairs": None, "stages": None}
    state = read_state(path).phase
    return {"run": str(path), "state": state, "attempts": attempts, "pairs": pairs, "stages": ",".join(done) or "-"}


@runs_command.command("show")
@run_argument
@options.json_option
@options.debug_option
def show(run_path: Path, as_json: bool) -> None:
    """Show what a finished run found, and its time and memory per stage.

    \b
    Example:
      mlx-selfdebug runs show runs/default --json
    """
    from mlx_selfdebug.evaluation.result import read_result

    with open_stored(run_path) as run:
        summary = read_summary(run)
        click.echo(json.dumps(summary) if as_json else f"{run_path} · {summary_text(summary, read_result(run))}")


@runs_command.command("pairs")
@run_argument
@click.option("--output", type=PathType(dir_okay=False), help="file to write; the default is stdout")
@options.debug_option
def pairs(run_path: Path, output: Path | None) -> None:
    """Write a run's pairs as JSONL.

    Each line has the keys kind, domain, task_id, prompt, target and attempts.

    \b
    Example:
      mlx-selfdebug runs pairs runs/default --output pairs.jsonl
    """
    with reading(run_path) as db:
        text = "".join(json.dumps(pair.to_dict()) + "\n" for pair in read_pairs(db))
    if output:
        write_atomically(output, text)
    else:
        click.echo(text, nl=False)


@runs_command.command("export")
@run_argument
@click.option(
    "--output",
    type=PathType(dir_okay=False, allow_dash=True),
    default="-",
    show_default=True,
    help="file to write; - is stdout",
)
@options.debug_option
def export(run_path: Path, output: Path) -> None:
    """Export a run as JSONL.

    The first line is a header with the schema version, the settings and the number of lines of each type. The attempts, pairs,
    steps, stages and environment follow, one per line, each with a "type". The run may be in use. The adapter is not exported.

    \b
    Examples:
      mlx-selfdebug runs export runs/default --output run.jsonl
      mlx-selfdebug runs export runs/default | gzip > run.jsonl.gz
    """
    if str(output) == "-":
        export_run(run_path, sys.stdout)
    else:
        with writing_atomically(output) as file:
            counts = export_run(run_path, file)
        click.echo(f"{output}: {_counted(counts)}", err=True)


@runs_command.command("import")
@click.argument("file", metavar="FILE", type=PathType())
@click.option("--run", "run_path", type=PathType(), required=True, help="run folder to create")
@options.debug_option
def import_(file: Path, run_path: Path) -> None:
    """Create a run from a file that `runs export` wrote.

    The import is all or nothing: a file with problems is refused, and each problem is listed with its line.

    \b
    Example:
      mlx-selfdebug runs import run.jsonl --run runs/copy
    """
    click.echo(f"{run_path}: {_counted(import_run(file, run_path))}", err=True)


@runs_command.command("compare")
@click.argument("first", metavar="A", type=PathType())
@click.argument("second", metavar="B", type=PathType())
@options.json_option
@options.debug_option
def compare_runs(first: Path, second: Path, as_json: bool) -> None:
    """Compare what two runs solved, arm by arm.

    The comparison is paired: it is made on the tasks on which both runs were evaluated. Runs that were evaluated or tested with
    different settings are refused, and these settings are listed.

    \b
    Example:
      mlx-selfdebug runs compare runs/first runs/second
    """
    from mlx_selfdebug.evaluation.compare import compare

    with open_stored(first) as a, open_stored(second) as b:
        comparison = compare(a, b)
    click.echo(json.dumps(comparison.to_dict()) if as_json else str(comparison))


@runs_command.command("branch")
@click.argument("source", metavar="RUN", type=PathType())
@click.option("--run", "run_path", type=PathType(), required=True, help="run folder to create")
@options.setting_options("train")
@options.debug_option
def branch_run(source: Path, run_path: Path, **values: Any) -> None:
    """Create a new run from what RUN has collected.

    The new run has the same attempts, and it may have another seed or other training settings. It can serve as a control for a
    claim.

    \b
    Examples:
      mlx-selfdebug runs branch runs/first --run runs/seed-1 --seed 1
      mlx-selfdebug runs branch runs/first --run runs/direct \\
        --train-repair-share 0 --train-keep-share 0
      mlx-selfdebug train --run runs/seed-1
      mlx-selfdebug eval --run runs/first --adapter seed-1=runs/seed-1
    """
    from mlx_selfdebug.stages.branch import branch

    with open_stored(source) as stored:
        branch(stored, run_path, options.resolve_for(source, None, values).config)
        with open_stored(run_path) as new:
            click.echo(
                f"{run_path}: {len(new.attempts())} attempts and {len(new.pairs())} pairs from {source}", err=True
            )
    click.echo(f"  next: mlx-selfdebug train --run {run_path}", err=True)


@runs_command.command("track")
@run_argument
@click.option(
    "--to",
    "trackers",
    required=True,
    metavar="NAMES",
    shell_complete=complete_trackers,
    help="trackers, separated by commas: trackio, wandb, tensorboard",
)
@options.json_option
@options.debug_option
def track(run_path: Path, trackers: str, as_json: bool) -> None:
    """Send the figures of a run to trackers.

    The run may be finished or under way. What a tracker has already is not sent again. To have the figures sent while a run is
    under way, give --track to the command that does the work.

    \b
    Examples:
      mlx-selfdebug runs track runs/default --to tensorboard
      mlx-selfdebug runs track runs/default --to trackio,wandb --json
    """
    from mlx_selfdebug.tracking import send_run

    results = send_run(run_path, trackers)
    if as_json:
        click.echo(json.dumps([asdict(result) for result in results]))
    else:
        for result in results:
            points = "1 point" if result.points == 1 else f"{result.points} points"
            click.echo(f"{result.tracker}: {points} sent. To see them: {result.view}")


@runs_command.command("upgrade")
@run_argument
@options.debug_option
def upgrade(run_path: Path) -> None:
    """Upgrade a run from an older version.

    The database is migrated to the current schema, and a copy of the old database is kept beside it. The stages do this by
    themselves. This command is for a run that is only to be read.

    \b
    Example:
      mlx-selfdebug runs upgrade runs/default
    """
    if not (run_path / "run.db").exists():
        raise StoreError(f"{run_path} is not a run folder: it has no run.db", hint=LIST_RUNS)
    Run(run_path).close()


def _counted(counts: dict[str, int]) -> str:
    """Return the numbers of lines by type as text, such as "120 attempts, 1 stage"."""
    return ", ".join(f"{n} {name}{'' if n == 1 or name == 'environment' else 's'}" for name, n in counts.items())
