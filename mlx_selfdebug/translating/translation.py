"""Translate the statements of a module of tests one by one, and note what keeps each of them from being run."""

from __future__ import annotations

import ast
from collections.abc import Container, Sequence

from mlx_selfdebug.translating.assertions import STAND_IN, Translator
from mlx_selfdebug.translating.classes import TEST_CASES, Function
from mlx_selfdebug.translating.imports import FRAMEWORKS, Imports
from mlx_selfdebug.translating.marks import MARK


class Translation:
    """The statements of a module for checks, without those that concern the frameworks alone."""

    def __init__(self, tree: ast.Module, imports: Imports, tests: Container[int]) -> None:
        """Translate ``tree``, which is changed. ``tests`` are the ids of its tests, whose decorators are known already."""
        self.imports, self.tests = imports, tests
        self.problem = _dynamic_tests(tree)
        """The reason why no test of the module can be run, or an empty string."""
        self.problems: dict[int, str] = {}
        """The reasons why statements cannot be run, by the ids of the statements."""
        self.translator = Translator(imports, _attributes(tree))
        self.body = self._statements(tree.body)

    def _statements(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
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
        if isinstance(node, ast.If):
            return "__name__" in ast.unparse(node.test)
        if isinstance(node, Function):
            # A test that uses a fixture is refused. A fixture that is used by itself stays, and its problem is that of all tests.
            fixtures = [item for item in node.decorator_list if self.called(item) == "pytest.fixture"]
            return bool(fixtures) and "autouse" not in ast.unparse(fixtures[0])
        if isinstance(node, ast.Expr):
            return self.called(node.value).startswith("sys.path.") or self.called(node.value) == "unittest.main"
        if not isinstance(node, ast.Assign):
            return False
        is_of_framework = self.imports.origin(node.value).partition(".")[0] in FRAMEWORKS
        return (
            is_of_framework or self.called(node.value).startswith(MARK) or ast.unparse(node.targets[0]) == "pytestmark"
        )

    def called(self, node: ast.expr) -> str:
        """Return the origin of what is called, or of the expression itself if it is no call."""
        return self.imports.origin(node.func if isinstance(node, ast.Call) else node)


def _dynamic_tests(tree: ast.Module) -> str:
    """Return what keeps all tests of a module from being run if more tests are added when the module runs."""
    if any(isinstance(node, Function) and node.name == "load_tests" for node in tree.body):
        return "load_tests is not supported"
    for part in ast.walk(tree):
        is_set = isinstance(part, ast.Call) and ast.unparse(part.func) == "setattr"
        if isinstance(part, ast.Assign):
            is_set = ast.unparse(part.targets[0]).startswith(("globals()[", "locals()["))
        if is_set and isinstance(part, ast.Call | ast.Assign) and "test" in ast.unparse(part):
            return f"tests that are added by setattr or globals() are not supported (line {part.lineno})"
    return ""


def _attributes(tree: ast.Module) -> set[str]:
    """Return the names of all functions, and of all attributes that are set."""
    parts = list(ast.walk(tree))
    stored = {part.attr for part in parts if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store)}
    return stored | {part.name for part in parts if isinstance(part, Function)}
