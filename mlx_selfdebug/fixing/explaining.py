"""Show a suspicious function as the model read it.

The picture shows what surprised the model, what it would rather have written, and which lines the failing tests run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlx_selfdebug.repair.program_reading import ProgramReading

EXECUTED_MARK = "▶ "
"""Stands before a line that failing tests run."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """A suspicious function and the model's reading of it. Printed it is text with marks, and in a notebook a picture.

    Lines are counted in ``reading.code``, which is the function with what its file has around it, and not in the file.
    """

    function: str
    """The file and the qualified name of the function, such as "package/module.py::Window.mean"."""
    suspicion: float
    """How suspicious the function is, from 0 to 1."""
    reading: ProgramReading
    shares: Mapping[int, float]
    """For each line of ``reading.code``, from 1, the share of the failing tests that run it. Other lines are left out."""

    def __str__(self) -> str:
        """Return the program as text, with marks at the most surprising token of each line and at lines that failing tests run."""
        lines = str(self.reading).rstrip("\n").split("\n")
        marked = [
            (EXECUTED_MARK if self.shares.get(n) else " " * len(EXECUTED_MARK)) + line
            for n, line in enumerate(lines, self.reading.first_line)
        ]
        return "\n".join([f"{self.function}, suspicion {self.suspicion:.2f}", *marked])

    def _repr_html_(self) -> str:
        from html import escape

        executed = ", ".join(map(str, sorted(self.shares))) or "none"
        return (
            f"<h4>{escape(self.function)}, suspicion {self.suspicion:.2f}</h4>{self.reading._repr_html_()}"
            f"<p>Lines that failing tests run: {executed}</p>"
        )
