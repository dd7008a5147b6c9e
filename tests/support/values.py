"""A failed verdict and small settings."""

from __future__ import annotations

from typing import Any

from mlx_selfdebug.config import Config, load_config
from mlx_selfdebug.values.verdict import ErrorFact, Failure, Verdict

FAILED = Verdict(
    "failed", (Failure("hidden[0]", "3", "9", "value", "6", ErrorFact("ValueError", "no", 2, "raise")),), 1, 2
)


def small_config(**overrides: Any) -> Config:
    return load_config(overrides={key.replace("__", "."): value for key, value in overrides.items()}, environment={})
