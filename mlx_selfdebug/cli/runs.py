"""``runs``: what runs there are, what one found, its pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from mlx_selfdebug.cli import options
from mlx_selfdebug.reporting.columns import columns
from mlx_selfdebug.reporting.summary import read_summary, summary_text
from mlx_selfdebug.store import read_pairs, reading, write_atomically

RUN = click.argument("run_path", metavar="RUN", type=click.Path(path_type=Path))


@click.group("runs")
def runs_command() -> None:
    """List and show runs; export their pairs."""


@runs_command.command("list")
@click.option("--folder", type=click.Path(path_type=Path), default="runs", show_default=True, help="where runs are")
@options.json_option
@options.debug_option
def list_runs(folder: Path, as_json: bool) -> None:
    """Runs and how far each is."""
    found = [_overview(path.parent) for path in sorted(folder.glob("*/run.db"))]
    if as_json:
        click.echo(json.dumps(found))
    elif found:
        click.echo(columns([list(found[0]), *([str(v) for v in row.values()] for row in found)]))
    else:
        click.echo(f"no runs in {folder}")


def _overview(path: Path) -> dict[str, Any]:
    with reading(path) as db:
        attempts, pairs = (db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("attempts", "pairs"))
        done = [row["name"] for row in db.execute("SELECT name FROM stages WHERE done ORDER BY name")]
    state = "finished" if (path / "summary.json").exists() else "open"
    return {"run": str(path), "state": state, "attempts": attempts, "pairs": pairs, "stages": ",".join(done) or "-"}


@runs_command.command("show")
@RUN
@options.json_option
@options.debug_option
def show(run_path: Path, as_json: bool) -> None:
    """What a finished run found: before and after, time and memory by stage."""
    with reading(run_path):
        pass
    summary = read_summary(run_path)
    click.echo(json.dumps(summary) if as_json else f"{run_path} · {summary_text(summary)}")


@runs_command.command("pairs")
@RUN
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="file to write; stdout if left out")
@options.debug_option
def pairs(run_path: Path, output: Path | None) -> None:
    """A run's pairs as JSONL: kind, domain, task_id, prompt, target, attempts.

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
