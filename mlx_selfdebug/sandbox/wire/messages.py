"""What the runner, the zygote and the grader tell each other, as frames.

    runner  -> zygote   SETTINGS once; then orders of a fixed size: GRADER (with a link's descriptor), RUN, END
    zygote  -> runner   STARTED or START_FAILED once; DONE after each END
    runner  -> grader   REQUEST
    grader  -> runner   PREPARED (id 1: the checks may share a grader) if the request brought no prepared checks;
                        EXECUTED if the run is traced; REPORT

A grader runs the checks' code, so its messages are read as untrusted data: they decide its own runs and nothing else.
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
    """``grace``: the candidate closed its channel, so it may be about to end by itself."""

    kind: int
    run: int = 0
    grace: bool = False

    def pack(self) -> bytes:
        return _ORDER.pack(self.kind, self.grace, self.run)

    @classmethod
    def unpack(cls, data: bytes) -> Order:
        kind, grace, run = _ORDER.unpack(data)
        return cls(kind, run, bool(grace))


@dataclass(frozen=True)
class ChildLimits:
    """What each child may use: whole CPU seconds, and bytes on top of what the zygote maps."""

    cpu_s: int
    memory_bytes: int
    output_bytes: int
    grader_memory_bytes: int


@dataclass(frozen=True)
class Done:
    """How a candidate ended; status as of ``os.wait4``. ``killed``: it was still alive. ``grader``: its status if it ended too."""

    run: int
    status: int
    cpu_s: float
    peak_bytes: int
    killed: bool
    grader: int | None = None


@dataclass(frozen=True)
class Request:
    """One program and its checks: their source and setup, or ``prepared``, what an earlier grader made of them.

    ``traced``: which lines of the source each call runs is wanted too.
    """

    source: str
    prelude: str
    entry_point: str
    checks: str
    setup: str
    prepared: bytes
    wall_s: float
    output_bytes: int
    stop_at_first_failure: bool = False
    traced: bool = False


def frame(kind: int, run: int, content: Any) -> bytes:
    body = codec.encode(content)
    return codec.pack_header(kind, run, len(body)) + body


def read_report(body: bytes) -> Report:
    """Raises CodecError on anything but a report."""
    content = codec.decode(body, MAX_REPORT_BYTES)
    try:
        return Report.from_tuple(content)
    except (TypeError, ValueError, KeyError) as error:
        raise codec.CodecError(f"no report: {error}") from None


def read_executed(body: bytes) -> Executed:
    """Raises CodecError on anything but executed lines within their bounds."""
    content = codec.decode(body, MAX_EXECUTED_BYTES)
    try:
        return Executed.from_tuple(content)
    except (TypeError, ValueError) as error:
        raise codec.CodecError(f"no executed lines: {error}") from None
