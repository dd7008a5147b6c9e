"""Translate the statements of a test module into statements that checks can run, and note why some cannot be translated.

``assertions.py`` translates what is inside a statement. This module goes through the statements of the module and its classes,
drops those that only concern the test frameworks, and collects the problems.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Sequence

from mlx_selfdebug.translating.assertions import STAND_IN, Translator
from mlx_selfdebug.translating.classes import TEST_CASES, Function
from mlx_selfdebug.translating.imports import FRAMEWORKS, Imports
from mlx_selfdebug.translating.marks import MARK


class Translation:
    """The translated statements of a test module."""

    def __init__(self, tree: ast.Module, imports: Imports, tests: Container[int]) -> None:
        """Translate ``tree``, which is changed in place.

        ``tests`` holds the ``id()`` of each node that is a test. Decorators of tests are dropped, since marks.py has read them.
        """
        self.imports, self.tests = imports, tests
        self.problem = _dynamic_tests(tree)
        """The reason why no test of the module can be run, or an empty string."""
        self.problems: dict[int, str] = {}
        """The reasons why statements cannot be run, by the ``id()`` of the statement."""
        self.translator = Translator(imports, _attributes(tree))
        self.body = self._statements(tree.body)
        """The translated statements. One that cannot be translated stays as it is."""

    def _statements(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        """Return the translated statements of a body. A ValueError of the translator becomes a problem of its statement."""
        translated: list[ast.stmt] = []
        for node in body:
            if self._is_dropped(node):
                continue
            if id(node) in self.tests and isinstance(node, Function):
                kept = [item for item in node.decorator_list if ast.unparse(item) in ("staticmethod", "classmethod")]
                node.decorator_list = kept
            try:
                translated.append(self._class(node) if isinstance(node, ast.ClassDef) else self._statement(node))
            except ValueError as error:
                self.problems[id(node)] = str(error)
                translated.append(node)
        return translated

    def _class(self, node: ast.ClassDef) -> ast.ClassDef:
        """Return a class with its body translated, with a stand-in for ``TestCase`` among its bases, and without its marks."""
        node.body = self._statements(node.body)
        for number, base in enumerate(node.bases):
            is_test_case = self.imports.origin(base) in TEST_CASES
            node.bases[number] = ast.Name(STAND_IN, ast.Load()) if is_test_case else self._expression(base)
        others = [item for item in node.decorator_list if not self.called(item).startswith(MARK)]
        node.decorator_list = [self._expression(item) for item in others]
        return node

    def _statement(self, node: ast.stmt) -> ast.stmt:
        return self.translator.visit(node)  # type: ignore[return-value]

    def _expression(self, node: ast.expr) -> ast.expr:
        return self.translator.visit(node)  # type: ignore[return-value]

    def _is_dropped(self, node: ast.stmt) -> bool:
        """Return whether checks do not need the statement: a main guard, a fixture, a mark, or an alias of a framework's name."""
        if isinstance(node, ast.If):
            return "__name__" in ast.unparse(node.test)
        if isinstance(node, Function):
            # Tests that ask for a fixture are refused, so its function is not needed. An autouse fixture concerns all tests. It
            # stays, cannot be translated, and so keeps all of them from being run.
            fixtures = [item for item in node.decorator_list if self.called(item) == "pytest.fixture"]
            return bool(fixtures) and "autouse" not in ast.unparse(fixtures[0])
        if isinstance(node, ast.Expr):
            return self.called(node.value).startswith("sys.path.") or self.called(node.value) == "unittest.main"
        if not isinstance(node, ast.Assign):
            return False
        is_alias = self.imports.origin(node.value).partition(".")[0] in FRAMEWORKS
        is_mark = self.called(node.value).startswith(MARK) or ast.unparse(node.targets[0]) == "pytestmark"
        return is_alias or is_mark

    def called(self, node: ast.expr) -> str:
        """Return the origin of the function that ``node`` calls, or of ``node`` itself if it is no call."""
        return self.imports.origin(node.func if isinstance(node, ast.Call) else node)


def _dynamic_tests(tree: ast.Module) -> str:
    """Return why no test of a module can be run if it makes tests while it is loaded, or else an empty string."""
    if any(isinstance(node, Function) and node.name == "load_tests" for node in tree.body):
        return "load_tests is not supported"
    for part in ast.walk(tree):
        if isinstance(part, ast.Call):
            may_add_test = ast.unparse(part.func) == "setattr"
        elif isinstance(part, ast.Assign):
            may_add_test = ast.unparse(part.targets[0]).startswith(("globals()[", "locals()["))
        else:
            continue
        if may_add_test and "test" in ast.unparse(part):
            return f"tests that are added by setattr or globals() are not supported (line {part.lineno})"
    return ""


def _attributes(tree: ast.Module) -> set[str]:
    """Return the names of all functions in a module, and of all attributes that are assigned in it."""
    parts = list(ast.walk(tree))
    stored = {part.attr for part in parts if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store)}
    return stored | {part.name for part in parts if isinstance(part, Function)}
