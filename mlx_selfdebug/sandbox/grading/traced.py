"""Record which lines of the source each call runs, in addition to what is recorded in any other run.

The candidate itself reports the lines (see processes/tracing.py), so the reports may be false. The line numbers and the counts in
them are bounded here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mlx_selfdebug.sandbox.executed import MAX_CALLS, MAX_COUNT, MAX_LINES, Executed, ExecutedCall
from mlx_selfdebug.sandbox.grading.asserts import Compiled
from mlx_selfdebug.sandbox.grading.recorder import OpenAssert, Recorder
from mlx_selfdebug.sandbox.grading.remote import RemoteCandidate
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.wire import codec
from mlx_selfdebug.sandbox.wire.channel import Channel, ChannelTimeoutError, Frame

MAX_COUNTS_BYTES = 1 << 18
"""The maximum length of one report of lines, in its encoded form."""


@dataclass(eq=False)
class _Call:
    """A request of the checks that ran lines of the source."""

    lines: dict[int, int] = field(default_factory=dict)
    """How often the call ran each line, by line number."""
    passed: bool | None = None
    """Whether every check about this call passed, or None as long as there was no such check."""
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
        self._open: list[_Call | None] = []  # unanswered requests, outermost first; None until a line is reported
        self._latest: list[_Call] = []  # the calls that the next check is about
        self._latest_checked = False  # whether a check has already been about these

    def begin_request(self) -> None:
        """Note that a request goes out to the candidate."""
        self._open.append(None)

    def end_request(self, *, alive: bool) -> None:
        """Note that the innermost request has ended, and whether the candidate is still alive."""
        call = self._open.pop()
        if call:
            call.answered = alive

    def add_report(self, body: bytes) -> None:
        """Add the counts that the candidate reports for the innermost request. Whatever no honest candidate reports is ignored."""
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

    def add_check(self, *, passed: bool) -> None:
        """Note whether a check passed."""
        for call in self._latest:
            call.passed = passed and call.passed is not False
        self._latest_checked = True

    def finish(self) -> None:
        """Note that the checks came to their end. Calls after the last check count as passed."""
        if not self._latest_checked:
            self.add_check(passed=True)

    def executed(self) -> Executed:
        """Return the lines that each call ran."""
        calls = (
            ExecutedCall(call.lines, call.passed is True, _was_stopped(call)) for call in self._calls if call.lines
        )
        return Executed(tuple(calls), self._loading)

    def _lines(self) -> dict[int, int] | None:
        """Return the counts of the innermost request, or of loading if there is no request, or None if there are too many calls."""
        if not self._open:
            return self._loading
        call = self._open[-1]
        if call is None:
            if len(self._calls) >= MAX_CALLS:
                return None
            call = self._open[-1] = self._add_call()
        return call.lines

    def _add_call(self) -> _Call:
        call = _Call()
        if self._latest_checked:
            self._latest, self._latest_checked = [], False
        self._latest.append(call)
        self._calls.append(call)
        return call


def _was_stopped(call: _Call) -> bool:
    return not call.answered or sum(call.lines.values()) >= MAX_COUNT


class TracedCandidate(RemoteCandidate):
    """A candidate that reports which lines it runs, before it answers."""

    load_kind = codec.LOAD_TRACED

    def __init__(self, channel: Channel, limits: Limits, source: str) -> None:
        super().__init__(channel, limits, source)
        self.log = CallLog(len(self._lines))

    def _request(self, kind: int, body: bytes, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.log.begin_request()
        try:
            return super()._request(kind, body, args, kwargs)
        finally:
            self.log.end_request(alive=not self.death)

    def _receive(self, timeout_s: float) -> Frame:
        """Return the next frame that is not a report of lines. Reports that come before it are added to the log."""
        deadline = time.monotonic() + timeout_s
        while True:
            frame = super()._receive(deadline - time.monotonic())
            if frame.kind != codec.TRACED:
                return frame
            # The channel looks at the time only where it has to wait. In a flood of reports, it never has to.
            if time.monotonic() > deadline:
                raise ChannelTimeoutError("the other side did not answer in time")
            self.log.add_report(frame.body)


class TracedRecorder(Recorder):
    """A recorder that also tells the candidate's log how each check ended."""

    def __init__(self, compiled: Compiled, candidate: TracedCandidate) -> None:
        super().__init__(compiled, candidate)
        self._log = candidate.log

    def finish(self) -> None:
        super().finish()
        self._log.finish()

    def _pass(self) -> None:
        super()._pass()
        self._log.add_check(passed=True)

    def _record(
        self, opened: OpenAssert, error: BaseException | None, evaluate_right: Callable[[], Any] | None
    ) -> None:
        self._log.add_check(passed=False)
        super()._record(opened, error, evaluate_right)
