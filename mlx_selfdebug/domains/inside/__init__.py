"""Source code that runs inside test runs, where its text becomes part of a program or of checks.

Each file imports only the standard library, the packages of its domain and other files of this folder.
"""

from __future__ import annotations

import re
from pathlib import Path

_NEIGHBOUR = re.compile(rf"^from {re.escape(__name__)}\.(\w+) import .*\n", re.MULTILINE)


def source_of(name: str) -> str:
    """Return the source of the file ``name``.py in this folder. Imports from this folder are replaced by the source they import."""
    source = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    return _NEIGHBOUR.sub(lambda neighbour: source_of(neighbour[1]), source)
