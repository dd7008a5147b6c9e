"""Record which lines of the source each call runs. What is recorded of the checks is the same as in any other run.

The candidate reports the lines itself (see processes/tracing.py), so the reports may be false. The line numbers and counts are
bounded here.
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

MAX_COUNTS_BYTES = 1 << 18


@dataclass(eq=False)
class _Call:
    """A request of the checks that ran lines of the source. ``passed`` is None until a check has been about it."""

    lines: dict[int, int] = field(default_factory=dict)
    passed: bool | None = None
    answered: bool = False


class CallLog:
    """A log of which lines each call ran and whether the checks about that call passed.

    A check is about the calls that were made in it and since the previous check. If there are none, it is about the calls that the
    previous check was about.
    """

    def __init__(self, n_lines: int) -> None:
        self._n_lines = n_lines
        self._loading: dict[int, int] = {}
        self._calls: list[_Call] = []
        self._asked: list[_Call | None] = []  # unanswered requests, outermost first; None until a line is reported
        self._latest: list[_Call] = []
        self._latest_judged = False

    def asked(self) -> None:
        """Note that a request goes out to the candidate."""
        self._asked.append(None)

    def answered(self, alive: bool) -> None:
        """Note that the innermost request has ended, and whether the candidate is still alive."""
        call = self._asked.pop()
        if call:
            call.answered = alive

    def said(self, body: bytes) -> None:
        """Add the counts that the candidate reports for the innermost request, and ignore what no honest candidate would report."""
        try:
            counts = codec.decode(body, MAX_COUNTS_BYTES)
        except codec.CodecError:
            return
        lines = self._lines()
        if lines is None or type(counts) is not dict:
            return
        for line, count in counts.items():
            is_kept = type(line) is int and 0 < line <= self._n_lines and (line in lines or len(lines) < MAX_LINES)
            if is_kept and type(count) is int and count > 0:
                lines[line] = min(count, MAX_COUNT)

    def judged(self, passed: bool) -> None:
        """Note whether a check passed."""
        for call in self._latest:
            call.passed = passed and call.passed is not False
        self._latest_judged = True

    def finished(self) -> None:
        """Note that the checks came to their end. Calls after the last check count as passed."""
        if not self._latest_judged:
            self.judged(True)

    def executed(self) -> Executed:
        """Return what the log holds."""
        calls = (
            ExecutedCall(call.lines, call.passed is True, _was_stopped(call)) for call in self._calls if call.lines
        )
        return Executed(tuple(calls), self._loading)

    def _lines(self) -> dict[int, int] | None:
        """Return the counts of the innermost request, or of loading if there is none; None once there are too many calls."""
        if not self._asked:
            return self._loading
        call = self._asked[-1]
        if call is None:
            if len(self._calls) >= MAX_CALLS:
                return None
            call = self._asked[-1] = self._add_call()
        return call.lines

    def _add_call(self) -> _Call:
        call = _Call()
        if self._latest_judged:
            self._latest, self._latest_judged = [], False
        self._latest.append(call)
        self._calls.append(call)
        return call


def _was_stopped(call: _Call) -> bool:
    return not call.answered or sum(call.lines.values()) >= MAX_COUNT


class TracedCandidate(RemoteCandidate):
    """A candidate that is asked to report, before each answer, which lines it ran."""

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
            # The channel checks the time only where it has to wait, which it never does in a flood of reports.
            if time.monotonic() > deadline:
                raise ChannelTimeoutError("the other side did not answer in time")
            self.log.said(frame.body)


class TracedRecorder(Recorder):
    """A recorder that also tells the candidate's log how each check ended."""

    def __init__(self, compiled: Any, candidate: TracedCandidate) -> None:
        super().__init__(compiled, candidate)
        self._log = candidate.log

    def finish(self) -> None:
        super().finish()
        self._log.finished()

    def _pass(self) -> None:
        super()._pass()
        self._log.judged(True)

    def _record(self, opened: Any, error: BaseException | None, evaluate_right: Callable[[], Any] | None) -> None:
        self._log.judged(False)
        super()._record(opened, error, evaluate_right)
