"""A tiny model with an adapter that changes what it computes, and a run that holds both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.models.load import Model, load_model
from mlx_selfdebug.store import Run
from mlx_selfdebug.training.adapter import Adapter

from ..support.adapters import random_adapter
from ..support.values import small_config


@pytest.fixture
def model(tiny_folder: Path) -> Model:
    return load_model(str(tiny_folder))


@pytest.fixture
def adapter(model: Model, tmp_path: Path) -> Adapter:
    return random_adapter(model, tmp_path / "ours")


@pytest.fixture
def trained(model: Model, tmp_path: Path) -> Any:
    """The folder of a run that was trained and not evaluated."""
    with Run(tmp_path / "run", small_config(model=str(model.path))) as run:
        random_adapter(model, run.adapter_path)
    return tmp_path / "run"
