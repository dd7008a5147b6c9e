"""The resources that one test run, or one confined command, may use."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """The limits of one test run. Raises ValueError if one of them is not positive."""

    wall_s: float = 5.0
    """Seconds that the checks wait in all while the candidate loads and answers calls.

    The start of the interpreter does not count.
    """
    cpu_s: float = 4.0
    """Processor seconds of the candidate, rounded up to whole seconds."""
    memory_bytes: int = 512 << 20
    """Bytes of memory on top of what an empty interpreter holds.

    Linux limits the address space. On macOS the zygote watches the footprint.
    """
    output_bytes: int = 4 << 20
    """The maximum length, in bytes, of a value that the candidate returns, in the form in which it is sent."""

    def __post_init__(self) -> None:
        _require_positive(self)


@dataclass(frozen=True)
class CommandLimits:
    """The limits of one confined command and all that it starts. Raises ValueError if one of them is not positive."""

    wall_s: float = 120.0
    """Seconds from the start of the command."""
    cpu_s: float = 600.0
    """Processor seconds of all processes together. The kernel also holds each process to this limit, in whole seconds."""
    memory_bytes: int = 4 << 30
    """Bytes of memory of all processes together, without the pages of files.

    On Linux the kernel also limits each single process, which may map no more than this for itself.
    """
    processes: int = 256
    """The number of processes and threads at one time."""
    output_bytes: int = 16 << 20
    """Bytes written to standard output and standard error together."""
    tail_bytes: int = 64 << 10
    """Bytes that are kept of each of the two outputs, from its end."""
    disk_bytes: int = 1 << 30
    """Bytes by which all files in the writable folders together may grow. No single file may be larger than that."""
    files: int = 100_000
    """The number of files and folders that may be added to the writable folders."""
    temporary_bytes: int = 256 << 20
    """Bytes of the files in the private temporary folder, which lies in memory where there are namespaces."""

    def __post_init__(self) -> None:
        _require_positive(self)


def _require_positive(limits: Limits | CommandLimits) -> None:
    for field in fields(limits):
        value = getattr(limits, field.name)
        if not value > 0:
            raise ValueError(f"{type(limits).__name__}.{field.name} is {value!r}; it must be positive")
