"""Show a suspicious function as the model read it: its surprise, what it would rather have written, what failing tests run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlx_selfdebug.repair.reading import ProgramReading

RAN = "▶ "
"""Marks a line that failing tests run."""


@dataclass(frozen=True, eq=False)
class Explained:
    """A suspicious function and the model's reading of it."""

    function: str
    """The file and the qualified name, such as "package/module.py::Window.mean"."""
    suspicion: float
    reading: ProgramReading
    shares: Mapping[int, float]
    """For each line of the program, the share of the failing tests that run it."""

    def __str__(self) -> str:
        """Return the program with the most surprising token of each line marked, and the lines that failing tests run."""
        lines = str(self.reading).rstrip("\n").split("\n")
        marked = [(RAN if self.shares.get(n) else "  ") + line for n, line in enumerate(lines, self.reading.first_line)]
        return "\n".join([f"{self.function}, suspicion {self.suspicion:.2f}", *marked])

    def _repr_html_(self) -> str:
        from html import escape

        ran = ", ".join(map(str, sorted(self.shares))) or "none"
        return (
            f"<h4>{escape(self.function)}, suspicion {self.suspicion:.2f}</h4>{self.reading._repr_html_()}"
            f"<p>Lines that failing tests run: {ran}</p>"
        )
