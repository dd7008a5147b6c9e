"""Provide the command line. It imports neither mlx nor the stages until a command needs them, so that ``--help`` is quick."""

from mlx_selfdebug.cli.main import main

__all__ = ["main"]
