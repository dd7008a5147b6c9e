"""One real test runner for the whole folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Write = Callable[..., Path]


@pytest.fixture(scope="session")
def runner() -> Iterator[Any]:
    from mlx_selfdebug.sandbox import TestRunner

    with TestRunner(workers=2) as runner:
        yield runner


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write lines to a task file and return its path."""

    def write(*lines: str) -> Path:
        path = tmp_path / "mine.jsonl"
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return path

    return write
