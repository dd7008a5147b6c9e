"""Python source that may be anything: parsed without raising and without warnings. Nothing here runs it."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator

Function = ast.FunctionDef | ast.AsyncFunctionDef
_NEW_SCOPE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def parse(code: str) -> ast.Module | None:
    """The tree of ``code``, or None where it is no Python, is nested too deeply or holds what no source may hold."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes and the like, in a model's code
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def defines(code: str, name: str) -> bool:
    """Whether ``code`` parses and binds ``name`` in its module: by def, class, import or assignment."""
    tree = parse(code)
    return tree is not None and any(_binds(node, name) for node in same_scope(tree.body))


def function_named(tree: ast.Module, name: str) -> Function | None:
    """The last module-level function of that name."""
    found = [node for node in tree.body if isinstance(node, Function) and node.name == name]
    return found[-1] if found else None


def same_scope(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Every node of ``body`` that runs in its scope: what functions and classes hold is left out, they are not."""
    waiting = list(body)[::-1]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _NEW_SCOPE):
            waiting.extend(list(ast.iter_child_nodes(node))[::-1])


def _binds(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name == name
    if isinstance(node, ast.alias):
        return (node.asname or node.name) == name
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name
