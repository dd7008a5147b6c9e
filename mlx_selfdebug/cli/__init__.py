"""The command line. This package imports neither mlx nor the stages until a command needs them."""

from mlx_selfdebug.cli.main import main

__all__ = ["main"]
