"""Source code that runs inside test runs, where its text becomes part of a program or of checks.

Each file imports only the standard library and the packages of its domain.
"""

from __future__ import annotations

from pathlib import Path


def source_of(name: str) -> str:
    """Return the source of the file ``name``.py in this folder."""
    return (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
