"""Define a confined command, the end of its output that is kept, and its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mlx_selfdebug.sandbox.confinement.reach import Reach
from mlx_selfdebug.sandbox.limits import CommandLimits

Ending = Literal["exited", "killed", "timed_out", "output", "memory", "processes", "disk", "policy"]
"""How a command ended.

``exited``: by itself. ``killed``: by a signal. ``policy``: by a system call that only an attack makes. The others name the limit
that the command exceeded: on its time (``timed_out``), its output, its memory, the number of its processes, or the space of its
files (``disk``).
"""


@dataclass(frozen=True)
class Command:
    """A command line and the confinement that it runs in."""

    argv: tuple[str, ...]
    """The words of the command line. The first one is the path of a Python interpreter."""
    environment: Mapping[str, str]
    """All environment variables of the command."""
    folder: str
    """The working folder, as the command sees it."""
    reach: Reach
    """What the command may read, write and execute, and whether it may use the network."""
    limits: CommandLimits
    without: frozenset[str] = frozenset()
    """Names of confinement layers to leave out, for tests."""
    required: frozenset[str] = frozenset()
    """Names of layers that must be in force, since the probes found them in force."""
    bubblewrap: bool = False
    """Whether bubblewrap makes the namespaces instead of the keeper."""
    channel: int | None = None
    """The descriptor that becomes the command's standard input. Without one, that is the null device."""


@dataclass
class Tail:
    """The last bytes that a command has written to one of its outputs."""

    max_bytes: int
    """The number of bytes that are kept."""
    n_bytes: int = 0
    """The number of all bytes that were written."""
    _data: bytearray = field(default_factory=bytearray)

    def add(self, data: bytes) -> None:
        """Add bytes that the command has written."""
        self.n_bytes += len(data)
        self._data += data
        if len(self._data) > 2 * self.max_bytes:
            del self._data[: -self.max_bytes]

    def text(self) -> str:
        """Return the last bytes as text, at most ``max_bytes`` of them."""
        return bytes(self._data[-self.max_bytes :]).decode("utf-8", "replace")


@dataclass(frozen=True)
class Outcome:
    """How a command ended, what it wrote, and what it used."""

    ending: Ending
    status: int
    """The exit code, or the negative number of the signal that ended the command."""
    reason: str
    """Why the command ended, in a few words, or an empty string if it exited by itself."""
    stdout: Tail
    stderr: Tail
    wall_s: float
    """Seconds from the start of the command to its end."""
    cpu_s: float
    """Processor seconds of the command and everything that it started."""
    peak_bytes: int
    """The highest memory use that was seen."""
    layers: Mapping[str, str]
    """A line of detail on each confinement layer."""
    in_force: frozenset[str]
    """The names of the layers that were in force."""
