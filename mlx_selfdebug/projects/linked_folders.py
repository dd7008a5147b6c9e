"""Find the folders outside of a project that its tests import from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mlx_selfdebug.sandbox.confinement.reach import virtual_environment


def linked_folders(python: str, root: Path) -> list[str]:
    """Return the folders that a project's virtual environment adds to the import path, such as those of editable installs.

    They are the folders that the ``.pth`` files of the environment name. Folders that lie within the project at ``root`` or contain
    it are left out, since the tests see a copy of the project. The home folder and the folders above it are left out too, so that
    the tests cannot read them.
    """
    environment = virtual_environment(python)
    files = sorted(Path(environment).glob("lib/python*/site-packages/*.pth")) if environment else []
    folders = {os.path.realpath(path) for file in files for path in _named_paths(file) if os.path.isdir(path)}
    home = os.path.realpath(os.path.expanduser("~"))
    of_project = {folder for folder in folders if os.path.commonpath([folder, root]) in (folder, str(root))}
    return sorted(folder for folder in folders - of_project if os.path.commonpath([folder, home]) != folder)


def _named_paths(file: Path) -> Iterator[str]:
    """Yield the paths that a ``.pth`` file names, as Python's module ``site`` reads it. A file that cannot be read names none."""
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in map(str.strip, lines):
        # Python runs the lines that begin with "import".
        if line and not line.startswith(("#", "import ", "import\t")):
            yield os.path.join(file.parent, line)
