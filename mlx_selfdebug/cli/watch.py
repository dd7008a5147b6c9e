"""Define the command ``runs watch``, which shows a run under way in a browser."""

from __future__ import annotations

import os
import sys
import webbrowser
from contextlib import suppress
from pathlib import Path

import click

from mlx_selfdebug.cli import options
from mlx_selfdebug.cli.paths import PathType
from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.store.database import LIST_RUNS

NICENESS = 5
"""By how much the priority of this process is lowered once the page is there, so that the run comes first."""


@click.command("watch")
@click.argument("run_path", metavar="RUN", type=PathType(file_okay=False))
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="N", default=0, help="port on 127.0.0.1  [default: a free one]"
)
@click.option(
    "--open/--no-open",
    "opens_browser",
    default=None,
    help="open the page in a browser  [default: where there is a desktop]",
)
@options.debug_option
def watch_command(run_path: Path, port: int, opens_browser: bool | None) -> None:
    """Show a run under way as a page in a browser, until Ctrl-C.

    The page shows the stage, how far it has come, tokens per second, loss, memory, the newest repairs and the report as far as it
    can be made. The run need not have begun. It may be killed and resumed meanwhile, and nothing in its folder is written.

    The page can be opened on this machine alone, and only by those who know its address, which holds a token.

    \b
    Examples:
      mlx-selfdebug runs watch runs/mine
      mlx-selfdebug runs watch runs/mine --port 8890 --no-open
    """
    from mlx_selfdebug.reporting.live import LiveServer

    if run_path.is_dir() and not (run_path / "run.db").exists() and _holds_something_else(run_path):
        raise StoreError(f"{run_path} is not empty and not a run folder", hint=LIST_RUNS)
    with LiveServer(run_path, port) as server, suppress(KeyboardInterrupt):
        with suppress(OSError):
            os.nice(NICENESS)
        click.echo(f"{run_path}: {server.url}")
        if not (run_path / "run.db").exists():
            click.echo(f"there is no run in {run_path} yet; the page shows it as soon as it begins", err=True)
        click.echo("Ctrl-C ends the page, but not the run.", err=True)
        if _has_desktop() if opens_browser is None else opens_browser:
            webbrowser.open(server.url)
        server.serve_forever()


def _holds_something_else(folder: Path) -> bool:
    """Return whether a folder holds files, none of which a run has when it begins."""
    names = {path.name for path in folder.iterdir()}
    return bool(names) and not names & {"config.toml", "run.lock"}


def _has_desktop() -> bool:
    """Return whether a browser can be expected to open here in a window, which it cannot over SSH or in a pipe."""
    if not sys.stdout.isatty() or "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
