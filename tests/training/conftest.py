from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def probe_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("probes")


@pytest.fixture(autouse=True)
def probes_of_tests_are_kept_apart(monkeypatch: pytest.MonkeyPatch, probe_cache: Path) -> None:
    monkeypatch.setattr("mlx_selfdebug.training.probe.default_cache_dir", lambda: probe_cache)
