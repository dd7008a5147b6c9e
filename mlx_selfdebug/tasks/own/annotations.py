"""Write annotations as strings where they cannot be evaluated once a function stands apart from its module.

``from __future__ import annotations`` holds for the module in which it stands, and so not for an answer, which is compiled by
itself. An annotation may then name what only a type checker sees.
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
    """Return ``source`` with those annotations of a function as strings that only its module's future import makes harmless."""
    tree = parsed(source)
    if not any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body):
        return source
    # A package that is not in the standard library is missing in a test run, even if the module does without it.
    origins = Imports(tree).origins.items()
    missing = {name for name, origin in origins if origin.partition(".")[0] not in sys.stdlib_module_names}
    known = {*dir(builtins), *_bound_at_load(tree.body)} - missing
    node = next(node for node in reversed(tree.body) if isinstance(node, ast.FunctionDef) and node.name == function)
    data = source.encode()
    starts = [0]
    for line in data.split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)
    for annotation in sorted(_annotations(node), key=lambda part: (part.lineno, part.col_offset), reverse=True):
        if _can_be_evaluated(annotation, known):
            continue
        first = starts[annotation.lineno - 1] + annotation.col_offset
        last = starts[(annotation.end_lineno or 1) - 1] + (annotation.end_col_offset or 0)
        text = ast.unparse(annotation)
        data = data[:first] + (f'"{text}"' if '"' not in text else repr(text)).encode() + data[last:]
    return data.decode()


def _annotations(node: ast.AST) -> Iterator[ast.expr]:
    for part in ast.walk(node):
        annotation = (
            part.annotation
            if isinstance(part, ast.arg)
            else part.returns
            if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)
            else None
        )
        if annotation is not None:
            yield annotation


def _can_be_evaluated(annotation: ast.expr, known: set[str]) -> bool:
    parts = list(ast.walk(annotation))
    names = {part.id for part in parts if isinstance(part, ast.Name)}
    # `"Price" | None` is an error when it is evaluated.
    sides = [side for part in parts if isinstance(part, ast.BinOp) for side in (part.left, part.right)]
    return names <= known and not any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in sides)


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
            hidden = isinstance(node, ast.If) and is_for_type_checkers(node)
            for name in ("orelse", "finalbody") if hidden else ("body", "orelse", "finalbody"):
                yield from _bound_at_load(getattr(node, name, ()))
            for handler in getattr(node, "handlers", ()):
                yield from _bound_at_load(handler.body)
