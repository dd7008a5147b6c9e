"""Find out which names and functions Python source defines, without running it. Source that does not parse defines none."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from mlx_selfdebug.parsing import parse

Function = ast.FunctionDef | ast.AsyncFunctionDef
_NEW_SCOPE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def defines(code: str, name: str) -> bool:
    """Return whether ``code`` parses and binds ``name`` at module level, by a def, class, import or assignment."""
    tree = parse(code)
    return tree is not None and any(_binds(node, name) for node in same_scope(tree.body))


def function_named(tree: ast.Module, name: str) -> Function | None:
    """Return the last module-level function with that name, or None if there is none."""
    functions = [node for node in tree.body if isinstance(node, Function) and node.name == name]
    return functions[-1] if functions else None


def same_scope(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield the nodes of ``body``, in the order of the source, that belong to its scope.

    Functions, classes and lambdas are yielded, but not the nodes inside them.
    """
    waiting = list(body)[::-1]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _NEW_SCOPE):
            waiting.extend(list(ast.iter_child_nodes(node))[::-1])


def _binds(node: ast.AST, name: str) -> bool:
    """Return whether a node itself binds ``name``, as a def, class, import or assignment."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name == name
    if isinstance(node, ast.alias):
        return (node.asname or node.name) == name
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name
