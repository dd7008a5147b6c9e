"""Define the command group ``config``, which shows the settings, and writes them to a file."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click

from mlx_selfdebug.cli import options
from mlx_selfdebug.cli.groups import Group
from mlx_selfdebug.cli.paths import PathType
from mlx_selfdebug.config import SETTINGS, flatten, to_commented_toml
from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.store.files import write_atomically

DEFAULT_FILE = "mlx-selfdebug.toml"


@click.group("config", cls=Group)
def config_command() -> None:
    """Show the settings; write them to a file.

    The order of precedence is command line > environment > file > preset > default. Every key is also an option
    (collect.samples is --collect-samples) and an environment variable (MLX_SELFDEBUG_COLLECT_SAMPLES).
    """


@config_command.command("init")
@click.argument("file", type=PathType(dir_okay=False, allow_dash=True), default=DEFAULT_FILE)
@options.setting_options("collect", "train", "eval", "sandbox", "budget", "track")
@click.option("--force", is_flag=True, help="overwrite an existing file")
@options.debug_option
def init(file: Path, force: bool, **values: Any) -> None:
    """Write a file of all settings, to edit and pass to --config.

    Each setting is written with its meaning and its value.

    \b
    Examples:
      mlx-selfdebug config init                         write mlx-selfdebug.toml
      mlx-selfdebug config init mine.toml --preset full --collect-samples 16
      mlx-selfdebug config init -                       print it instead
    """
    text = to_commented_toml(options.resolve_new(values))
    if str(file) == "-":
        click.echo(text, nl=False)
        return
    if file.exists() and not force:
        raise UsageError(f"{file} already exists", hint="give another name, or overwrite it with --force")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, text)
    click.echo(f"{file} is written. Edit it, then type\n  mlx-selfdebug run --config {shlex.quote(str(file))}")


@config_command.command("show")
@options.run_option
@options.config_option
@options.setting_options("collect", "train", "eval", "sandbox", "budget", "track")
@options.json_option
@options.debug_option
def show(run_path: Path, config_file: Path | None, as_json: bool, **values: Any) -> None:
    """Show the settings of a command and where each comes from.

    \b
    Examples:
      mlx-selfdebug config show
      mlx-selfdebug config show --run runs/mine --json
    """
    resolved = options.resolve_for(run_path, config_file, values)
    if as_json:
        flat = flatten(resolved.config)
        click.echo(json.dumps({key: {"value": flat[key], "origin": resolved.origins[key]} for key in SETTINGS}))
    else:
        click.echo(options.show_settings(resolved))
