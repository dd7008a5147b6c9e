"""Read the classes of a module with what they inherit from each other, without running anything."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlx_selfdebug.translating.imports import Imports, is_foreign

Function = ast.FunctionDef | ast.AsyncFunctionDef
TEST_CASES = frozenset(
    {
        "unittest.TestCase", "unittest.case.TestCase", "unittest.IsolatedAsyncioTestCase", "django.test.TestCase",
        "django.test.SimpleTestCase", "django.test.TransactionTestCase", "absl.testing.absltest.TestCase",
        "twisted.trial.unittest.TestCase", "testtools.TestCase",
    }
)  # fmt: skip


@dataclass(eq=False)
class KnownClass:
    """A class of the module, with what is known of it from its source."""

    node: ast.ClassDef
    outer: KnownClass | None
    bases: list[KnownClass] = field(default_factory=list)
    is_test_case: bool = False
    """Whether ``unittest.TestCase``, or a class of another framework that is like it, is among its bases."""
    unknown: str = ""
    """What is said about a base of which nothing is known."""
    order: tuple[KnownClass, ...] = ()
    """This class and those of the module that it inherits from, in the order in which Python looks up an attribute."""

    @property
    def path(self) -> str:
        """The name with the names of the classes around it: ``Outer.Inner``."""
        return f"{self.outer.path}.{self.node.name}" if self.outer else self.node.name

    @property
    def functions(self) -> dict[str, Function]:
        return {item.name: item for item in self.node.body if isinstance(item, Function)}

    @property
    def members(self) -> dict[str, Function]:
        """The functions of this class, inherited ones included."""
        return {name: item for known in reversed(self.order) for name, item in known.functions.items()}

    @property
    def tests(self) -> dict[str, Function]:
        return {name: item for name, item in self.members.items() if name.startswith("test")}

    @property
    def constants(self) -> dict[str, ast.expr]:
        """What the class assigns to single names, inherited ones included."""
        return {
            name: value for known in reversed(self.order) for name, value in assigned_names(known.node.body).items()
        }

    @property
    def is_like_a_test(self) -> bool:
        """Whether a test class is meant, as far as the names of the class and its bases say."""
        return any("Test" in name for name in (self.node.name, *map(ast.unparse, self.node.bases)))


def read_classes(tree: ast.Module, imports: Imports) -> list[KnownClass]:
    """Return the classes at the top level of a module and of other classes, each before those inside it."""
    reader = _Reader(imports, {name: ast.unparse(value) for name, value in assigned_names(tree.body).items()})
    reader.read(tree.body, None)
    return reader.classes


def assigned_names(body: Sequence[ast.stmt]) -> dict[str, ast.expr]:
    """Return the expressions that the statements of a module or class assign to single names."""
    return {
        node.targets[0].id: node.value
        for node in body
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
    }


class _Reader:
    def __init__(self, imports: Imports, aliases: Mapping[str, str]) -> None:
        self.imports, self.aliases = imports, aliases
        self.classes: list[KnownClass] = []
        self._by_path: dict[str, KnownClass] = {}

    def read(self, body: Sequence[ast.stmt], outer: KnownClass | None) -> None:
        for node in body:
            if not isinstance(node, ast.ClassDef):
                continue
            known = KnownClass(node, outer)
            for base in node.bases:
                self._add_base(known, base.value if isinstance(base, ast.Subscript) else base)
            try:
                known.order = _lookup_order(known)
            except TypeError:
                known.order, known.unknown = (known,), "the order of its bases contradicts itself"
            self.classes.append(known)
            self._by_path[known.path] = known
            self.read(node.body, known)

    def _add_base(self, known: KnownClass, base: ast.expr) -> None:
        origin, name = self.imports.origin(base), self._without_alias(ast.unparse(base))
        sibling = self._by_path.get(f"{known.outer.path}.{name}") if known.outer else None
        local = sibling or self._by_path.get(name)
        if local is not None:
            known.bases.append(local)
        elif origin in TEST_CASES:
            known.is_test_case = True
        elif is_foreign(origin):
            known.unknown = f"its base {origin.lstrip('.')} is imported, and a test run does not have it"
        elif not origin and not hasattr(builtins, name):
            known.unknown = f"its base {ast.unparse(base)} is not known from the source"

    def _without_alias(self, name: str) -> str:
        for _ in self.aliases:
            if name in self._by_path or name not in self.aliases:
                break
            name = self.aliases[name]
        return name


def _lookup_order(known: KnownClass) -> tuple[KnownClass, ...]:
    """Return the class and its bases in Python's own order. Raises TypeError where Python would."""
    shapes: dict[KnownClass, type] = {}

    def shape(of: KnownClass) -> type:
        if of not in shapes:
            shapes[of] = type(of.node.name, tuple(shape(base) for base in of.bases), {})
        return shapes[of]

    order = shape(known).__mro__
    return tuple(sorted(shapes, key=lambda other: order.index(shapes[other])))
