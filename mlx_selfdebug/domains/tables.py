"""Define the pandas and polars domains: an answer is a function over data frames.

Results are compared by columns, dtypes and values, and the facts for a repair are the first differences. Checks are written as
usual: ``assert f(DataFrame({"a": [1, 2]})) == DataFrame({"a": [2]})``. The ``DataFrame`` in checks is not the library's, but a
function that returns plain values. The process of the tested function turns them into a data frame of the library, and turns the
result back into plain values, so that the checks can compare it without the library.

    >>> compared(Checks.from_asserts(["assert f(1) == 2"]), "pandas").source
    "def check(candidate):\\n    assert difference(f(1), 2) == ''\\n"
"""

from __future__ import annotations

import ast
from concurrent.futures import Future
from dataclasses import replace
from functools import lru_cache

from mlx_selfdebug.domains.base import Runner
from mlx_selfdebug.domains.inside import source_of
from mlx_selfdebug.domains.prompted import failed_check_text, got_text, rewritten, tested_text
from mlx_selfdebug.domains.python import PythonDomain
from mlx_selfdebug.domains.python_prelude import prelude
from mlx_selfdebug.parsing import parse
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Failure, Verdict


class _TablesDomain(PythonDomain):
    """The base class of the two domains. The name of a domain is that of its library."""

    install = "pip install 'mlx-selfdebug[tables]'"
    setup_code = ""
    """Code that runs before the answer, such as settings of the library."""

    def failure_text(self, failure: Failure, verdict: Verdict, task: Task) -> str:
        """Return the input and the first differences of the result, which also say what was expected."""
        shown = replace(failure, input=self.input_text(failure, task), expected="")
        if not failure.got:
            return tested_text(shown, verdict)
        return failed_check_text(shown, f"Wrong result: {got_text(failure)}")

    def input_text(self, failure: Failure, task: Task) -> str:
        """Return the arguments as the check writes them, so that frames appear as ``DataFrame(...)``."""
        tree = parse(failure.check)
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)] if tree else []
        call = next((node for node in calls if ast.unparse(node.func) in (task.entry_point, "candidate")), None)
        return ", ".join(map(ast.unparse, call.args)) if call else failure.input

    def judge(self, code: str, task: Task, checks: Checks, runner: Runner) -> Future[Verdict]:
        """Test ``code`` with its function wrapped by ``over_frames``, which turns plain values into frames and back."""
        name = task.entry_point
        # The wrapper's source runs in a namespace of its own, so that it replaces no name of the answer.
        wrapper = f"__selfdebug_frames__ = {{}}\nexec({source_of('frames_program')!r}, __selfdebug_frames__)\n"
        wrap = f"    {name} = __selfdebug_frames__['over_frames']({name}, {self.name!r})\n"
        # If the answer does not define the function, nothing is wrapped, and the runner reports that the function is missing.
        program = f"{code}\n{wrapper}if {name!r} in globals():\n{wrap}"
        before = f"{prelude(code, task)}\n{self.setup_code}"
        return runner.submit(program, compared(checks, self.name), name, prelude=before)


class PandasDomain(_TablesDomain):
    """The domain of functions over data frames of pandas."""

    name = "pandas"
    draft = "Write this Python {noun} with pandas.\n\n{task}"
    packages: tuple[str, ...] = ("pandas", "numpy", "dateutil", "pytz", "six", "tzdata")
    # pandas must not store strings in Arrow, whose memory pool reserves more address space than a test run may use.
    setup_code = "__import__('pandas').set_option('mode.string_storage', 'python')\n"


class PolarsDomain(_TablesDomain):
    """The domain of functions over data frames of polars."""

    name = "polars"
    draft = "Write this Python {noun} with polars.\n\n{task}"
    packages: tuple[str, ...] = ("polars",)


@lru_cache(maxsize=1024)
def compared(checks: Checks, library: str) -> Checks:
    """Return the same checks with each ``a == b`` as ``difference(a, b) == ''``, and each ``a != b`` as ``difference(a, b) != ''``.

    ``difference`` (``inside/frames.py``) says in words what differs, by the rules of ``library``: "pandas" or "polars". Chained
    comparisons, such as ``a == b == c``, stay as they are.
    """
    return rewritten(checks, _CompareByDifference(), f"{source_of('frames')}\nLIBRARY = {library!r}")


class _CompareByDifference(ast.NodeTransformer):
    """Replaces each comparison of two values by a comparison of their ``difference`` with an empty string."""

    def visit_Compare(self, node: ast.Compare) -> ast.Compare:
        self.generic_visit(node)
        if len(node.ops) > 1 or not isinstance(node.ops[0], ast.Eq | ast.NotEq):
            return node
        call = ast.Call(ast.Name("difference", ast.Load()), [node.left, node.comparators[0]], [])
        return ast.Compare(call, node.ops, [ast.Constant("")])
