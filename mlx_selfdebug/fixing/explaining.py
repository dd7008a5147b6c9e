"""Show a suspicious function as the model read it.

The picture shows what surprised the model, what it would rather have written, and which lines the failing tests run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest

from mlx_selfdebug.repair.picture import as_html
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
        marked = [mark + line for mark, line in zip_longest(self._margin(), lines, fillvalue="")]
        return "\n".join([f"{self.function}, suspicion {self.suspicion:.2f}", *marked])

    def _repr_html_(self) -> str:
        from html import escape

        return (
            f"<h4>{escape(self.function)}, suspicion {self.suspicion:.2f}</h4>"
            f"{as_html(self.reading.shades(), self._margin())}"
            f"<p>{EXECUTED_MARK}stands before a line that failing tests run.</p>"
        )

    def _margin(self) -> list[str]:
        """Return what stands before each line of the body: a mark if failing tests run it, and as much space if not."""
        first, n_lines = self.reading.first_line, self.reading.body.count("\n") + 1
        return [
            EXECUTED_MARK if self.shares.get(n) else " " * len(EXECUTED_MARK) for n in range(first, first + n_lines)
        ]
