"""Decide from the text of the checks whether they work with objects of the candidate's own classes.

Other checks expect plain data. If the candidate returns an object to them instead, that object must not answer in place of the data
(see handles.py).
"""

from __future__ import annotations

import ast

from mlx_selfdebug.sandbox.grading.taint import RESULT, Taint

REDUCTIONS = frozenset({"all", "any", "imag", "item", "max", "mean", "min", "norm", "real", "sum"})
"""Attributes of arrays. Checks that read one of them may expect an array or a NumPy scalar, which is no object of the candidate."""
PLAIN_NAMES = REDUCTIONS.union(
    *(dir(kind) for kind in (str, bytes, bytearray, int, float, complex, list, tuple, set, frozenset, dict, range))
)
"""Attributes that plain data has, those of arrays included."""


def expects_objects(tree: ast.Module, taint: Taint, entry_point: str) -> bool:
    """Return whether the checks work with objects of the candidate.

    They do if the name of the entry point starts with a capital letter, as the names of classes do. They also do if they read an
    attribute that plain data lacks from a result of the candidate.
    """
    return entry_point[:1].isupper() or any(
        isinstance(node, ast.Attribute) and node.attr not in PLAIN_NAMES and taint.level_of(node.value) >= RESULT
        for node in ast.walk(tree)
    )
