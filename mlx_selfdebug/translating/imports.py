"""Find out what the imported names of a module stand for, without importing anything.

    >>> Imports(ast.parse("import pytest as pt\\nfrom shop import prices")).origins
    {'pt': 'pytest', 'prices': 'shop.prices'}

The full dotted name that a name stands for is called its *origin*. The origin of a relative import begins with a dot, unless the
name of the importing module is known.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable

FRAMEWORKS = frozenset({"unittest", "pytest", "doctest"})
"""The modules whose use in tests is translated. Checks do not import them."""
_AVAILABLE = (sys.stdlib_module_names - FRAMEWORKS) | {"numpy", "pandas"}
"""The modules that checks can import."""
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def is_foreign(origin: str) -> bool:
    """Return whether checks cannot import what ``origin`` names, as with the module under test and most packages.

    Test frameworks are not foreign, since their use is translated.
    """
    return bool(origin) and origin.partition(".")[0] not in _AVAILABLE | FRAMEWORKS


class Imports:
    """The imports of a module, wherever they are in it, and the aliases of its top level, such as ``join = os.path.join``."""

    def __init__(self, tree: ast.Module, module_name: str = "") -> None:
        """Read the imports of ``tree``. ``module_name`` is the dotted name of the module, if it is known."""
        self.origins: dict[str, str] = {}
        """The origin of each name that an import or an alias binds, by the name."""
        self.modules: set[str] = set()
        """The origins that are certainly modules, because ``import`` statements name them."""
        self.stars: list[str] = []
        """The modules from which ``*`` is imported."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                self._add_modules(node)
            elif isinstance(node, ast.ImportFrom):
                self._add_names(node, module_name)
        for node in tree.body:
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                origin = self.origin(node.value)
                self.origins |= {node.targets[0].id: origin} if origin else {}

    def _add_modules(self, node: ast.Import) -> None:
        """Add the modules of ``import a.b`` or ``import a.b as c``. Without ``as``, the name that is bound is ``a``."""
        for alias in node.names:
            self.modules.add(alias.name)
            first = alias.name.partition(".")[0]
            self.origins[alias.asname or first] = alias.name if alias.asname else first

    def _add_names(self, node: ast.ImportFrom, module_name: str) -> None:
        """Add the names of ``from a import b``."""
        home = _home(node, module_name)
        for alias in node.names:
            if alias.name == "*":
                self.stars.append(home)
            else:
                self.origins[alias.asname or alias.name] = f"{home.rstrip('.')}.{alias.name}" if home else alias.name

    def origin(self, node: ast.AST) -> str:
        """Return the origin of an imported name or of an attribute of one. It is empty for any other node."""
        if isinstance(node, ast.Name):
            return self.origins.get(node.id, "")
        if isinstance(node, ast.Attribute):
            owner = self.origin(node.value)
            return f"{owner}.{node.attr}" if owner else ""
        return ""

    def used(self, node: ast.AST) -> set[str]:
        """Return the origins of everything that ``node`` uses, such as "os.path.join" for ``os.path.join(a, b)``."""
        collector = _Collector(self)
        collector.visit(node)
        return collector.used


def _home(node: ast.ImportFrom, module_name: str) -> str:
    """Return the module from which ``node`` imports names.

    If the import is relative and the name of the importing module is not known, the result begins with a dot.
    """
    if not node.level:
        return node.module or ""
    if not module_name:
        return f".{node.module or ''}"
    return ".".join([*module_name.split(".")[: -node.level], *([node.module] if node.module else [])])


class Scoped(ast.NodeTransformer):
    """A transformer of syntax trees that knows the origins of names.

    A name that a function has as a parameter or variable does not stand for an import inside that function.
    """

    def __init__(self, imports: Imports) -> None:
        self.imports = imports
        self._shadowed: list[set[str]] = []
        """The local names of the functions around the node that is visited, from the outermost to the innermost."""

    def origin(self, node: ast.AST) -> str:
        """Return the origin of a name or attribute in the scope that is visited, or an empty string."""
        root = node
        while isinstance(root, ast.Attribute):
            root = root.value
        is_local = isinstance(root, ast.Name) and any(root.id in names for names in self._shadowed)
        return "" if is_local else self.imports.origin(node)

    def visit(self, node: ast.AST) -> ast.AST:
        if not isinstance(node, _Function):
            return super().visit(node)  # type: ignore[no-any-return]
        self._shadowed.append(_local_names(node))
        try:
            return super().visit(node)  # type: ignore[no-any-return]
        finally:
            self._shadowed.pop()


def _local_names(node: _Function) -> set[str]:
    """Return the parameters and variables of a function, those of the functions inside it included."""
    parts = list(ast.walk(node))
    stored = {part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    return stored | {part.arg for part in parts if isinstance(part, ast.arg)}


class _Collector(Scoped):
    """Collects the origins of everything that is used. Annotations of variables do not count."""

    def __init__(self, imports: Imports) -> None:
        super().__init__(imports)
        self.used: set[str] = set()

    def visit_Name(self, node: ast.Name) -> ast.AST:
        self.used |= {self.origin(node)} - {""}
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        for part in (node.target, node.value):
            if part is not None:
                self.visit(part)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        origin = self.origin(node)
        if not origin:
            return self.generic_visit(node)
        self.used.add(origin)
        return node


class Renamed(Scoped):
    """Gives tested things the names that they have in checks, and drops the imports that checks cannot make.

    If ``shop.prices.total`` has the name ``total`` in checks, ``from shop import prices; prices.total(x)`` becomes ``total(x)``.
    """

    def __init__(self, imports: Imports, name_of: Callable[[str], str]) -> None:
        """Prepare the transformer.

        ``name_of`` takes an origin, and returns the new name of what has that origin, or an empty string if the name stays.
        """
        super().__init__(imports)
        self.name_of = name_of

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self._renamed(node) or node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return self._renamed(node) or self.generic_visit(node)

    def _renamed(self, node: ast.Name | ast.Attribute) -> ast.Name | None:
        origin = self.origin(node) if isinstance(node.ctx, ast.Load) else ""
        name = self.name_of(origin) if origin else ""
        return ast.copy_location(ast.Name(name, node.ctx), node) if name else None

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """Drop an assignment such as ``f = module.f`` that has become ``f = f``. In a function, it would hide the tested ``f``."""
        self.generic_visit(node)
        names = {ast.unparse(part) for part in (*node.targets, node.value)}
        return ast.copy_location(ast.Pass(), node) if len(names) == 1 and isinstance(node.value, ast.Name) else node

    def visit_Import(self, node: ast.Import) -> ast.AST:
        node.names = [alias for alias in node.names if self._is_kept(alias.name)]
        return node if node.names else ast.copy_location(ast.Pass(), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        home = _home(node, "")
        node.names = [alias for alias in node.names if self._is_kept(home, f"{home}.{alias.name}")]
        return node if node.names else ast.copy_location(ast.Pass(), node)

    def _is_kept(self, module: str, origin: str = "") -> bool:
        """Return whether checks keep an import from ``module``. ``origin`` is that of the imported name, if there is one."""
        return not is_foreign(module) and module.partition(".")[0] not in FRAMEWORKS and not self.name_of(origin)


def sole_name(imports: Imports, entry_point: str = "") -> Callable[[str], str]:
    """Return the function ``name_of`` for tests of a single function or class (see ``Renamed``).

    For the origin of the tested thing, such as ``shop.prices.total``, it returns the last part, ``total``. For any other origin it
    returns an empty string. The tested thing is imported from a foreign module (see ``is_foreign``), and its name is
    ``entry_point``. Without an ``entry_point``, everything that is imported from a foreign module is taken for it.
    """
    imported = set(imports.origins.values())

    def name_of(origin: str) -> str:
        home, _, last = origin.rpartition(".")
        if not is_foreign(origin) or entry_point not in ("", last):
            return ""
        return last if entry_point or origin in imported - imports.modules or home in imports.modules else ""

    return name_of
