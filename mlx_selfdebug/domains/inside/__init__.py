"""Code that runs inside test runs: its text becomes part of a program or of checks. It imports the standard library alone."""

from __future__ import annotations

from pathlib import Path


def source_of(name: str) -> str:
    """The text of a file of this folder."""
    return (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
