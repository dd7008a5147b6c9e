"""Say what a confined command is, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mlx_selfdebug.sandbox.confinement.reach import Reach
from mlx_selfdebug.sandbox.limits import CommandLimits

Ending = Literal["exited", "killed", "timed_out", "output", "memory", "processes", "disk", "policy"]
"""How a command ended.

``exited``: by itself. ``killed``: by a signal. ``policy``: by a system call that only an attack makes. Otherwise by a limit: on its
time, on its output, on its memory, on the number of its processes, or on the space that its files take.
"""


@dataclass(frozen=True)
class Command:
    """A command and what it is confined to."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    folder: str
    """The working folder, as the command sees it."""
    reach: Reach
    limits: CommandLimits
    without: frozenset[str] = frozenset()
    """Names of layers to leave out, for tests."""
    required: frozenset[str] = frozenset()
    """Names of layers that must be in force, since the probes found them in force."""
    bubblewrap: bool = False
    """Whether bubblewrap makes the namespaces instead of the keeper."""
    channel: int | None = None
    """The descriptor that becomes the command's standard input; the null device if there is none."""


@dataclass
class Tail:
    """The end of what a command has written to one of its outputs."""

    max_bytes: int
    n_bytes: int = 0
    """The number of all bytes that were written."""
    _data: bytearray = field(default_factory=bytearray)

    def add(self, data: bytes) -> None:
        self.n_bytes += len(data)
        self._data += data
        if len(self._data) > 2 * self.max_bytes:
            del self._data[: -self.max_bytes]

    def text(self) -> str:
        return bytes(self._data[-self.max_bytes :]).decode("utf-8", "replace")


@dataclass(frozen=True)
class Outcome:
    """What became of a command."""

    ending: Ending
    status: int
    """The exit code, or the negative number of the signal that ended the command."""
    reason: str
    """The limit that was exceeded, in a few words, if there was one."""
    stdout: Tail
    stderr: Tail
    wall_s: float
    cpu_s: float
    peak_bytes: int
    layers: Mapping[str, str]
    """A detail of each confinement layer."""
    in_force: frozenset[str]
