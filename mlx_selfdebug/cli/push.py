"""Define the command ``push``, which uploads an adapter or an exported model to the Hugging Face hub."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlx_selfdebug.cli import options
from mlx_selfdebug.cli.paths import PathType

if TYPE_CHECKING:
    from mlx_selfdebug.exporting.hub import Pushed
    from mlx_selfdebug.exporting.hub_contents import Contents


@click.command("push")
@click.argument("source", metavar="RUN", type=PathType())
@click.argument("repository", metavar="REPO")
@click.option("--public", is_flag=True, help="let everyone see the repository; without it, a new one is private")
@click.option("--message", metavar="TEXT", default="", help="message of the commit")
@click.option("--dry-run", is_flag=True, help="list every file that would be uploaded, and stop; needs no network")
@options.json_option
@options.quiet_option
@options.debug_option
def push_command(
    source: Path, repository: str, public: bool, message: str, dry_run: bool, as_json: bool, quiet: bool
) -> None:
    """Upload the adapter of RUN to the Hugging Face hub, with its model card.

    RUN is a run, the folder of an adapter, or what `export` made: a PEFT adapter, a model or a .gguf file. REPO is OWNER/NAME on
    the hub, which is created if it does not exist. All files go up as one commit. Nothing else of a run is uploaded: not its
    database, its settings, its report or its checkpoints. Log in first with `hf auth login`, or set HF_TOKEN.

    \b
    Examples:
      mlx-selfdebug push runs/mine me/coder-that-debugs --dry-run
      mlx-selfdebug push runs/mine me/coder-that-debugs
      mlx-selfdebug push exported/peft me/coder-that-debugs-peft --public
    """
    from mlx_selfdebug.exporting.hub import check_repository, push
    from mlx_selfdebug.exporting.hub_contents import contents_of

    check_repository(repository)
    contents = contents_of(source, repository)
    if dry_run:
        click.echo(_json(contents, repository, public) if as_json else _plan(contents, repository, public))
        return
    click.echo(f"uploading {_amount(contents)} to {repository}", err=True)
    pushed = push(contents, repository, public=public, message=message, bars=not quiet and sys.stderr.isatty())
    click.echo(_json(contents, repository, public, pushed) if as_json else _outcome(contents, pushed))


def _plan(contents: Contents, repository: str, public: bool) -> str:
    """Return a text that lists what would be uploaded (``--dry-run``)."""
    from mlx_selfdebug.columns import columns

    visibility = "public" if public else "private"
    table = columns([[file.name, f"{file.n_bytes:,} bytes"] for file in contents.files], right=[1])
    lines = [f"{_amount(contents)} would go to {repository} ({visibility} if it is new):", "", table]
    if contents.left_out:
        lines += ["", f"not uploaded: {', '.join(contents.left_out)}"]
    return "\n".join(lines)


def _outcome(contents: Contents, pushed: Pushed) -> str:
    """Return a text that says what was uploaded and how to use it."""
    change = "uploaded" if pushed.changed else "unchanged"
    lines = [f"{change}: {pushed.address} ({'private' if pushed.private else 'public'})"]
    if pushed.others:
        lines.append(f"left as they are: {', '.join(pushed.others)}")
    return "\n".join([*lines, "", contents.use])


def _amount(contents: Contents) -> str:
    """Return the number and size of the files as the beginning of a sentence: "3 files, 17.3 MB,"."""
    n_files = len(contents.files)
    return f"{n_files} file{'s' * (n_files != 1)}, {contents.n_bytes / 1e6:.1f} MB,"


def _json(contents: Contents, repository: str, public: bool, pushed: Pushed | None = None) -> str:
    """Return the plan of an upload and, once it is done, its result, as one JSON object."""
    plan = {
        "repository": repository,
        "private": not public,
        "kind": contents.kind.name,
        "files": [{"name": file.name, "bytes": file.n_bytes} for file in contents.files],
        "left_out": list(contents.left_out),
        "use": contents.use,
    }
    return json.dumps({**plan, **(pushed.to_dict() if pushed else {})})
