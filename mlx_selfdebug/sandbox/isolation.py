"""Measure how well programs are isolated on this machine, and refuse to run them if that is not enough.

The level does not follow from what the system claims to support. Probes try to escape from a real run (see ``probes.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from mlx_selfdebug.errors import SandboxError
from mlx_selfdebug.sandbox.confinement.layout import this_interpreter
from mlx_selfdebug.sandbox.findings_cache import cached_findings
from mlx_selfdebug.sandbox.probes import Findings, Probe, probe

Level = Literal["full", "weaker", "none"]
"""How well a program is isolated.

- ``full``: every probe was stopped.
- ``weaker``: some attempts to escape were stopped.
- ``none``: no attempt to escape was stopped, so a program has a process of its own with limits and nothing more.
"""

_STRENGTH: dict[Level, int] = {"none": 0, "weaker": 1, "full": 2}
_HINT = "use a machine or container where such a program can do no harm, and pass --allow-weak-sandbox"


@dataclass(frozen=True)
class Isolation:
    """The isolation that this machine gives to sandboxed programs."""

    level: Level
    layers: dict[str, str]
    """A few words on each confinement layer, keyed by the layer's name. For an absent layer they say why it is absent."""
    in_force: frozenset[str]
    """The names of the layers that are in force."""
    probes: tuple[Probe, ...]
    """The result of every probe."""

    @property
    def open_ways(self) -> tuple[str, ...]:
        """The names of the probes that were not stopped, which say what a program can do here and should not."""
        return tuple(item.name for item in self.probes if item.held is False)


@cache
def describe_isolation(
    *, packages: tuple[str, ...] = (), without: frozenset[str] = frozenset(), afresh: bool = False
) -> Isolation:
    """Probe how well this machine isolates programs, and return what was found.

    Probing takes one or two seconds. The result is kept until this process ends and, if every probe was stopped, for a day
    (``findings_cache.py``); with ``afresh`` the probes are made again. ``packages`` names the installed packages that programs
    may import, and ``without`` names layers to leave out. Raises SandboxError if no sandboxed process can be started at all.
    """
    probed = ("programs", this_interpreter(packages), packages, sorted(without))
    findings = cached_findings(probed, lambda: probe(packages=packages, without=without), afresh=afresh)
    return Isolation(level_of(findings), dict(findings.layers), findings.in_force, findings.probes)


def require_level(isolation: Isolation, level: Level) -> None:
    """Raise SandboxError if the isolation is weaker than ``level``, and ValueError if there is no such level."""
    if level not in _STRENGTH:
        raise ValueError(f"level is {level!r}; it must be one of {', '.join(_STRENGTH)}")
    if _STRENGTH[isolation.level] < _STRENGTH[level]:
        ways = "; ".join(isolation.open_ways)
        raise SandboxError(
            f"this machine confines model-written code only to level {isolation.level!r}, but level {level!r} is required: "
            f"a program could {ways}",
            hint=_HINT,
        )


def isolation_notice(isolation: Isolation) -> str:
    """Return the warning that a user must see before model-written code is run, or an empty text at level ``full``."""
    if isolation.level == "full":
        return ""
    ways = "; ".join(isolation.open_ways)
    return f"isolation: {isolation.level}. Code that the model writes runs on this machine, and here it could {ways}."


def level_of(findings: Findings) -> Level:
    """Return the level that follows from the results of the probes.

    A probe with an unknown result does not count. Limits alone do not make a level ``weaker``: they stop no attempt to escape.
    """
    held = [item.held for item in findings.probes if item.held is not None]
    if all(held):
        return "full"
    escapes = [item.held for item in findings.probes if item.held is not None and item.group != "limits"]
    return "weaker" if any(escapes) else "none"
