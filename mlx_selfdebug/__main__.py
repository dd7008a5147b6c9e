"""Run the command line as ``python -m mlx_selfdebug``."""

from mlx_selfdebug.cli.main import main

main()
