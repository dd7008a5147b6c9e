"""Define the command ``completion``, which lets a shell complete commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from mlx_selfdebug.cli import options
from mlx_selfdebug.errors import UsageError

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_MLX_SELFDEBUG_COMPLETE"
"""The environment variable by which a shell asks click for completions. click derives this name from that of the program."""


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@options.debug_option
def completion_command(shell: str) -> None:
    """Print the script that lets a shell complete this command.

    \b
    Examples:
      eval "$(mlx-selfdebug completion bash)"             for this session only
      mlx-selfdebug completion bash >> ~/.bashrc
      mlx-selfdebug completion zsh >> ~/.zshrc
      mlx-selfdebug completion fish | source
    """
    from mlx_selfdebug.cli.main import cli

    completion_class = get_completion_class(shell)
    if completion_class is None:
        raise UsageError(f"there is no completion for {shell}")
    # The template is filled in here, because the method of its class would start bash to check its version.
    script = completion_class(cli, {}, "mlx-selfdebug", VARIABLE)
    click.echo(script.source_template % script.source_vars())
