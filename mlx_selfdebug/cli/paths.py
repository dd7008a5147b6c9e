"""Define the type of every option and argument that is a path, and find the adapter of a path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click


class PathType(click.Path):
    """A path in which ``~`` at the beginning is the home folder. A shell does not expand it in ``--run=~/runs/mine``."""

    def __init__(self, *, file_okay: bool = True, dir_okay: bool = True, allow_dash: bool = False) -> None:
        super().__init__(path_type=Path, file_okay=file_okay, dir_okay=dir_okay, allow_dash=allow_dash)

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(os.path.expanduser(value), param, ctx)


def adapter_folder(path: Path) -> Path:
    """Return the folder of the adapter that ``path`` names: ``path/adapter`` if ``path`` is a run, or else ``path`` itself."""
    return path / "adapter" if (path / "adapter").is_dir() else path
