"""Find the modules and test modules of a folder, and resolve names in the tests to functions of the modules.

    modules, unreadable = read_modules(folder)
    package = Package([module for module in modules if not module.is_test])
    package.target("shop.prices.total")    # Target(module="src.shop.prices", name="total")

Sources are read and parsed, and nothing is run or imported.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks.own.source import is_test_file, parsed, python_files, read_text
from mlx_selfdebug.translating.unittests import Suite

MAX_FILES = 5_000
"""The largest number of Python files in a folder."""
_IMPORTS = (ast.Import, ast.ImportFrom)
_CATCHING_IMPORT_ERRORS = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
"""The exceptions whose handlers let a module do without something that it imports."""


class Target(NamedTuple):
    """Something in the package that a test uses."""

    module: str
    """The dotted path of the module."""
    name: str
    """The name within the module, or an empty string for the module itself."""
    is_function: bool = True
    """Whether it is a function that the module defines at its top level, and not a class, a constant or a module."""


@dataclass(frozen=True)
class Module:
    """A module of the package, or one of its test modules."""

    path: Path
    dotted: str
    """The path from the folder, with dots and without suffix, such as ``src.pkg.mod``."""
    source: str
    """The text of the file."""

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree. Raises SourceError if the source is not valid Python."""
        return parsed(self.source)

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
        """The functions of the top level by name."""
        return {node.name: node for node in self.tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}

    @cached_property
    def suite(self) -> Suite:
        """The tests in this module, as they can be translated."""
        return Suite(self.source, self.dotted)

    @property
    def is_test(self) -> bool:
        return is_test_file(self.path.name)


def read_modules(folder: Path) -> tuple[list[Module], dict[str, str]]:
    """Return the modules of a folder, and by path the reasons why other Python files in it cannot be read.

    Raises TaskError if there is no such folder, or if it holds too many files.
    """
    if not os.path.isdir(folder):
        raise TaskError(f"{folder}: there is no such folder, or it may not be read")
    paths: list[Path] = []
    for path in python_files(folder):
        paths.append(path)
        if len(paths) > MAX_FILES:
            raise TaskError(f"{folder}: more than {MAX_FILES:,} Python files", hint="name the folder of one package")
    modules: list[Module] = []
    unreadable: dict[str, str] = {}
    for path in sorted(paths):
        relative = path.relative_to(folder)
        dotted = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
        try:
            module = Module(path, dotted, read_text(path))
            assert module.tree  # parsed here, so that a file that is not Python is left out
        except ValueError as error:
            unreadable[str(relative)] = str(error)
        else:
            modules.append(module)
    return modules, unreadable


class Package:
    """The modules of a folder that are under test."""

    def __init__(self, modules: Sequence[Module]) -> None:
        self.modules = modules

    def add_star_imports(self, suite: Suite) -> None:
        """Add to the imports of ``suite`` the functions that it imports with a star from modules of the package."""
        for star in suite.imports.stars:
            for module in self.modules:
                names = module.functions if _is_named(module.dotted, star) else ()
                suite.imports.origins |= {name: f"{star}.{name}" for name in names}

    def target(self, origin: str) -> Target | None:
        """Return what a dotted name in a test stands for, or None if it is not of the package.

        ``origin`` is the name after imports are resolved, such as ``pkg.stats.median``.
        """
        parts = origin.split(".")
        # In ``pkg.stats.Window.mean``, the module is the longest beginning that is one, ``pkg.stats``. The target is the name after
        # it, ``Window``, and the rest belongs to that.
        for length in range(len(parts) - 1, 0, -1):
            target = self._target_in(".".join(parts[:length]), parts[length])
            if target:
                return target
        is_module = any(_is_named(module.dotted, origin) for module in self.modules)
        return Target(origin, "", is_function=False) if is_module else None

    def _target_in(self, module_name: str, name: str) -> Target | None:
        """Return what ``name`` stands for in the module ``module_name``, or None if there is no such module.

        A function may be defined by the module itself, or by a module inside it: ``pkg.mean`` may be ``pkg.stats.mean``, which
        ``pkg/__init__.py`` imports.
        """
        named = [module for module in self.modules if _is_named(module.dotted, module_name)]
        is_standard = module_name.partition(".")[0] in sys.stdlib_module_names and not named
        # The dots around both names keep "stat" from being found in "pkg.stats".
        inside = [] if is_standard else [m for m in self.modules if f".{module_name}." in f".{m.dotted}."]
        for modules in (named, inside):
            defining = [module.dotted for module in modules if name in module.functions]
            if len(defining) == 1:
                return Target(defining[0], name)
        return Target(named[0].dotted, name, is_function=False) if named else None


def _is_named(dotted: str, name: str) -> bool:
    """Return whether tests may import the module with the path ``dotted`` under ``name``.

    Tests may import from any folder inside, such as ``src``, so ``name`` may be only the end of ``dotted``. A name of the standard
    library means that library, unless the module lies at the top of the folder or of ``src``.
    """
    if name.partition(".")[0] in sys.stdlib_module_names:
        return dotted in (name, f"src.{name}")
    return dotted == name or dotted.endswith(f".{name}")


def packages_needed(module: Module, function: ast.AST) -> list[str]:
    """Return the packages outside of the standard library that a run of ``function`` imports, sorted by name.

    Imports that only a type checker sees, imports that may fail, and imports inside other functions do not count.
    """
    nodes = [*_imports_at_load(module.tree.body), *(part for part in ast.walk(function) if isinstance(part, _IMPORTS))]
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        else:
            names.add("." * node.level + (node.module or "").partition(".")[0])
    return sorted(name for name in names if name not in sys.stdlib_module_names)


def _imports_at_load(body: Sequence[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports that have to succeed when the statements of a module run."""
    for node in body:
        if isinstance(node, _IMPORTS):
            yield node
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_skipped = (isinstance(node, ast.If) and is_for_type_checkers(node)) or _may_fail(node)
            for name in ("orelse", "finalbody") if is_skipped else ("body", "orelse", "finalbody"):
                yield from _imports_at_load(getattr(node, name, ()))


def is_for_type_checkers(node: ast.If) -> bool:
    """Return whether the body of an ``if`` is never run, and is there for type checkers."""
    test = ast.unparse(node.test)
    return test in ("TYPE_CHECKING", "False") or (test.endswith(".TYPE_CHECKING") and not test.startswith("not "))


def _may_fail(node: ast.stmt) -> bool:
    """Return whether an import in the body of a statement may fail without consequence."""
    if isinstance(node, ast.Try):
        # ``except:`` without a type catches everything, like ``except Exception``.
        types = [
            part
            for handler in node.handlers
            for part in (ast.walk(handler.type) if handler.type else [ast.Name("Exception")])
        ]
        return any(isinstance(part, ast.Name) and part.id in _CATCHING_IMPORT_ERRORS for part in types)
    return isinstance(node, ast.With) and any("suppress(" in ast.unparse(item.context_expr) for item in node.items)
