"""Define the command ``doctor``, which checks whether this machine can do the work and explains how to fix what is missing."""

from __future__ import annotations

import json
import shutil
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlx_selfdebug.cli import options
from mlx_selfdebug.cli.paths import PathType

if TYPE_CHECKING:
    from mlx_selfdebug.doctor import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}
STATE_WIDTH, NAME_WIDTH = 7, 16
"""The widths of the first two columns, in characters."""
_MIN_TEXT_WIDTH, _MAX_LINE_WIDTH = 20, 100
"""The smallest width to which the third column is wrapped, and the largest width of a whole line, in characters.

On a terminal that is too narrow for the smallest width, the terminal breaks the lines.
"""
_ARROW = "-> "
"""What stands before a remedy."""


@click.command("doctor")
@options.setting_options("budget")
@click.option(
    "--hosts",
    type=PathType(),
    metavar="FILE",
    help="check the machines of a hosts file of mlx.launch, and how they are connected, instead of this machine alone",
)
@options.json_option
@options.debug_option
def doctor_command(hosts: Path | None, as_json: bool, **values: Any) -> int:
    """Check this machine and explain how to fix what is missing.

    Each line is ok, a warning or a problem. Each warning or problem is followed by the command or action that fixes it. The doctor
    itself changes nothing. The exit code is 1 if there is a problem.

    \b
    Examples:
      mlx-selfdebug doctor
      mlx-selfdebug doctor --json > doctor.json     to attach to a bug report
      mlx-selfdebug doctor --hosts hosts.json       several machines, and the link
    """
    from mlx_selfdebug.doctor import examine
    from mlx_selfdebug.doctor.finding import worst
    from mlx_selfdebug.doctor.hosts import examine_hosts

    findings: list[Finding] = []
    for finding in examine_hosts(hosts) if hosts else examine(options.resolve_new(values).config):
        findings.append(finding)
        if not as_json:
            _show(finding)
    state = worst(findings)
    if as_json:
        click.echo(json.dumps({"state": state, "findings": [asdict(finding) for finding in findings]}))
    else:
        counts = {name: sum(finding.state == name for finding in findings) for name in ("problem", "warning")}
        click.echo("\n" + ", ".join(f"{n} {name}{'' if n == 1 else 's'}" for name, n in counts.items()))
    return 1 if state == "problem" else 0


def _show(finding: Finding) -> None:
    """Print a finding and, below it, how to fix it. Lines are wrapped to the width of the terminal."""
    indent = " " * (STATE_WIDTH + 2 + NAME_WIDTH + 2)
    width = max(_MIN_TEXT_WIDTH, min(_MAX_LINE_WIDTH, shutil.get_terminal_size().columns) - len(indent))
    lines = textwrap.wrap(finding.value, width, break_on_hyphens=False) or ["-"]
    state = click.style(finding.state.ljust(STATE_WIDTH), fg=_COLOURS[finding.state])
    click.echo(f"{state}  {finding.name.ljust(NAME_WIDTH)}  {lines[0]}")
    for line in lines[1:]:
        click.echo(indent + line)
    if finding.remedy:
        # A remedy is often a command to copy, so no word of it is broken.
        remedy = textwrap.wrap(finding.remedy, width - len(_ARROW), break_on_hyphens=False, break_long_words=False)
        for i, line in enumerate(remedy):
            click.echo(indent + (_ARROW if i == 0 else " " * len(_ARROW)) + line)
