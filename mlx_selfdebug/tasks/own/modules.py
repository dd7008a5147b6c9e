"""Find the modules and test modules of a folder, and the functions that names in the tests stand for. Nothing is run."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks.own.source import is_test_file, parsed, read_text
from mlx_selfdebug.translating.unittests import Suite

MAX_FILES = 5_000
SKIPPED = frozenset({"node_modules", "site-packages", "dist-packages", "__pycache__"})
SKIPPED_UNLESS_PACKAGE = frozenset({"build", "dist", "env", "venv"})
"""Folders that hold what tools made, unless they have an ``__init__.py``."""
Target = tuple[str, str]
"""A module and a name in it."""


@dataclass(frozen=True)
class Module:
    """A module of the package, or one of its test modules."""

    path: Path
    dotted: str
    """The path from the folder with dots: ``src.pkg.mod``."""
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return parsed(self.source)

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
        return {node.name: node for node in self.tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}

    @cached_property
    def suite(self) -> Suite:
        return Suite(self.source, self.dotted)

    @property
    def is_test(self) -> bool:
        return is_test_file(self.path.name)


def read_modules(folder: Path) -> tuple[list[Module], dict[str, str]]:
    """Return the modules of a folder, and the reason for each file that is none, by its path. Raises TaskError for no folder."""
    if not folder.is_dir():
        raise TaskError(f"{folder}: there is no such folder")
    paths: list[Path] = []
    for path in _python_files(folder):
        paths.append(path)
        if len(paths) > MAX_FILES:
            raise TaskError(f"{folder}: more than {MAX_FILES:,} Python files", hint="name the folder of one package")
    modules: list[Module] = []
    unread: dict[str, str] = {}
    for path in sorted(paths):
        relative = path.relative_to(folder)
        dotted = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
        try:
            module = Module(path, dotted, read_text(path))
            assert module.tree  # parsed here, so that a file that is not Python is left out
        except ValueError as error:
            unread[str(relative)] = str(error)
        else:
            modules.append(module)
    return modules, unread


def _python_files(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        # Folders are skipped before anything in them is counted, since a virtual environment has thousands of files.
        folders[:] = [name for name in folders if not _is_skipped(Path(root, name))]
        yield from (Path(root, name) for name in files if name.endswith(".py") and not name.startswith("."))


def _is_skipped(folder: Path) -> bool:
    if folder.name in SKIPPED_UNLESS_PACKAGE and not (folder / "__init__.py").is_file():
        return True
    return folder.name in SKIPPED or folder.name.startswith(".") or (folder / "pyvenv.cfg").is_file()


class Package:
    """The modules of a folder that are under test."""

    def __init__(self, modules: Sequence[Module]) -> None:
        self.modules = modules

    def add_star_imports(self, suite: Suite) -> None:
        """Tell ``suite`` what it imports with a star from the modules of the package."""
        for star in suite.imports.stars:
            for module in self.modules:
                names = module.functions if _is_named(module.dotted, star) else ()
                suite.imports.origins |= {name: f"{star}.{name}" for name in names}

    def target(self, origin: str) -> Target | None:
        """Return the module and the name that ``origin`` stands for, or None if it is not of the package.

        The module of what is not a function, such as a class or a constant, is its module with a space at the end.
        """
        parts = origin.split(".")
        for length in range(len(parts) - 1, 0, -1):
            home = self._home(".".join(parts[:length]), parts[length])
            if home:
                return home, parts[length]
        return (f"{origin} ", "") if any(_is_named(module.dotted, origin) for module in self.modules) else None

    def _home(self, name: str, function: str) -> str:
        """Return the dotted path of the module that defines ``function``, which is looked up in the module ``name``.

        That is ``name`` itself, or a module inside it if ``name`` only passes the function on.
        """
        near = [module for module in self.modules if _is_named(module.dotted, name)]
        is_standard = name.partition(".")[0] in sys.stdlib_module_names and not near
        inside = [] if is_standard else [module for module in self.modules if f".{name}." in f".{module.dotted}."]
        for chosen in (near, inside):
            homes = [module.dotted for module in chosen if function in module.functions]
            if len(homes) == 1:
                return homes[0]
        return f"{near[0].dotted} " if near else ""


def _is_named(dotted: str, name: str) -> bool:
    # Of two modules with one name, that of the standard library is meant unless the other can be imported by this name alone.
    if name.partition(".")[0] in sys.stdlib_module_names:
        return dotted in (name, f"src.{name}")
    return dotted == name or dotted.endswith(f".{name}")


def packages_needed(module: Module, function: ast.AST) -> list[str]:
    """Return the packages that a run of ``function`` imports and that are not in the standard library.

    Imports that only a type checker sees do not count, nor those that may fail, nor those inside other functions.
    """
    nodes = [*_imports_at_load(module.tree.body), *(part for part in ast.walk(function) if isinstance(part, _IMPORTS))]
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        else:
            names.add("." * node.level + (node.module or "").partition(".")[0])
    return sorted(name for name in names if name not in sys.stdlib_module_names)


_IMPORTS = (ast.Import, ast.ImportFrom)
_MAY_BE_MISSING = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


def _imports_at_load(body: Sequence[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports that are made, and have to work, when a module is loaded."""
    for node in body:
        if isinstance(node, _IMPORTS):
            yield node
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_skipped = (isinstance(node, ast.If) and is_for_type_checkers(node)) or _may_fail(node)
            for name in ("orelse", "finalbody") if is_skipped else ("body", "orelse", "finalbody"):
                yield from _imports_at_load(getattr(node, name, ()))


def is_for_type_checkers(node: ast.If) -> bool:
    test = ast.unparse(node.test)
    return test in ("TYPE_CHECKING", "False") or (test.endswith(".TYPE_CHECKING") and not test.startswith("not "))


def _may_fail(node: ast.stmt) -> bool:
    if isinstance(node, ast.Try):
        kinds = [
            kind
            for handler in node.handlers
            for kind in (ast.walk(handler.type) if handler.type else [ast.Name("Exception")])
        ]
        return any(isinstance(kind, ast.Name) and kind.id in _MAY_BE_MISSING for kind in kinds)
    return isinstance(node, ast.With) and any("suppress(" in ast.unparse(item.context_expr) for item in node.items)
