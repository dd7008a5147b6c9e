"""Decide from the text of the checks whether they work with objects of the candidate's own classes.

If they do not, they expect plain data, and an object that the candidate returns instead must not answer the checks' questions in
place of that data (see handles.py).
"""

from __future__ import annotations

import ast

from mlx_selfdebug.sandbox.grading.taint import RESULT, Taint

REDUCTIONS = frozenset({"all", "any", "imag", "item", "max", "mean", "min", "norm", "real", "sum"})
"""Names that arrays have. Reading one of them does not show that the checks expect an object of the candidate."""
PLAIN_NAMES = REDUCTIONS.union(
    *(dir(kind) for kind in (str, bytes, bytearray, int, float, complex, list, tuple, set, frozenset, dict, range))
)


def expects_objects(tree: ast.Module, taint: Taint, entry_point: str) -> bool:
    """Return whether the checks work with objects.

    They do if the entry point starts with a capital letter, as classes do, or if they read an attribute that no plain data has
    from a result of the candidate.
    """
    return entry_point[:1].isupper() or any(
        isinstance(node, ast.Attribute) and node.attr not in PLAIN_NAMES and taint.of(node.value) >= RESULT
        for node in ast.walk(tree)
    )
