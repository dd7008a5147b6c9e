"""Define the messages between the runner, the zygote and the grader, which travel as frames.

    runner  -> zygote   SETTINGS once; then orders of a fixed size: GRADER (with a link's descriptor), RUN, END
    zygote  -> runner   STARTED or START_FAILED once; DONE after each END
    runner  -> grader   REQUEST
    grader  -> runner   PREPARED (id 1: the checks may share a grader) if the request brought no prepared checks;
                        EXECUTED if the run is traced; REPORT

A grader runs the code of the checks, so its messages are read as untrusted data. They decide the outcome of its own runs and
nothing else.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from mlx_selfdebug.sandbox.executed import Executed
from mlx_selfdebug.sandbox.grading.report import Report
from mlx_selfdebug.sandbox.wire import codec

# The kinds of frames. Those between a grader and its candidate are in codec.py and have lower numbers.
SETTINGS, STARTED, START_FAILED, DONE, REQUEST, PREPARED, REPORT, EXECUTED = range(32, 40)
# The kinds of orders: start a grader, begin a run with a new candidate, end the candidate of a run, and end its grader as well.
GRADER, RUN, END, END_GRADER = range(1, 5)
# The maximum lengths of the bodies of frames.
MAX_REPORT_BYTES = 1 << 20
MAX_EXECUTED_BYTES = 4 << 20
MAX_REQUEST_BYTES = 1 << 30
MAX_PREPARED_BYTES = 64 << 20
_ORDER = struct.Struct("<BBQ")  # the kind, the grace and the number of the run
ORDER_BYTES = _ORDER.size


@dataclass(frozen=True)
class Order:
    """An order of the runner to the zygote."""

    kind: int
    """What to do: ``GRADER``, ``RUN``, ``END`` or ``END_GRADER``."""
    run: int = 0
    """The number of the run."""
    grace: bool = False
    """Whether to wait a moment before ending a candidate that closed its channel, since it may be about to end by itself."""

    def pack(self) -> bytes:
        """Return the order as ``ORDER_BYTES`` bytes."""
        return _ORDER.pack(self.kind, self.grace, self.run)

    @classmethod
    def unpack(cls, data: bytes) -> Order:
        """Return the order that ``pack`` turned into bytes."""
        kind, grace, run = _ORDER.unpack(data)
        return cls(kind, run, bool(grace))


@dataclass(frozen=True)
class ChildLimits:
    """The resources that each child of the zygote may use."""

    cpu_s: int
    """Processor seconds of a candidate."""
    memory_bytes: int
    """Bytes of memory of a candidate, on top of what the zygote maps."""
    output_bytes: int
    """The maximum length in bytes of an encoded value that a candidate returns."""
    grader_memory_bytes: int
    """Bytes of memory of a grader, on top of what the zygote maps."""


@dataclass(frozen=True)
class Done:
    """The zygote's message about how the candidate of one run ended."""

    run: int
    """The number of the run."""
    status: int
    """The exit status of the candidate, as ``os.wait4`` returns it."""
    cpu_s: float
    """The processor seconds that the candidate used."""
    peak_bytes: int
    """The candidate's peak memory in bytes, or 0 if it was not measured."""
    killed: bool
    """Whether the candidate was still alive and the zygote killed it."""
    grader: int | None = None
    """The exit status of the grader if it has ended as well, or None."""


@dataclass(frozen=True)
class Request:
    """A program and its checks, which a grader is to test."""

    source: str
    """The code of the program."""
    prelude: str
    """Code that runs before the source, in the same module."""
    entry_point: str
    """The name of the function or class that the checks call, or ``PROGRAM`` for a whole program."""
    checks: str
    """The source of the checks. It is empty if ``prepared`` is given."""
    setup: str
    """Code that runs before the checks. It is empty if ``prepared`` is given."""
    prepared: bytes
    """The checks and their setup in the form into which an earlier grader brought them. It is empty if there was no such grader."""
    wall_s: float
    """Seconds that the grader waits for the candidate in all."""
    output_bytes: int
    """The maximum length in bytes of an encoded value that the candidate returns."""
    stop_at_first_failure: bool = False
    """Whether the run ends at its first failed check."""
    traced: bool = False
    """Whether to report in addition which lines of the source each call runs."""


def frame(kind: int, run: int, content: Any) -> bytes:
    """Return a whole frame as bytes, whose id is ``run`` and whose body is the encoded ``content``."""
    body = codec.encode(content)
    return codec.pack_header(kind, run, len(body)) + body


def read_report(body: bytes) -> Report:
    """Return the report in the body of a frame from a grader. Raises CodecError on anything but a report."""
    content = codec.decode(body, MAX_REPORT_BYTES)
    try:
        return Report.from_tuple(content)
    except (TypeError, ValueError, KeyError) as error:
        raise codec.CodecError(f"the message is not a valid report: {error}") from None


def read_executed(body: bytes) -> Executed:
    """Return the executed lines in the body of a frame from a grader.

    Raises CodecError on anything but executed lines within their bounds.
    """
    content = codec.decode(body, MAX_EXECUTED_BYTES)
    try:
        return Executed.from_tuple(content)
    except (TypeError, ValueError) as error:
        raise codec.CodecError(f"the message does not hold valid executed lines: {error}") from None
