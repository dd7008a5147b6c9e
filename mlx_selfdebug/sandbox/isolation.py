"""What keeps a candidate apart, said as it is. This first form has no confinement of files or network: level "none"."""

from __future__ import annotations

import sys
from dataclasses import dataclass

LEVEL = "none"
"""``none``: a process of its own with limits. The candidate can read what the user can read, use the network, start processes."""

_NOTICE = (
    "isolation: none. Code the model writes is run on this machine in a process of its own, with limits on time and size, "
    "but it can read your files and use the network. Use a machine or container where that does no harm."
)


@dataclass(frozen=True)
class Isolation:
    """``mechanisms`` in force on this machine, ``missing`` ones that a level above "none" would need."""

    level: str
    mechanisms: tuple[str, ...]
    missing: tuple[str, ...]


def describe_isolation() -> Isolation:
    """The mechanisms in force for every run here."""
    mechanisms = [
        "separate process, one a run",
        "session of its own, killed as a group",
        "expected values and comparison outside the process",
        "resource limits: CPU time, file size 0, open files, no core dumps",
        "descriptors closed but the channel",
        "empty environment and working folder",
    ]
    missing = ["confinement of files", "confinement of the network", "no new processes"]
    memory = "resource limit: memory"
    (mechanisms if sys.platform == "linux" else missing).append(memory)
    return Isolation(LEVEL, tuple(mechanisms), tuple(missing))


def isolation_notice() -> str:
    """What a user must be told before model-written code is run; empty if there is nothing to warn of."""
    return _NOTICE
