"""Quote those annotations of a function that cannot be evaluated outside of its module.

An answer is compiled apart from the module of its function, so a ``from __future__ import annotations`` in that module does not
hold for the answer. Python then evaluates the answer's annotations. That fails if they use names that only a type checker imports:

>>> print(with_quoted_annotations("from __future__ import annotations\\ndef f(x: Price | None, n: int): ...", "f"))
from __future__ import annotations
def f(x: "Price | None", n: int): ...
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterator, Sequence

from mlx_selfdebug.tasks.own.modules import is_for_type_checkers
from mlx_selfdebug.tasks.own.source import parsed
from mlx_selfdebug.translating.imports import Imports


def with_quoted_annotations(source: str, function: str) -> str:
    """Return the source of a module with some annotations of its function ``function`` as strings.

    These are the annotations that could not be evaluated without the module's future import. A module that has no such import is
    returned unchanged.
    """
    tree = parsed(source)
    if not any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body):
        return source
    node = next(node for node in reversed(tree.body) if isinstance(node, ast.FunctionDef) and node.name == function)
    known = _known_names(tree)
    return _with_strings(source, [part for part in _annotations(node) if not _can_be_evaluated(part, known)])


def _known_names(tree: ast.Module) -> set[str]:
    """Return the names that have a value once a test run has loaded the module.

    Names that are imported from outside of the standard library have none, even if the module can do without them.
    """
    origins = Imports(tree).origins.items()
    missing = {name for name, origin in origins if origin.partition(".")[0] not in sys.stdlib_module_names}
    return {*dir(builtins), *_bound_at_load(tree.body)} - missing


def _with_strings(source: str, annotations: Sequence[ast.expr]) -> str:
    """Return ``source`` with each of the annotations as a string."""
    data = source.encode()  # ``ast`` counts columns in bytes
    line_starts = [0]
    for line in data.split(b"\n"):
        line_starts.append(line_starts[-1] + len(line) + 1)
    # From the last to the first, so that the places of those still to be replaced do not move.
    for annotation in sorted(annotations, key=lambda part: (part.lineno, part.col_offset), reverse=True):
        start = line_starts[annotation.lineno - 1] + annotation.col_offset
        end = line_starts[(annotation.end_lineno or 1) - 1] + (annotation.end_col_offset or 0)
        text = ast.unparse(annotation)
        data = data[:start] + (f'"{text}"' if '"' not in text else repr(text)).encode() + data[end:]
    return data.decode()


def _annotations(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the annotations of parameters and results of a function and of the functions inside it."""
    for part in ast.walk(node):
        if isinstance(part, ast.arg) and part.annotation is not None:
            yield part.annotation
        elif isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) and part.returns is not None:
            yield part.returns


def _can_be_evaluated(annotation: ast.expr, known: set[str]) -> bool:
    """Return whether an annotation uses only ``known`` names, and no string as an operand."""
    parts = list(ast.walk(annotation))
    names = {part.id for part in parts if isinstance(part, ast.Name)}
    # A string has no operator "|", so that evaluating ``"Price" | None`` fails.
    operands = [operand for part in parts if isinstance(part, ast.BinOp) for operand in (part.left, part.right)]
    has_string = any(isinstance(operand, ast.Constant) and isinstance(operand.value, str) for operand in operands)
    return names <= known and not has_string


def _bound_at_load(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Yield the names that the statements of a module bind when it is loaded."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        else:
            yield from _stored_names(node)
            is_skipped = isinstance(node, ast.If) and is_for_type_checkers(node)
            for name in ("orelse", "finalbody") if is_skipped else ("body", "orelse", "finalbody"):
                yield from _bound_at_load(getattr(node, name, ()))
            for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
                yield from _bound_at_load(part.body)


def _stored_names(node: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement itself assigns, without those that statements inside it assign."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from (
                part.id for part in ast.walk(child) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
            )
