"""A run that asks which lines of the source each call ran. It only listens: what is recorded of the checks is as in any run.

The candidate says the lines itself (see processes/tracing.py), so they may be lies. Their numbers and counts are bounded here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mlx_selfdebug.sandbox.executed import MAX_CALLS, MAX_COUNT, MAX_LINES, Executed, ExecutedCall
from mlx_selfdebug.sandbox.grading.recorder import Recorder
from mlx_selfdebug.sandbox.grading.remote import RemoteCandidate
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.wire import codec
from mlx_selfdebug.sandbox.wire.channel import Channel, ChannelTimeoutError, Frame

MAX_SAID_BYTES = 1 << 18


@dataclass(eq=False)
class _Call:
    """Hold a request of the checks that ran lines of the source. ``passed`` None: no check was about it yet."""

    lines: dict[int, int] = field(default_factory=dict)
    passed: bool | None = None
    answered: bool = False


class CallLog:
    """Keep which lines each call ran, and how the checks ended that are about it.

    A check is about the calls made in it and since the check before; if there are none, about those of the check before.
    """

    def __init__(self, n_lines: int) -> None:
        self._n_lines = n_lines
        self._loading: dict[int, int] = {}
        self._calls: list[_Call] = []
        self._asked: list[_Call | None] = []  # requests not yet answered, outermost first; None until a line is said
        self._latest: list[_Call] = []
        self._latest_judged = False

    def asked(self) -> None:
        self._asked.append(None)

    def answered(self, alive: bool) -> None:
        call = self._asked.pop()
        if call:
            call.answered = alive

    def said(self, body: bytes) -> None:
        """Take what the candidate says of the innermost request; nothing, if it is not what an honest one would."""
        try:
            counts = codec.decode(body, MAX_SAID_BYTES)
        except codec.CodecError:
            return
        lines = self._lines()
        if lines is None or type(counts) is not dict:
            return
        for line, count in counts.items():
            known = type(line) is int and 0 < line <= self._n_lines and (line in lines or len(lines) < MAX_LINES)
            if known and type(count) is int and count > 0:
                lines[line] = min(count, MAX_COUNT)

    def judged(self, passed: bool) -> None:
        """Take how a check ended."""
        for call in self._latest:
            call.passed = passed and call.passed is not False
        self._latest_judged = True

    def finished(self) -> None:
        """Take that all checks came to their end."""
        if not self._latest_judged:
            self.judged(True)

    def executed(self) -> Executed:
        calls = (
            ExecutedCall(call.lines, call.passed is True, _was_stopped(call)) for call in self._calls if call.lines
        )
        return Executed(tuple(calls), self._loading)

    def _lines(self) -> dict[int, int] | None:
        """Give those of the innermost request, or of the loading before any; None once there are too many calls."""
        if not self._asked:
            return self._loading
        call = self._asked[-1]
        if call is None:
            if len(self._calls) >= MAX_CALLS:
                return None
            call = self._asked[-1] = self._added()
        return call.lines

    def _added(self) -> _Call:
        call = _Call()
        if self._latest_judged:
            self._latest, self._latest_judged = [], False
        self._latest.append(call)
        self._calls.append(call)
        return call


def _was_stopped(call: _Call) -> bool:
    return not call.answered or sum(call.lines.values()) >= MAX_COUNT


class TracedCandidate(RemoteCandidate):
    """Ask the candidate to say, before each answer, which lines it ran."""

    load_kind = codec.LOAD_TRACED

    def __init__(self, channel: Channel, limits: Limits, source: str) -> None:
        super().__init__(channel, limits, source)
        self.log = CallLog(len(self._lines))

    def _request(self, kind: int, body: bytes, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.log.asked()
        try:
            return super()._request(kind, body, args, kwargs)
        finally:
            self.log.answered(alive=not self.death)

    def _receive(self, timeout_s: float) -> Frame:
        deadline = time.monotonic() + timeout_s
        while True:
            frame = super()._receive(deadline - time.monotonic())
            if frame.kind != codec.TRACED:
                return frame
            if time.monotonic() > deadline:  # a flood is read without a wait
                raise ChannelTimeoutError("no answer in time")
            self.log.said(frame.body)


class TracedRecorder(Recorder):
    """Tell the candidate's log how each check ended."""

    def __init__(self, compiled: Any, candidate: TracedCandidate) -> None:
        super().__init__(compiled, candidate)
        self._log = candidate.log

    def finish(self) -> None:
        super().finish()
        self._log.finished()

    def _pass(self) -> None:
        super()._pass()
        self._log.judged(True)

    def _record(self, opened: Any, error: BaseException | None, late: Callable[[], Any] | None) -> None:
        self._log.judged(False)
        super()._record(opened, error, late)
