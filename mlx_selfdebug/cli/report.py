"""``report``: what a run did and found, from its records."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mlx_selfdebug.cli import options
from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.store import open_stored, write_atomically


@click.command("report")
@options.run_option
@click.option("--md", "as_markdown", is_flag=True, help="Markdown on stdout instead of the page")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout instead of the page")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="file to write instead: report.html in the run's folder, or stdout",
)
@options.debug_option
def report_command(run_path: Path, as_markdown: bool, as_json: bool, output: Path | None) -> None:
    """What a run did and found, as one HTML page, Markdown or JSON.

    Rendered from the run's records alone: at any time, however far the run is, also while it is in use. The page needs no network
    and nothing beside it.

    \b
    Examples:
      mlx-selfdebug report --run runs/mine
      mlx-selfdebug report --run runs/mine --md > report.md
      mlx-selfdebug report --run runs/mine --json | jq .evidence.primary
    """
    from mlx_selfdebug.reporting.records import read_records
    from mlx_selfdebug.reporting.report import report_data, report_html, report_markdown

    if as_markdown and as_json:
        raise UsageError("--md or --json, not both")
    with open_stored(run_path) as run:
        records = read_records(run)
    if as_markdown:
        text = report_markdown(records)
    elif as_json:
        text = json.dumps(report_data(records), indent=2) + "\n"
    else:
        text, output = report_html(records), output or run_path / "report.html"
    if output is None:
        click.echo(text, nl=False)
    else:
        write_atomically(output, text)
        click.echo(f"report: {output}", err=True)
