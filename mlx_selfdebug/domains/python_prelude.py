"""The prelude of an answer: imports, and helpers that the task's starter code defines beside the entry point.

An answer may leave these out because the task gives them. The prelude runs before the answer in the same module, and it never
defines a name that the answer defines itself.
"""

from __future__ import annotations

import ast
import builtins
from types import MappingProxyType

from mlx_selfdebug.parsing import parse
from mlx_selfdebug.values.task import Task

_MODULES = (
    "copy",
    "math",
    "operator",
    "re",
    "statistics",
    "sys",
    "typing",
    "itertools",
    "functools",
    "collections",
    "string",
    "random",
    "heapq",
    "bisect",
    "datetime",
    "json",
)
_FROM = {
    "typing": (
        "Any",
        "Callable",
        "Dict",
        "Iterable",
        "Iterator",
        "List",
        "Optional",
        "Sequence",
        "Set",
        "Tuple",
        "Union",
    ),
    "collections": ("Counter", "OrderedDict", "defaultdict", "deque", "namedtuple"),
    "copy": ("deepcopy",),
    "functools": ("cache", "cmp_to_key", "lru_cache", "partial", "reduce"),
    "heapq": ("heapify", "heappop", "heappush"),
    "itertools": ("accumulate", "chain", "combinations", "groupby", "permutations", "product", "zip_longest"),
    "math": ("ceil", "factorial", "floor", "gcd", "sqrt"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
}
_IMPORTS = (ast.Import, ast.ImportFrom)
STANDARD_IMPORTS = MappingProxyType(
    {name: f"import {name}" for name in _MODULES}
    | {name: f"from {module} import {name}" for module, names in _FROM.items() for name in names}
)


def prelude(code: str, task: Task) -> str:
    """Return the source to run before ``code``: what the starter code gives, and the standard imports that ``code`` forgot."""
    answer = parse(code)
    if answer is None:
        return ""
    given = _given(task, answer)
    missing = _missing(answer) - _provided(given)
    lines = [STANDARD_IMPORTS[name] for name in sorted(missing) if name in STANDARD_IMPORTS]
    return "\n".join([ast.unparse(node) for node in given] + lines)


def lacks(code: str, task: Task) -> bool:
    """Return whether ``code`` uses a name that only the prelude defines."""
    answer = parse(code)
    if answer is None:
        return False
    return not _missing(answer).isdisjoint(_provided(_given(task, answer)) | STANDARD_IMPORTS.keys())


def _missing(answer: ast.Module) -> set[str]:
    return _used(answer) - _bound(answer) - set(dir(builtins))


def _provided(given: list[ast.stmt]) -> set[str]:
    return set[str]().union(*map(_defined, given))


def _given(task: Task, answer: ast.Module) -> list[ast.stmt]:
    """Return the imports and helpers of the starter code, without the entry point and without names that the answer defines."""
    starter = parse(task.starter_code)
    body = starter.body if starter else _header(task.starter_code)
    taken = {task.entry_point}.union(*map(_defined, answer.body))
    return [node for node in body if isinstance(node, _IMPORTS) or not _defined(node) & taken]


def _defined(node: ast.stmt) -> set[str]:
    """Return the names that a top-level statement defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    return _bound(ast.Module([node], []))


def _header(source: str) -> list[ast.stmt]:
    """Return the statements of starter code whose last statement is unfinished, such as a bare ``def`` line."""
    tree = parse(source.rstrip() + "\n    pass\n")
    return tree.body if tree else []


def _bound(tree: ast.Module) -> set[str]:
    """Return every name that is bound anywhere in ``tree``, parameters included."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    return names


def _used(tree: ast.Module) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
