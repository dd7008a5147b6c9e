"""Record which lines of the project's files run, with ``sys.settrace``."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any


class Tracer:
    """A record of the lines of ``files`` that run inside its ``with`` block, in all threads that begin there."""

    def __init__(self, files: Sequence[str]) -> None:
        self._files = set(files)
        self._known: dict[str, set[int] | None] = {}
        self._lines: dict[str, set[int]] = {}

    def __enter__(self) -> None:
        threading.settrace(self._call)
        sys.settrace(self._call)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        threading.settrace(None)

    def taken(self) -> dict[str, list[int]]:
        """Return the lines that ran since the last call, by file."""
        taken = {path: sorted(lines) for path, lines in self._lines.items() if lines}
        for lines in self._lines.values():
            lines.clear()
        return taken

    def so_far(self) -> dict[str, list[int]]:
        """Return the lines that ran since the last call of ``taken``, by file. May be called from another thread."""
        return {path: sorted(lines.copy()) for path, lines in list(self._lines.items()) if lines}

    def _call(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        name = frame.f_code.co_filename
        if name not in self._known:
            path = os.path.realpath(name)
            self._known[name] = self._lines.setdefault(path, set()) if path in self._files else None
        lines = self._known[name]
        if lines is None:
            return None
        add = lines.add

        def line(frame: FrameType, _event: str, _argument: Any) -> Any:
            add(frame.f_lineno)
            return line

        add(frame.f_lineno)
        return line
