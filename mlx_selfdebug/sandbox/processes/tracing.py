"""Count the lines of the candidate's source that each request runs, in a traced run.

The counts are untrusted, like everything that comes from the candidate's process. They may be false, and they decide nothing. Only
the thread that answers requests is traced.

This module is loaded without the package around it (see ``candidate.py``), so it imports nothing of the package.
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
    """The exception that ends a call after ``codec.MAX_TRACED_LINES`` lines. Such a call would most likely never end by itself."""


class Tracer:
    """A counter of the lines of ``file`` that functions run.

    ``send`` is called with counts by line number. They replace the counts that were sent before for the same lines of the same
    call.
    """

    def __init__(self, file: str, send: Callable[[dict[int, int]], None]) -> None:
        self._file = file
        self._send = send
        self._n_calls = 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does what ``function`` does, and sends the counts of the lines that it runs.

        Only the loading of the source and the first ``codec.MAX_TRACED_CALLS`` calls are counted.
        """

        def traced(*args: Any, **kwargs: Any) -> Any:
            if self._n_calls > codec.MAX_TRACED_CALLS:  # greater, since loading the source counts as a call as well
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
                    self._send(counts)

        return traced

    def _trace(self, counts: dict[int, int]) -> Callable[[FrameType, str, Any], Any]:
        """Return a function for ``sys.settrace`` that adds to ``counts``.

        Each new line is sent at once. If the call hangs in it or dies, there is no later event at which it could be sent.
        """
        file, send, lines_left = self._file, self._send, codec.MAX_TRACED_LINES

        def count(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal lines_left
            if event != "line":
                return count
            line = frame.f_lineno
            if line in counts:
                counts[line] += 1
            else:
                counts[line] = 1
                send({line: 1})
            lines_left -= 1
            if lines_left <= 0:
                # The counts are sent now, since the program may catch the exception and is not traced after that.
                send(counts)
                raise TooManyLinesError
            return count

        def enter(frame: FrameType, _event: str, _: Any) -> Any:
            return count if frame.f_code.co_filename == file else None

        return enter
