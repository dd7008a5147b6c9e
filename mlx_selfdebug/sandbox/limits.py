"""The resources that one test run may use."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """The limits of one test run. Raises ValueError unless all of them are positive."""

    wall_s: float = 5.0
    """Seconds that the runner waits for the candidate. The start of the interpreter does not count."""
    cpu_s: float = 4.0
    """Processor seconds of the candidate, rounded up to whole seconds."""
    memory_bytes: int = 512 << 20
    """Bytes of memory on top of what an empty interpreter holds.

    Linux limits the address space. On macOS the zygote watches the footprint.
    """
    output_bytes: int = 4 << 20
    """Bytes of each value that the candidate returns, in its encoded form."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"Limits.{field.name} is {value!r}; it must be positive")
