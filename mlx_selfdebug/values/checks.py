"""Define ``Checks``, which decide whether a program is right. They are Python source that runs apart from the program.

``Checks.source`` defines ``check(candidate)``. The program under test is the *candidate*. It runs in a process of its own, and the
asserts call it through a stub. The stub also has the name of the entry point, so ``assert add(1, 2) == 3`` works as it is written.

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
"""How checks use the candidate: they call a function or class ("call"), or they run a whole program ("program")."""
_HEAD = "def check(candidate):\n"


@dataclass(frozen=True)
class Checks:
    """Checks of one program. An empty source stands for no checks, and such checks are false in a condition."""

    source: str = ""
    """Python source that defines ``check(candidate)``."""
    setup: str = ""
    """Code that runs before ``source`` in the same module, such as imports and helpers that the checks use."""
    kind: Kind = "call"
    """How the checks use the candidate. For "program", ``candidate(stdin)`` runs it and returns what it printed."""

    @classmethod
    def from_source(cls, source: str, setup: str = "", kind: Kind = "call") -> Checks:
        """Make checks from source that defines ``check(candidate)``.

        Raises SyntaxError if ``source`` or ``setup`` does not parse, and ValueError if ``source`` defines no ``check``.
        """
        tree = parse_quietly(source)
        if not any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body):
            raise ValueError("the source defines no function check(candidate)")
        parse_quietly(setup)
        return cls(source, setup, kind)

    @classmethod
    def from_asserts(cls, asserts: Iterable[str], setup: str = "") -> Checks:
        """Make checks from statements, one per string, which are mostly asserts. Raises SyntaxError if one does not parse."""
        # The statements are parsed and unparsed, since indenting their text would also indent the lines of multi-line strings.
        lines = [textwrap.indent(ast.unparse(parse_quietly(textwrap.dedent(text))), "    ") for text in asserts]
        if not lines:
            return cls()
        return cls.from_source(_HEAD + "\n".join(lines) + "\n", setup)

    @classmethod
    def from_io(cls, cases: Iterable[tuple[str, str]]) -> Checks:
        """Make checks of a whole program from pairs of standard input and expected output."""
        lines = [
            f"    assert outputs_match(candidate({stdin!r}), {stdout!r}), 'case {number}'\n"
            for number, (stdin, stdout) in enumerate(cases, 1)
        ]
        return cls(_HEAD + "".join(lines), kind="program") if lines else cls()

    @classmethod
    def from_doctest(cls, text: str, setup: str = "") -> Checks:
        """Make checks from the ``>>>`` examples in a text (see ``translating/doctests.py``).

        Raises ValueError if the text has no example, or one that does not parse.
        """
        from mlx_selfdebug.translating.doctests import doctest_statements

        return cls.from_asserts(doctest_statements(text), setup)

    @classmethod
    def from_unittest(cls, source: str, setup: str = "") -> Checks:
        """Make checks from the source of a test module for unittest or pytest (see ``translating/unittests.py``).

        Raises SyntaxError if the source does not parse, and ValueError if it has no test, or one that is not supported.
        """
        from mlx_selfdebug.translating.unittests import tests_to_source

        return cls.from_source(tests_to_source(source), setup)

    def cases(self) -> tuple[Checks, ...]:
        """Return the parts of these checks that need a process each, because a whole program runs once in a process.

        Each assert on a whole program is a part. Checks of any other form are a single part.
        """
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
