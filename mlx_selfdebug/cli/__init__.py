"""Provide the command line. mlx and the stages are imported only when a command needs them, so that ``--help`` is quick."""

from mlx_selfdebug.cli.main import main

__all__ = ["main"]
