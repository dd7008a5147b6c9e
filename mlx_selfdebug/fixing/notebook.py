"""Fix a program that is given as text together with its tests, as in a notebook."""

from __future__ import annotations

import ast
import sys
import tempfile
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.fixing.case import Tell
from mlx_selfdebug.fixing.fix import FixSettings, fix_project
from mlx_selfdebug.fixing.result import FixResult
from mlx_selfdebug.projects.command import TestCommand
from mlx_selfdebug.projects.project import Project

if TYPE_CHECKING:
    from mlx_selfdebug.sampling.language_model import LanguageModel

PROGRAM, TESTS = "program.py", "test_program.py"
"""The names of the two files of the project that is made of the texts."""
# Unlike ``from program import *``, this also gives the tests the names that begin with a single underscore.
_IMPORTS = "import program\n\nglobals().update({k: v for k, v in vars(program).items() if not k.startswith('__')})\n\n"


def fix(
    source: str,
    tests: str,
    model: str | LanguageModel = "qwen2.5-coder-0.5b",
    *,
    settings: FixSettings | None = None,
    tell: Tell = lambda _: None,
) -> FixResult:
    """Try to make ``tests`` pass with a small change of one function of ``source``, and return the result.

    ``tests`` are test functions in the form that pytest runs, or plain asserts, each of which counts as a test. They see all names
    of the program. pytest has to be installed. The result shows the change, and the tests before and after it. In a notebook it
    also shows the most suspicious function as the model read it. ``model``, ``settings`` and ``tell`` are those of ``fix_project``.

    Raises what ``fix_project`` raises, and UsageError if one of the two texts does not parse.

        >>> fix("def double(x):\\n    return x * x\\n", "assert double(3) == 6").change.diff()      # doctest: +SKIP
    """
    _parse(source, "the program")  # raises UsageError before anything is run
    with tempfile.TemporaryDirectory(prefix="mlx-selfdebug-fix-") as folder:
        (Path(folder) / PROGRAM).write_text(source, "utf-8")
        (Path(folder) / TESTS).write_text(_IMPORTS + _test_functions(tests), "utf-8")
        project = Project(Path(folder).resolve(), sys.executable, TestCommand("pytest", (TESTS,)), (PROGRAM,))
        return fix_project(project, model, settings=settings, tell=tell)


def _parse(text: str, what: str) -> ast.Module:
    """Parse a text that the user has given. Raises UsageError, which calls the text ``what``, if it does not parse."""
    try:
        return ast.parse(text)
    except SyntaxError as error:
        raise UsageError(f"{what} does not parse: line {error.lineno}: {error.msg}") from error


def _test_functions(tests: str) -> str:
    """Return the tests with each top-level assert turned into a test function of its own."""
    tree = _parse(tests, "the tests")
    if not any(isinstance(node, ast.Assert) for node in tree.body):
        return tests
    taken = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    names = (f"test_{n}" for n in count(1) if f"test_{n}" not in taken)
    parts = []
    for node in tree.body:
        if isinstance(node, ast.Assert):
            parts.append(f"def {next(names)}():\n    {ast.unparse(node)}\n")
        elif getattr(node, "decorator_list", None):
            parts.append(ast.unparse(node))  # a source segment would lack the decorators
        else:
            parts.append(ast.get_source_segment(tests, node) or ast.unparse(node))
    return "\n".join(parts) + "\n"
