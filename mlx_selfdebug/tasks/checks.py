"""Checks: what decides whether a program is right, as Python source that the trusted side runs.

``Checks.source`` defines ``check(candidate)``; its asserts call the candidate, which lives in another process.
The entry point's own name is bound to the same stub, so ``assert add(1, 2) == 3`` works as it stands.
``setup`` is code the checks may use (imports, helpers a prompt defines); it runs on the trusted side, before ``source``.

    >>> Checks.from_asserts(["assert add(1, 2) == 3"]).source
    'def check(candidate):\\n    assert add(1, 2) == 3\\n'
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Checks:
    """Empty ``source`` means: no checks of this kind."""

    source: str = ""
    setup: str = ""

    @classmethod
    def from_source(cls, source: str, setup: str = "") -> Checks:
        """Source that defines ``check(candidate)``. Raises SyntaxError if it does not parse, ValueError if it has no ``check``."""
        tree = ast.parse(source)
        if not any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body):
            raise ValueError("the source defines no function check(candidate)")
        ast.parse(setup)
        return cls(source, setup)

    @classmethod
    def from_asserts(cls, asserts: Iterable[str], setup: str = "") -> Checks:
        """One statement a string, most often an assert. Raises SyntaxError on text that does not parse."""
        # Unparsed, since indenting the text would reach into literals of several lines.
        lines = [textwrap.indent(ast.unparse(ast.parse(textwrap.dedent(text))), "    ") for text in asserts]
        if not lines:
            return cls()
        return cls.from_source("def check(candidate):\n" + "\n".join(lines) + "\n", setup)

    def __bool__(self) -> bool:
        return bool(self.source)
