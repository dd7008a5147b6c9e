"""Write the prelude of an answer: the imports and helpers that an answer may use without repeating them.

The starter code of a task may hold imports, and helpers beside the entry point. An answer may leave them out because the task gives
them, and models often forget standard imports too. The prelude runs before the answer in the same module. It never defines a name
that the answer defines itself.
"""

from __future__ import annotations

import ast
import builtins
from types import MappingProxyType

from mlx_selfdebug.parsing import parse
from mlx_selfdebug.values.task import Task

_MODULES = (
    "copy", "math", "operator", "re", "statistics", "sys", "typing", "itertools", "functools", "collections", "string", "random",
    "heapq", "bisect", "datetime", "json",
)  # fmt: skip
_NAMES_BY_MODULE = {
    "typing": ("Any", "Callable", "Dict", "Iterable", "Iterator", "List", "Optional", "Sequence", "Set", "Tuple", "Union"),
    "collections": ("Counter", "OrderedDict", "defaultdict", "deque", "namedtuple"),
    "copy": ("deepcopy",),
    "functools": ("cache", "cmp_to_key", "lru_cache", "partial", "reduce"),
    "heapq": ("heapify", "heappop", "heappush"),
    "itertools": ("accumulate", "chain", "combinations", "groupby", "permutations", "product", "zip_longest"),
    "math": ("ceil", "factorial", "floor", "gcd", "sqrt"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
}  # fmt: skip
STANDARD_IMPORTS = MappingProxyType(
    {name: f"import {name}" for name in _MODULES}
    | {name: f"from {module} import {name}" for module, names in _NAMES_BY_MODULE.items() for name in names}
)
"""For each name that an answer may use without importing it, the statement that imports the name."""


def prelude(code: str, task: Task) -> str:
    """Return the source to run before ``code``: what the starter code gives, and the standard imports that ``code`` forgot.

    It is empty if ``code`` does not parse.
    """
    answer = parse(code)
    if answer is None:
        return ""
    given = _given_statements(task, answer)
    missing = _missing_names(answer) - _given_names(given)
    lines = [STANDARD_IMPORTS[name] for name in sorted(missing) if name in STANDARD_IMPORTS]
    return "\n".join([ast.unparse(node) for node in given] + lines)


def needs_prelude(code: str, task: Task) -> bool:
    """Return whether ``code`` uses a name that the prelude defines and ``code`` itself does not."""
    answer = parse(code)
    if answer is None:
        return False
    return not _missing_names(answer).isdisjoint(
        _given_names(_given_statements(task, answer)) | STANDARD_IMPORTS.keys()
    )


def _missing_names(answer: ast.Module) -> set[str]:
    """Return the names that the answer uses without defining them, other than builtins."""
    return _used_names(answer) - _bound_names(answer) - set(dir(builtins))


def _given_names(given: list[ast.stmt]) -> set[str]:
    return set[str]().union(*map(_defined_names, given))


def _given_statements(task: Task, answer: ast.Module) -> list[ast.stmt]:
    """Return the imports of the starter code, and its helpers that are neither the entry point nor defined by the answer."""
    # If the starter code ends in an unfinished statement, such as a bare def line, an indented "pass" completes it.
    starter = parse(task.starter_code) or parse(task.starter_code.rstrip() + "\n    pass\n")
    if starter is None:
        return []
    taken = {task.entry_point}.union(*map(_defined_names, answer.body))
    return [
        node
        for node in starter.body
        if isinstance(node, ast.Import | ast.ImportFrom) or not _defined_names(node) & taken
    ]


def _defined_names(node: ast.stmt) -> set[str]:
    """Return the names that a statement at module level defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    return _bound_names(ast.Module([node], []))


def _bound_names(tree: ast.Module) -> set[str]:
    """Return every name that is bound anywhere in ``tree``, in any scope, including parameters."""
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


def _used_names(tree: ast.Module) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
