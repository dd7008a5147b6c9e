"""Whether checks work with objects of the candidate's own, by their text alone.

Where they do not, they expect plain data, and an object that came instead must not answer in its stead (see handles.py).
"""

from __future__ import annotations

import ast

from mlx_selfdebug.sandbox.grading.taint import RESULT, Taint

REDUCTIONS = frozenset({"all", "any", "imag", "item", "max", "mean", "min", "norm", "real", "sum"})
"""What arrays have, in names that say nothing of an object of the candidate's own."""
PLAIN_NAMES = REDUCTIONS.union(
    *(dir(kind) for kind in (str, bytes, bytearray, int, float, complex, list, tuple, set, frozenset, dict, range))
)


def expects_objects(tree: ast.Module, taint: Taint, entry_point: str) -> bool:
    """A capital letter names a class; and an attribute that no plain data has is read from what the candidate gave."""
    return entry_point[:1].isupper() or any(
        isinstance(node, ast.Attribute) and node.attr not in PLAIN_NAMES and taint.of(node.value) >= RESULT
        for node in ast.walk(tree)
    )
