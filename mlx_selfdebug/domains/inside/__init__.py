"""The source code that runs inside test runs.

The other files of this folder are read as text, which becomes part of the program that the sandbox runs, or of the checks of a
task. Each file imports only the standard library, the packages of its domain and other files of this folder.
"""

from __future__ import annotations

import re
from pathlib import Path

_IMPORT_FROM_HERE = re.compile(rf"^from {re.escape(__name__)}\.(\w+) import .*\n", re.MULTILINE)


def source_of(name: str) -> str:
    """Return the source of the file ``name``.py in this folder, with the imported files of this folder in place of their imports.

    A test run cannot import this package.
    """
    source = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    return _IMPORT_FROM_HERE.sub(lambda match: source_of(match[1]), source)
