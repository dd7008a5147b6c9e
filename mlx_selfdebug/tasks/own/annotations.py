"""Quote those annotations of a function that cannot be evaluated outside of its module.

An answer is compiled apart from its module, so the module's ``from __future__ import annotations`` does not hold for it. Python
then evaluates its annotations, which fails where they name what only a type checker imports.
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
    """Return the source of a module with some annotations of one of its functions as strings.

    These are the annotations that could not be evaluated without the module's future import. A module that has no such import is
    returned unchanged.
    """
    tree = parsed(source)
    if not any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body):
        return source
    # A test run lacks packages that are not in the standard library, even if the module can do without them.
    origins = Imports(tree).origins.items()
    missing = {name for name, origin in origins if origin.partition(".")[0] not in sys.stdlib_module_names}
    known = {*dir(builtins), *_bound_at_load(tree.body)} - missing
    node = next(node for node in reversed(tree.body) if isinstance(node, ast.FunctionDef) and node.name == function)
    data = source.encode()  # ``ast`` counts columns in bytes
    line_starts = [0]
    for line in data.split(b"\n"):
        line_starts.append(line_starts[-1] + len(line) + 1)
    # From the last to the first, so that the places of those still to be replaced do not move.
    for annotation in sorted(_annotations(node), key=lambda part: (part.lineno, part.col_offset), reverse=True):
        if not _can_be_evaluated(annotation, known):
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
            yield from (
                part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
            )
            is_skipped = isinstance(node, ast.If) and is_for_type_checkers(node)
            for name in ("orelse", "finalbody") if is_skipped else ("body", "orelse", "finalbody"):
                yield from _bound_at_load(getattr(node, name, ()))
            for handler in getattr(node, "handlers", ()):
                yield from _bound_at_load(handler.body)
