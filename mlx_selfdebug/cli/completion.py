"""``completion``: the shell completes commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from mlx_selfdebug.cli import options
from mlx_selfdebug.errors import UsageError

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_MLX_SELFDEBUG_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@options.debug_option
def completion_command(shell: str) -> None:
    """Print what makes a shell complete this command.

    \b
    Examples:
      eval "$(mlx-selfdebug completion bash)"             for this session
      mlx-selfdebug completion bash >> ~/.bashrc
      mlx-selfdebug completion zsh >> ~/.zshrc
      mlx-selfdebug completion fish | source
    """
    from mlx_selfdebug.cli.main import cli

    found = get_completion_class(shell)
    if found is None:
        raise UsageError(f"no completion for {shell}")
    # The script alone: its class would start bash to look at its version.
    script = found(cli, {}, "mlx-selfdebug", VARIABLE)
    click.echo(script.source_template % script.source_vars())
