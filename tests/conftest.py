"""Shared fixtures: a tiny real model, a fresh run, a real test runner."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from mlx_selfdebug.store import Run

settings.register_profile("untimed", deadline=None)  # how long a test takes never fails it
settings.load_profile("untimed")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run(tmp_path / "run") as opened:
        yield opened


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mlx_selfdebug.testing import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def tiny(tiny_folder: Path) -> Any:
    from mlx_selfdebug.models.load import load_model

    return load_model(str(tiny_folder))


@pytest.fixture(scope="session")
def runner() -> Iterator[Any]:
    from mlx_selfdebug.sandbox import TestRunner

    with TestRunner(workers=2) as runner:
        yield runner
