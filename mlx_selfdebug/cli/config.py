"""``config``: the settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from mlx_selfdebug.cli import options
from mlx_selfdebug.config import SETTINGS, flatten


@click.group("config")
def config_command() -> None:
    """Show the settings.

    Precedence: command line > environment > file > preset > default. Every key is also an option (collect.samples is
    --collect-samples) and an environment variable (MLX_SELFDEBUG_COLLECT_SAMPLES).
    """


@config_command.command("show")
@options.run_option
@options.config_option
@options.setting_options("collect", "train", "eval", "sandbox")
@options.json_option
@options.debug_option
def show(run_path: Path, config_file: Path | None, as_json: bool, **values: Any) -> None:
    """The settings a command would run with, and where each comes from.

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
