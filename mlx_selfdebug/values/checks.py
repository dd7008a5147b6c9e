"""Checks: what decides whether a program is right, as Python source that the trusted side runs.

``Checks.source`` defines ``check(candidate)``; its asserts call the candidate, which lives in another process.
The entry point's own name is bound to the same stub, so ``assert add(1, 2) == 3`` works as it stands.
``setup`` is code the checks may use (imports, helpers a prompt defines); it runs on the trusted side, before ``source``.
``kind`` "program": the candidate is no function but a whole program; ``candidate(stdin)`` runs it and gives what it printed.

    >>> Checks.from_asserts(["assert add(1, 2) == 3"]).source
    'def check(candidate):\\n    assert add(1, 2) == 3\\n'
    >>> Checks.from_io([("1 2\\n", "3\\n")]).source
    "def check(candidate):\\n    assert outputs_match(candidate('1 2\\\\n'), '3\\\\n'), 'case 1'\\n"
"""

from __future__ import annotations

import ast
import textwrap
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["call", "program"]
_HEAD = "def check(candidate):\n"


@dataclass(frozen=True)
class Checks:
    """Empty ``source`` means: no checks of this kind."""

    source: str = ""
    setup: str = ""
    kind: Kind = "call"

    @classmethod
    def from_source(cls, source: str, setup: str = "", kind: Kind = "call") -> Checks:
        """Source that defines ``check(candidate)``. Raises SyntaxError if it does not parse, ValueError if it has no ``check``."""
        tree = parse_quietly(source)
        if not any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body):
            raise ValueError("the source defines no function check(candidate)")
        parse_quietly(setup)
        return cls(source, setup, kind)

    @classmethod
    def from_asserts(cls, asserts: Iterable[str], setup: str = "") -> Checks:
        """One statement a string, most often an assert. Raises SyntaxError on text that does not parse."""
        # Unparsed, since indenting the text would reach into literals of several lines.
        lines = [textwrap.indent(ast.unparse(parse_quietly(textwrap.dedent(text))), "    ") for text in asserts]
        if not lines:
            return cls()
        return cls.from_source(_HEAD + "\n".join(lines) + "\n", setup)

    @classmethod
    def from_io(cls, cases: Iterable[tuple[str, str]]) -> Checks:
        """Standard input and expected output of a program, a case a pair. Each case is a run of its own (see ``cases``)."""
        lines = [
            f"    assert outputs_match(candidate({stdin!r}), {stdout!r}), 'case {number}'\n"
            for number, (stdin, stdout) in enumerate(cases, 1)
        ]
        return cls(_HEAD + "".join(lines), kind="program") if lines else cls()

    @classmethod
    def from_doctest(cls, text: str, setup: str = "") -> Checks:
        """The ``>>>`` examples of a docstring (see doctests.py). Raises ValueError if there are none."""
        from mlx_selfdebug.values.doctests import doctest_statements

        return cls.from_asserts(doctest_statements(text), setup)

    @classmethod
    def from_unittest(cls, source: str, setup: str = "") -> Checks:
        """A test module for unittest or pytest (see unittests.py). Raises ValueError on what is not understood."""
        from mlx_selfdebug.values.unittests import tests_to_source

        return cls.from_source(tests_to_source(source), setup)

    def cases(self) -> tuple[Checks, ...]:
        """What must each run in a process of its own: the cases of a program, or these checks as a whole."""
        if self.kind == "call" or not self.source:
            return (self,)
        tree = parse_quietly(self.source)
        check = tree.body[0] if len(tree.body) == 1 else None
        if not isinstance(check, ast.FunctionDef) or not all(isinstance(node, ast.Assert) for node in check.body):
            return (self,)
        lines = self.source.split("\n")
        texts = ("\n".join(lines[node.lineno - 1 : node.end_lineno]) for node in check.body)
        return tuple(replace(self, source=f"{_HEAD}{text}\n") for text in texts)

    def __bool__(self) -> bool:
        return bool(self.source)


def parse_quietly(source: str) -> ast.Module:
    """``ast.parse`` without warnings about the source. Raises SyntaxError or ValueError for all that does not parse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (RecursionError, MemoryError) as error:
            raise ValueError("nested too deeply") from error
