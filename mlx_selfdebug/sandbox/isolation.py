"""How well programs are kept apart on this machine: found by trying, said as it is, refused if it is too little."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from mlx_selfdebug.errors import SandboxError
from mlx_selfdebug.sandbox.probes import Findings, Probe, probe

Level = Literal["full", "weaker", "none"]
"""``full``: every probe was stopped. ``weaker``: some were. ``none``: a process of its own with limits, nothing more."""

_STRENGTH: dict[Level, int] = {"none": 0, "weaker": 1, "full": 2}
_HINT = "use a machine or container where that does no harm and pass --allow-weak-sandbox"


@dataclass(frozen=True)
class Isolation:
    """``layers`` in force, each with a detail, and what each probe found."""

    level: Level
    layers: dict[str, str]
    probes: tuple[Probe, ...]

    @property
    def open_ways(self) -> tuple[str, ...]:
        """What a program could do here that it should not."""
        return tuple(item.name for item in self.probes if item.held is False)


@cache
def describe_isolation(*, packages: tuple[str, ...] = (), without: frozenset[str] = frozenset()) -> Isolation:
    """Probed once a process: takes about half a second. Raises SandboxError if no sandboxed process can be started at all."""
    findings = probe(packages=packages, without=without)
    return Isolation(_level(findings), dict(findings.layers), findings.probes)


def require_level(isolation: Isolation, level: Level) -> None:
    """Raises SandboxError if the isolation is weaker than ``level``, ValueError for a level there is not."""
    if level not in _STRENGTH:
        raise ValueError(f"level is {level!r}; it must be one of {', '.join(_STRENGTH)}")
    if _STRENGTH[isolation.level] < _STRENGTH[level]:
        ways = "; ".join(isolation.open_ways)
        raise SandboxError(
            f"this machine confines model-written code only to level {isolation.level!r}, {level!r} is required: "
            f"a program could {ways}",
            hint=_HINT,
        )


def isolation_notice(isolation: Isolation) -> str:
    """What a user must be told before model-written code is run; empty if there is nothing to warn of."""
    if isolation.level == "full":
        return ""
    ways = "; ".join(isolation.open_ways)
    return f"isolation: {isolation.level}. Code the model writes is run on this machine, and here it could {ways}."


def _level(findings: Findings) -> Level:
    held = [item.held for item in findings.probes if item.held is not None]
    if all(held):
        return "full"
    escapes = [item.held for item in findings.probes if item.held is not None and item.group != "limits"]
    return "weaker" if any(escapes) else "none"
