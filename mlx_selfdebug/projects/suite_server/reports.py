"""Report the results of tests to the server, as lines of JSON on a pipe.

Each test is reported as soon as it ends, so that its result is not lost if a later test ends the process. A run of one test, with
its lines traced, reports this:

    {"started": "test_shop.py::test_total"}
    {"lines": {"test_shop.py::test_total": {"/project/shop.py": [4, 5]}}}
    {"tests": {"test_shop.py::test_total": {"outcome": "passed"}}}
    {"exit": 0}

The server merges these objects into its answer (``Run.answer`` in ``server.py``).
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import IO, Any, NamedTuple

from .messages import CollectRequest
from .tracer import Tracer

MAX_TEXT = 400
"""The largest number of characters that are kept of a value or a message, from its beginning and its end."""
MAX_FRAMES = 40
"""The largest number of frames that are kept of a traceback."""
N_OUTER_FRAMES = 4
"""How many of the ``MAX_FRAMES`` frames are the outermost ones. The others are the innermost ones."""
MAX_OUTPUT_BYTES = 8 << 10
"""The largest number of bytes that are kept of a run's output, from its end."""
MAX_LONG_TEXT = 4000
"""The largest number of characters that are kept of what the framework prints about an error, from its end."""
LONG_S = 1.0
"""The seconds after which the lines that a test has run so far are reported, because the test may never end."""
_STARTS_PROGRAMS = frozenset({"subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system"})
"""The audit events that Python raises when a program is started."""


class Compared(NamedTuple):
    """A comparison that failed."""

    op: str
    """The operator, such as "=="."""
    left: str
    """The ``repr`` of the value on the left."""
    right: str
    """The ``repr`` of the value on the right."""


def send(fd: int, message: Mapping[str, Any]) -> None:
    """Write a message to the descriptor ``fd`` as one line of JSON."""
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(fd, data) :]


class Reports:
    """Reports a run. The module that runs the tests calls the methods in the order in which they are defined here.

    Args:
        fd: The descriptor to which reports are written.
        request: The request for the run.
    """

    def __init__(self, fd: int, request: CollectRequest) -> None:
        self._fd = fd
        self._tracer = Tracer(request["trace"]) if request["trace"] else None
        self.with_facts: bool = request["facts"]
        """Whether to report why tests failed and what they load."""
        self.stop_at_first_failure: bool = request["stop_at_first_failure"]
        """Whether the run ends with the first test that fails."""
        self._spawns = False
        self._timer: threading.Timer | None = None
        if self.with_facts:
            sys.addaudithook(self._audit)

    def collected(self, ids: Collection[str]) -> Collection[str]:
        """Return the ids of the tests to run. ``ids`` are the ids of all tests that were collected."""
        return ids

    def begin(self, id_: str) -> None:
        """Report that a test begins. After ``LONG_S`` seconds, the lines that it has run so far are reported as well."""
        self._spawns = False
        self._report({"started": id_})
        if self._tracer:
            self._timer = threading.Timer(LONG_S, self._report_lines_so_far, (id_, self._tracer))
            self._timer.daemon = True
            self._timer.start()

    def tracing(self) -> AbstractContextManager[Any]:
        """Return a context manager that records the lines that run inside it, if the request asks for them."""
        return self._tracer or nullcontext()

    def stop_tracing(self) -> None:
        """Stop recording lines before the context ends. What runs afterwards only serves to report a failure."""
        if self._tracer:
            self._tracer.__exit__()

    def end(self, id_: str, outcome: str, facts: Mapping[str, Any]) -> None:
        """Report the outcome of a test ("passed", "failed" or "skipped"), facts about it, and the lines that it ran."""
        if self._tracer:
            if self._timer:
                self._timer.cancel()
                self._timer.join()
            self._report({"lines": {id_: self._tracer.take_lines()}})
        spawns = {"spawns": True} if self._spawns else {}
        self._report({"tests": {id_: {**facts, **spawns, "outcome": outcome}}})

    def all_ran(self, status: int) -> None:
        """Do nothing. Called after the last test with the exit code ``status``; a subclass may end the process here."""

    def broken(self, error: BaseException) -> None:
        """Report an exception that was raised outside of the tests, by the framework or by this package."""
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        self._report({"broken": "".join(lines)[-MAX_LONG_TEXT:]})

    def finish(self, status: int, output: IO[bytes] | None) -> None:
        """Report the exit code of the run, the end of ``output`` if it is given and, with facts, the loaded modules."""
        # The server recognises the last report by its first key (``LAST_REPORT`` in ``server.py``).
        message: dict[str, Any] = {"exit": status}
        if output is not None:
            output.seek(max(0, output.seek(0, os.SEEK_END) - MAX_OUTPUT_BYTES))
            message["output"] = output.read().decode("utf-8", "replace")
        if self.with_facts:
            message["modules"] = _loaded_modules()
        self._report(message)

    def _report(self, message: Mapping[str, Any]) -> None:
        send(self._fd, message)

    def _report_lines_so_far(self, id_: str, tracer: Tracer) -> None:
        self._report({"lines": {id_: tracer.lines_so_far()}})

    def _audit(self, event: str, _: object) -> None:
        if event in _STARTS_PROGRAMS:
            self._spawns = True


def _loaded_modules() -> dict[str, str]:
    """Return the path of each module that was loaded from a file, by the module's name. This package is left out."""
    own = __name__.partition(".")[0]
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    return {
        name: path
        for name, path in files.items()
        if isinstance(path, str) and name != "__main__" and name.partition(".")[0] != own
    }


def text_of(value: object) -> str:
    """Return the ``repr`` of a value, shortened if it is long. Never raises."""
    try:
        text = repr(value)
    except BaseException as error:  # the project's own ``__repr__`` may raise anything
        text = f"<{type(value).__name__} without a repr: {type(error).__name__}>"
    return shortened(text)


def shortened(text: str) -> str:
    """Return ``text`` without its middle if it is longer than ``MAX_TEXT`` characters."""
    half = MAX_TEXT // 2
    return text if len(text) <= MAX_TEXT else f"{text[:half]} ... {text[-half:]}"


def facts_of(error: BaseException, compared: Compared | None) -> dict[str, Any]:
    """Return the facts about an exception, with the keys of ``TestFacts`` in ``projects/suite_run.py``.

    ``compared`` is the comparison that failed, if one was seen. It counts only if the exception is an AssertionError.
    """
    try:
        message = str(error)
    except BaseException:
        message = ""
    facts: dict[str, Any] = {"type": type(error).__name__, "message": shortened(message), "frames": frames_of(error)}
    if compared and isinstance(error, AssertionError):
        facts["op"], facts["left"], facts["right"] = compared
    return facts


def compared_in(trace: TracebackType | None) -> Compared | None:
    """Return what unittest's ``assertEqual`` compared, from its frame in a traceback, or None if there is no such frame."""
    while trace is not None:
        values = trace.tb_frame.f_locals
        if trace.tb_frame.f_code.co_name == "assertEqual" and {"first", "second"} <= values.keys():
            return Compared("==", text_of(values["first"]), text_of(values["second"]))
        trace = trace.tb_next
    return None


def frames_of(error: BaseException) -> list[tuple[str, int, str]]:
    """Return the frames of a traceback, outermost first: the file, the line and the function of each.

    For a SyntaxError, the place in the file that does not parse is added as the innermost frame.
    """
    frames: list[tuple[str, int, str]] = []
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append((code.co_filename, trace.tb_lineno, code.co_name))
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        frames.append((error.filename, error.lineno, "<module>"))
    if len(frames) <= MAX_FRAMES:
        return frames
    return [*frames[:N_OUTER_FRAMES], *frames[N_OUTER_FRAMES - MAX_FRAMES :]]
