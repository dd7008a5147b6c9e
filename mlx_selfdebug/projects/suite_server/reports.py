"""Report what tests have shown. Each test is reported at once, so that a test which ends the process loses no other."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import IO, Any

from .tracer import Tracer

MAX_TEXT = 400
"""The largest number of characters of a value or a message."""
MAX_FRAMES = 40
MAX_OUTPUT_BYTES = 8 << 10
"""The number of bytes that are kept of the end of a run's output."""
MAX_LONG_TEXT = 4000
LONG_S = 1.0
"""Seconds after which the lines that a test has run so far are reported."""
_STARTS_PROGRAMS = frozenset({"subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system"})

Compared = tuple[str, str, str]
"""An operator, and the values on its left and its right."""


def say(fd: int, message: Mapping[str, Any]) -> None:
    """Write a message as one line of JSON."""
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(fd, data) :]


class Reports:
    """What is reported of a run."""

    def __init__(self, fd: int, request: Mapping[str, Any]) -> None:
        self._fd = fd
        self._tracer = Tracer(request["trace"]) if request["trace"] else None
        self.with_facts: bool = request["facts"]
        """Whether to report why tests failed and what they load."""
        self.first_failure: bool = request["first_failure"]
        """Whether the run ends with the first test that fails."""
        self._spawns = False
        self._timer: threading.Timer | None = None
        if self.with_facts:
            sys.addaudithook(self._audit)

    def collected(self, ids: Collection[str]) -> Collection[str]:
        """Take note that the tests are collected and that the first of them is about to run. Returns the tests to run."""
        return ids

    def all_ran(self, status: int) -> None:
        """Take note that the last test has run, and of the exit code that follows from the tests."""

    def begin(self, id_: str) -> None:
        """Report that a test begins. If it takes long, the lines that it has run by then are reported: it may never end."""
        self._spawns = False
        self._tell({"started": id_})
        if self._tracer:
            self._timer = threading.Timer(LONG_S, self._tell_lines, (id_, self._tracer))
            self._timer.daemon = True
            self._timer.start()

    def _tell_lines(self, id_: str, tracer: Tracer) -> None:
        self._tell({"lines": {id_: tracer.so_far()}})

    def tracing(self) -> AbstractContextManager[Any]:
        """Return a block in which the lines that run are recorded, if that is wanted."""
        return self._tracer or nullcontext()

    def pause(self) -> None:
        """Stop recording lines until the next test: what follows only says why this one failed."""
        if self._tracer:
            self._tracer.__exit__()

    def end(self, id_: str, outcome: str, facts: Mapping[str, Any]) -> None:
        """Report how a test ended, and which lines it ran."""
        if self._tracer:
            if self._timer:
                self._timer.cancel()
                self._timer.join()
            self._tell({"lines": {id_: self._tracer.taken()}})
        spawns = {"spawns": True} if self._spawns else {}
        self._tell({"tests": {id_: {**facts, **spawns, "outcome": outcome}}})

    def broken(self, error: BaseException) -> None:
        """Report that the framework itself has failed."""
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        self._tell({"broken": "".join(lines)[-MAX_LONG_TEXT:]})

    def finish(self, status: int, output: IO[bytes] | None) -> None:
        """Report the end of the run."""
        message: dict[str, Any] = {"exit": status}
        if output is not None:
            output.seek(max(0, output.seek(0, os.SEEK_END) - MAX_OUTPUT_BYTES))
            message["output"] = output.read().decode("utf-8", "replace")
        if self.with_facts:
            message["modules"] = _loaded_modules()
        self._tell(message)

    def _tell(self, message: Mapping[str, Any]) -> None:
        say(self._fd, message)

    def _audit(self, event: str, _: object) -> None:
        if event in _STARTS_PROGRAMS:
            self._spawns = True


def _loaded_modules() -> dict[str, str]:
    """Return the names and files of the modules that are loaded, but those of this package."""
    own = __name__.partition(".")[0]
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    return {
        name: path
        for name, path in files.items()
        if isinstance(path, str) and name != "__main__" and name.partition(".")[0] != own
    }


def text_of(value: object) -> str:
    """Return how a value is written, cut in the middle if it is long. Never raises."""
    try:
        text = repr(value)
    except BaseException as error:
        text = f"<{type(value).__name__} without a repr: {type(error).__name__}>"
    return cut(text)


def cut(text: str) -> str:
    """Return ``text``, cut in the middle if it is long."""
    half = MAX_TEXT // 2
    return text if len(text) <= MAX_TEXT else f"{text[:half]} ... {text[-half:]}"


def facts_of(error: BaseException, compared: Compared | None) -> dict[str, Any]:
    """Return what is known of an exception: its type and message, the values that were compared, and where it was raised."""
    try:
        message = str(error)
    except BaseException:
        message = ""
    facts: dict[str, Any] = {"type": type(error).__name__, "message": cut(message), "frames": frames_of(error)}
    if compared and isinstance(error, AssertionError):
        facts["op"], facts["left"], facts["right"] = compared
    return facts


def compared_in(trace: TracebackType | None) -> Compared | None:
    """Return what an ``assertEqual`` in the traceback has compared, or None."""
    while trace is not None:
        values = trace.tb_frame.f_locals
        if trace.tb_frame.f_code.co_name == "assertEqual" and {"first", "second"} <= values.keys():
            return "==", text_of(values["first"]), text_of(values["second"])
        trace = trace.tb_next
    return None


def frames_of(error: BaseException) -> list[tuple[str, int, str]]:
    """Return the traceback, outermost first, as files, lines and functions."""
    frames: list[tuple[str, int, str]] = []
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append((code.co_filename, trace.tb_lineno, code.co_name))
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        frames.append((error.filename, error.lineno, "<module>"))
    return frames if len(frames) <= MAX_FRAMES else [*frames[:4], *frames[-MAX_FRAMES + 4 :]]
