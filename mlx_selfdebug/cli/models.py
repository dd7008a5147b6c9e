"""Define the command group ``models``, which lists the models that have a short name, and fetches and shows a model."""

from __future__ import annotations

import json

import click

from mlx_selfdebug.cli import options
from mlx_selfdebug.cli.completers import complete_model
from mlx_selfdebug.cli.groups import Group
from mlx_selfdebug.cli.progress import progress
from mlx_selfdebug.columns import columns
from mlx_selfdebug.models.catalog import ALIASES


@click.group("models", cls=Group)
def models_command() -> None:
    """List the models; fetch and show one."""


@models_command.command("list")
@options.json_option
@options.debug_option
def list_models(as_json: bool) -> None:
    """List the models that have a short name.

    A hub repository, a folder or a .gguf file can be given wherever a model's name is expected.

    \b
    Example:
      mlx-selfdebug models list
    """
    if as_json:
        click.echo(
            json.dumps([{"name": alias.name, "about": alias.about, "hub": alias.hub} for alias in ALIASES.values()])
        )
    else:
        click.echo(columns([[alias.name, alias.hub, alias.about] for alias in ALIASES.values()]))


@models_command.command("show")
@click.argument("name", metavar="MODEL", shell_complete=complete_model)
@options.json_option
@options.quiet_option
@options.debug_option
def show(name: str, as_json: bool, quiet: bool) -> None:
    """Show a model and where it is stored. Fetch it if necessary.

    \b
    Examples:
      mlx-selfdebug models show qwen2.5-coder-0.5b
      mlx-selfdebug models show ./coder.q4_k_m.gguf
    """
    from mlx_selfdebug.models.resolve import resolve_model

    model = resolve_model(name, progress=progress(quiet=quiet))
    config = json.loads((model.path / "config.json").read_text(encoding="utf-8"))
    facts = {
        "name": model.name,
        "origin": model.origin,
        "path": str(model.path),
        "architecture": config.get("model_type"),
        "layers": config.get("num_hidden_layers"),
        "disk_bytes": sum(file.stat().st_size for file in model.path.iterdir() if file.is_file()),
    }
    click.echo(json.dumps(facts) if as_json else columns([[key, str(value)] for key, value in facts.items()]))
