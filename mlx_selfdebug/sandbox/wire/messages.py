"""Define the messages between the runner, the zygote and the grader, which travel as frames.

    runner  -> zygote   SETTINGS once; then orders of a fixed size: GRADER (with a link's descriptor), RUN, END
    zygote  -> runner   STARTED or START_FAILED once; DONE after each END
    runner  -> grader   REQUEST
    grader  -> runner   PREPARED (id 1: the checks may share a grader) if the request brought no prepared checks;
                        EXECUTED if the run is traced; REPORT

A grader runs the checks' code, so its messages are read as untrusted data: they decide the outcome of its own runs and nothing
else.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from mlx_selfdebug.sandbox.executed import Executed
from mlx_selfdebug.sandbox.grading.report import Report
from mlx_selfdebug.sandbox.wire import codec

SETTINGS, STARTED, START_FAILED, DONE, REQUEST, PREPARED, REPORT, EXECUTED = range(32, 40)
GRADER, RUN, END, END_GRADER = range(1, 5)
MAX_REPORT_BYTES = 1 << 20
MAX_EXECUTED_BYTES = 4 << 20
MAX_REQUEST_BYTES = 1 << 30
MAX_PREPARED_BYTES = 64 << 20
_ORDER = struct.Struct("<BBQ")
ORDER_BYTES = _ORDER.size


@dataclass(frozen=True)
class Order:
    """An order of the runner to the zygote."""

    kind: int
    run: int = 0
    """The number of the run."""
    grace: bool = False
    """Whether to wait a moment before ending the candidate: it closed its channel, so it may be about to end by itself."""

    def pack(self) -> bytes:
        return _ORDER.pack(self.kind, self.grace, self.run)

    @classmethod
    def unpack(cls, data: bytes) -> Order:
        kind, grace, run = _ORDER.unpack(data)
        return cls(kind, run, bool(grace))


@dataclass(frozen=True)
class ChildLimits:
    """The resources that each child of the zygote may use."""

    cpu_s: int
    """Processor seconds of a candidate."""
    memory_bytes: int
    """Memory of a candidate, on top of what the zygote maps."""
    output_bytes: int
    """Length of an encoded value that a candidate returns."""
    grader_memory_bytes: int
    """Memory of a grader, on top of what the zygote maps."""


@dataclass(frozen=True)
class Done:
    """How the candidate of one run ended."""

    run: int
    """The number of the run."""
    status: int
    """The exit status of the candidate, as ``os.wait4`` returns it."""
    cpu_s: float
    """The processor seconds that the candidate used."""
    peak_bytes: int
    """The candidate's peak memory; 0 if it was not measured."""
    killed: bool
    """Whether the candidate was still alive and the zygote killed it."""
    grader: int | None = None
    """The exit status of the grader, if it ended too."""


@dataclass(frozen=True)
class Request:
    """One program and its checks, as the grader is asked to test them."""

    source: str
    prelude: str
    """Code that runs before the source, in the same module."""
    entry_point: str
    checks: str
    """The source of the checks; empty if ``prepared`` is given."""
    setup: str
    """Code that runs before the checks; empty if ``prepared`` is given."""
    prepared: bytes
    """What an earlier grader made of the checks and their setup; empty if there was none."""
    wall_s: float
    """Seconds that the grader waits for the candidate."""
    output_bytes: int
    """The maximum length of an encoded value that the candidate returns."""
    stop_at_first_failure: bool = False
    traced: bool = False
    """Whether to report which lines of the source each call runs, too."""


def frame(kind: int, run: int, content: Any) -> bytes:
    """Return a packed frame whose body is ``content``, encoded."""
    body = codec.encode(content)
    return codec.pack_header(kind, run, len(body)) + body


def read_report(body: bytes) -> Report:
    """Return the report that a grader sent. Raises CodecError on anything but a report."""
    content = codec.decode(body, MAX_REPORT_BYTES)
    try:
        return Report.from_tuple(content)
    except (TypeError, ValueError, KeyError) as error:
        raise codec.CodecError(f"the message is not a valid report: {error}") from None


def read_executed(body: bytes) -> Executed:
    """Return the executed lines that a grader sent. Raises CodecError on anything but executed lines within their bounds."""
    content = codec.decode(body, MAX_EXECUTED_BYTES)
    try:
        return Executed.from_tuple(content)
    except (TypeError, ValueError) as error:
        raise codec.CodecError(f"the message does not hold valid executed lines: {error}") from None
