"""What one test run may use."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """Limits of one run; ValueError unless all are positive.

    ``wall_s`` counts the seconds the candidate is waited for, not the interpreter's start. ``cpu_s`` is rounded up to whole
    seconds. ``memory_bytes`` comes on top of what an empty interpreter maps, and holds on Linux alone. ``output_bytes`` bounds
    each returned value as it travels.
    """

    wall_s: float = 5.0
    cpu_s: float = 4.0
    memory_bytes: int = 512 << 20
    output_bytes: int = 4 << 20

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"Limits.{field.name} is {value!r}; it must be positive")
