"""Define ``Checks``, which decide whether a program is right. They are Python source that the trusted side runs.

``Checks.source`` defines ``check(candidate)``. Its asserts call the candidate, which lives in another process, through a stub. The
entry point's own name is bound to the same stub, so ``assert add(1, 2) == 3`` works as it is written.

    >>> Checks.from_asserts(["assert add(1, 2) == 3"]).source
    'def check(candidate):\\n    assert add(1, 2) == 3\\n'
    >>> Checks.from_io([("1 2\\n", "3\\n")]).source
    "def check(candidate):\\n    assert outputs_match(candidate('1 2\\\\n'), '3\\\\n'), 'case 1'\\n"
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from mlx_selfdebug.parsing import parse_quietly

Kind = Literal["call", "program"]
_HEAD = "def check(candidate):\n"


@dataclass(frozen=True)
class Checks:
    """Checks of one program. Checks with an empty source are false and stand for no checks."""

    source: str = ""
    """Python source that defines ``check(candidate)``."""
    setup: str = ""
    """Code that the checks may use, such as imports and helpers of the prompt. It runs on the trusted side before ``source``."""
    kind: Kind = "call"
    """What the candidate is: a function for "call", or a whole program for "program".

    ``candidate(stdin)`` runs a whole program and returns what it printed.
    """

    @classmethod
    def from_source(cls, source: str, setup: str = "", kind: Kind = "call") -> Checks:
        """Make checks of source that defines ``check(candidate)``.

        Raises SyntaxError if the source does not parse, and ValueError if it defines no ``check``.
        """
        tree = parse_quietly(source)
        if not any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body):
            raise ValueError("the source defines no function check(candidate)")
        parse_quietly(setup)
        return cls(source, setup, kind)

    @classmethod
    def from_asserts(cls, asserts: Iterable[str], setup: str = "") -> Checks:
        """Make checks of statements, one per string, most often asserts. Raises SyntaxError if one does not parse."""
        # The statements are parsed and unparsed, since indenting their text would also indent the lines of multi-line strings.
        lines = [textwrap.indent(ast.unparse(parse_quietly(textwrap.dedent(text))), "    ") for text in asserts]
        if not lines:
            return cls()
        return cls.from_source(_HEAD + "\n".join(lines) + "\n", setup)

    @classmethod
    def from_io(cls, cases: Iterable[tuple[str, str]]) -> Checks:
        """Make checks of a program from pairs of standard input and expected output. Each pair is run alone (see ``cases``)."""
        lines = [
            f"    assert outputs_match(candidate({stdin!r}), {stdout!r}), 'case {number}'\n"
            for number, (stdin, stdout) in enumerate(cases, 1)
        ]
        return cls(_HEAD + "".join(lines), kind="program") if lines else cls()

    @classmethod
    def from_doctest(cls, text: str, setup: str = "") -> Checks:
        """Make checks of the ``>>>`` examples of a docstring (see doctests.py). Raises ValueError if there are none."""
        from mlx_selfdebug.translating.doctests import doctest_statements

        return cls.from_asserts(doctest_statements(text), setup)

    @classmethod
    def from_unittest(cls, source: str, setup: str = "") -> Checks:
        """Make checks of a test module for unittest or pytest (see unittests.py). Raises ValueError for unsupported tests."""
        from mlx_selfdebug.translating.unittests import tests_to_source

        return cls.from_source(tests_to_source(source), setup)

    def cases(self) -> tuple[Checks, ...]:
        """Return checks that each need a process of their own: one per case of a program, or else these checks as a whole."""
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
