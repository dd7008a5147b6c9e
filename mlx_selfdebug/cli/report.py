"""Define the command ``report``, which shows what a run did and found."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mlx_selfdebug.cli import options
from mlx_selfdebug.cli.paths import PathType
from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.store import open_stored, write_atomically


@click.command("report")
@options.run_option
@click.option("--md", "as_markdown", is_flag=True, help="print Markdown on stdout instead of writing the page")
@click.option("--json", "as_json", is_flag=True, help="print JSON on stdout instead of writing the page")
@click.option(
    "--output",
    type=PathType(dir_okay=False),
    help="file to write; the default is report.html in the run's folder, or stdout with --md or --json",
)
@options.debug_option
def report_command(run_path: Path, as_markdown: bool, as_json: bool, output: Path | None) -> None:
    """Write what a run did and found as one HTML page, Markdown or JSON.

    The report is made from the records of the run alone, so it can be made at any stage of the run, even while the run is in use.
    The page needs no network and no other files.

    \b
    Examples:
      mlx-selfdebug report --run runs/mine
      mlx-selfdebug report --run runs/mine --md > report.md
      mlx-selfdebug report --run runs/mine --json | jq .evidence.primary
    """
    from mlx_selfdebug.reporting.records import read_records
    from mlx_selfdebug.reporting.report import report_data, report_html, report_markdown

    if as_markdown and as_json:
        raise UsageError("give --md or --json, but not both")
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
