"""Shared fixtures: attempts made by hand, a tiny real model, a fresh run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from mlx_selfdebug.config import Config, resolve
from mlx_selfdebug.store import Run
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.verdict import ErrorFact, Failure, Verdict

settings.register_profile("untimed", deadline=None)  # how long a test takes never fails it
settings.load_profile("untimed")

FAILED = Verdict(
    "failed", (Failure("hidden[0]", "3", "9", "value", "6", ErrorFact("ValueError", "no", 2, "raise")),), 1, 2
)


def make_attempt(**changes: Any) -> Attempt:
    verdict = changes.get("verdict", Verdict("passed", n_passed=2, n_checks=2))
    values: dict[str, Any] = {
        "task_id": "test/square",
        "arm": "collect",
        "sample": 0,
        "round": 0,
        "parent": "",
        "prompt": "Write it.",
        "completion": "def square(x):\n    return x * x\n",
        "code": "def square(x):\n    return x * x\n",
        "verdict": verdict,
        "public": verdict,
        "n_prompt_tokens": 5,
        "n_completion_tokens": 9,
        "seed": 2**62,
        "finish": "fence",
    }
    return Attempt(**{**values, **changes})


def small_config(**overrides: Any) -> Config:
    return resolve(overrides={key.replace("__", "."): value for key, value in overrides.items()}, environment={}).config


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
