"""Read the classes of a module, and what they inherit from each other, without running anything."""

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
"""The origins (see imports.py) of ``unittest.TestCase`` and of the classes of other packages that are like it."""


@dataclass(eq=False)
class SourceClass:
    """A class of the module, as far as it can be known without running the module."""

    node: ast.ClassDef
    outer: SourceClass | None
    """The class that this one is defined in, or None at the top level."""
    bases: list[SourceClass] = field(default_factory=list)
    """The bases that are classes of the module."""
    is_test_case: bool = False
    """Whether one of ``TEST_CASES`` is among its own bases."""
    unknown: str = ""
    """The reason why the functions that the class inherits are not known, or an empty string."""
    order: tuple[SourceClass, ...] = ()
    """This class and the classes of the module that it inherits from, in the order in which Python looks up an attribute."""

    @property
    def path(self) -> str:
        """The name with the names of the classes around it, such as ``Outer.Inner``."""
        return f"{self.outer.path}.{self.node.name}" if self.outer else self.node.name

    @property
    def functions(self) -> dict[str, Function]:
        """The functions that the class itself defines, by name."""
        return {item.name: item for item in self.node.body if isinstance(item, Function)}

    @property
    def members(self) -> dict[str, Function]:
        """The functions of this class by name, inherited ones included."""
        return {name: function for class_ in reversed(self.order) for name, function in class_.functions.items()}

    @property
    def tests(self) -> dict[str, Function]:
        """The members whose names begin with "test"."""
        return {name: function for name, function in self.members.items() if name.startswith("test")}

    @property
    def constants(self) -> dict[str, ast.expr]:
        """The expressions that the class assigns to single names, inherited ones included."""
        return {
            name: value for class_ in reversed(self.order) for name, value in assigned_names(class_.node.body).items()
        }

    @property
    def is_like_a_test(self) -> bool:
        """Whether the names of the class or its bases suggest that it is meant as a test class."""
        return any("Test" in name for name in (self.node.name, *map(ast.unparse, self.node.bases)))


def read_classes(tree: ast.Module, imports: Imports) -> list[SourceClass]:
    """Return the classes at the top level of a module, each followed by the classes inside it."""
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
    """Reads classes one after another. ``aliases`` maps each name that the module assigns to the source of its value."""

    def __init__(self, imports: Imports, aliases: Mapping[str, str]) -> None:
        self.imports, self.aliases = imports, aliases
        self.classes: list[SourceClass] = []
        self._by_path: dict[str, SourceClass] = {}

    def read(self, body: Sequence[ast.stmt], outer: SourceClass | None) -> None:
        """Add the classes in a body to ``classes``. ``outer`` is the class that has the body, or None for the module."""
        for node in body:
            if not isinstance(node, ast.ClassDef):
                continue
            class_ = SourceClass(node, outer)
            for base in node.bases:
                self._add_base(class_, base.value if isinstance(base, ast.Subscript) else base)
            try:
                class_.order = _lookup_order(class_)
            except TypeError:
                class_.order, class_.unknown = (class_,), "the order of its bases contradicts itself"
            self.classes.append(class_)
            self._by_path[class_.path] = class_
            self.read(node.body, class_)

    def _add_base(self, class_: SourceClass, base: ast.expr) -> None:
        """Note what a class inherits from one of its bases: a class of the module, a ``TestCase``, or something unknown."""
        origin, name = self.imports.origin(base), self._without_alias(ast.unparse(base))
        sibling = self._by_path.get(f"{class_.outer.path}.{name}") if class_.outer else None
        base_class = sibling or self._by_path.get(name)
        if base_class is not None:
            class_.bases.append(base_class)
        elif origin in TEST_CASES:
            class_.is_test_case = True
        elif is_foreign(origin):
            class_.unknown = f"its base {origin.lstrip('.')} is imported, and a test run does not have it"
        elif not origin and not hasattr(builtins, name):
            class_.unknown = f"its base {ast.unparse(base)} is not known from the source"

    def _without_alias(self, name: str) -> str:
        """Return what ``name`` stands for after assignments such as ``Base = TestCase``."""
        # There can be no more steps than aliases, unless they form a circle.
        for _ in self.aliases:
            if name in self._by_path or name not in self.aliases:
                break
            name = self.aliases[name]
        return name


def _lookup_order(class_: SourceClass) -> tuple[SourceClass, ...]:
    """Return the class and its bases in the order in which Python looks up an attribute. Raises TypeError where Python would.

    Python computes the order itself, for empty classes with the same bases.
    """
    empty_classes: dict[SourceClass, type] = {}

    def empty_class(of: SourceClass) -> type:
        if of not in empty_classes:
            empty_classes[of] = type(of.node.name, tuple(empty_class(base) for base in of.bases), {})
        return empty_classes[of]

    order = empty_class(class_).__mro__
    return tuple(sorted(empty_classes, key=lambda other: order.index(empty_classes[other])))
