"""Record which lines of some files run, with ``sys.settrace``."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any


class Tracer:
    """Records the lines of files that run inside its ``with`` block, in this thread and in all threads that begin there.

    Args:
        files: The real paths of the files.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._files = set(files)
        self._lines_by_name: dict[str, set[int] | None] = {}
        """The recorded lines by ``co_filename``, or None for a file that is not recorded.

        One file may have several such names, for example through links. This saves resolving the real path at every call.
        """
        self._lines: dict[str, set[int]] = {}
        """The same sets of lines by the real path of the file."""

    def __enter__(self) -> None:
        threading.settrace(self._call)
        sys.settrace(self._call)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        threading.settrace(None)

    def take_lines(self) -> dict[str, list[int]]:
        """Return the lines that ran since the last call, by the real path of the file, and forget them."""
        taken = {path: sorted(lines) for path, lines in self._lines.items() if lines}
        for lines in self._lines.values():
            lines.clear()
        return taken

    def lines_so_far(self) -> dict[str, list[int]]:
        """Return the same as ``take_lines``, but forget nothing. May be called from another thread."""
        return {path: sorted(lines.copy()) for path, lines in list(self._lines.items()) if lines}

    def _call(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        """Return the function that Python calls for each line of a new frame, or None if the frame is not to be traced."""
        name = frame.f_code.co_filename
        if name not in self._lines_by_name:
            path = os.path.realpath(name)
            self._lines_by_name[name] = self._lines.setdefault(path, set()) if path in self._files else None
        lines = self._lines_by_name[name]
        if lines is None:
            return None
        add = lines.add

        def record_line(frame: FrameType, _event: str, _argument: Any) -> Any:
            add(frame.f_lineno)
            return record_line

        add(frame.f_lineno)
        return record_line
