"""Counts the lines of the candidate's source that each request runs, in a traced run. Loaded as a bare module beside answers.

Untrusted like all that runs in the candidate's process: it may say anything, and what it says decides nothing. Only the thread
that answers is traced.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from mlx_selfdebug.sandbox.wire import codec
else:
    import _selfdebug_codec as codec


class TooManyLinesError(BaseException):
    """End a call that runs more lines than are counted: most likely it would never end."""


class Tracer:
    """Trace what is called through ``around``. ``say`` sends counts, which stand in for those sent before of the same lines."""

    def __init__(self, file: str, say: Callable[[dict[int, int]], None]) -> None:
        self._file = file
        self._say = say
        self._n_calls = 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Do the same as ``function``, with its lines counted; calls after the first ``MAX_TRACED_CALLS`` run uncounted."""

        def traced(*args: Any, **kwargs: Any) -> Any:
            if self._n_calls > codec.MAX_TRACED_CALLS:  # one more, for the loading
                return function(*args, **kwargs)
            counts: dict[int, int] = {}
            outer = sys.gettrace()
            sys.settrace(self._trace(counts))
            try:
                return function(*args, **kwargs)
            finally:
                sys.settrace(outer)
                if counts:
                    self._n_calls += 1
                    self._say(counts)

        return traced

    def _trace(self, counts: dict[int, int]) -> Callable[[FrameType, str, Any], Any]:
        """Make a trace function. Each new line is said at once: who hangs in one without an event never comes to say it."""
        file, say, left = self._file, self._say, codec.MAX_TRACED_LINES

        def count(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal left
            if event != "line":
                return count
            line = frame.f_lineno
            if line in counts:
                counts[line] += 1
            else:
                counts[line] = 1
                say({line: 1})
            left -= 1
            if left <= 0:
                say(counts)  # the program may catch what is raised here, and is not traced any more
                raise TooManyLinesError
            return count

        def enter(frame: FrameType, _event: str, _: Any) -> Any:
            return count if frame.f_code.co_filename == file else None

        return enter
