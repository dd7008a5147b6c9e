"""Wait until a Python file of a project is saved."""

from __future__ import annotations

import os
from collections.abc import Iterator

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.fixing.applying import BACKUP_SUFFIX
from mlx_selfdebug.projects.project import Project


def saved_files(project: Project) -> Iterator[list[str]]:
    """Yield an empty list at once, then a list of files each time that Python files of the project are saved.

    The files are given as paths within the project, in alphabetical order. The copies that ``apply_change`` keeps do not count.
    Raises UsageError if watchfiles is not installed.
    """
    try:
        from watchfiles import PythonFilter, watch
    except ImportError as error:
        raise UsageError("--watch needs watchfiles", hint="pip install watchfiles") from error
    yield []
    for changes in watch(project.root, watch_filter=PythonFilter(), raise_interrupt=True):
        names = {os.path.relpath(path, project.root) for _, path in changes}
        saved = sorted(name for name in names if BACKUP_SUFFIX not in name)
        if saved:
            yield saved
