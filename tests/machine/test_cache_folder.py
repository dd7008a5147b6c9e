"""The cache folder is where the platform keeps such things, unless the user names another."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.machine import cache_folder


@pytest.mark.parametrize(
    ("platform", "xdg", "expected"),
    [
        ("darwin", "/xdg", "Library/Caches/mlx-selfdebug"),
        ("linux", "", ".cache/mlx-selfdebug"),
        ("linux", "relative", ".cache/mlx-selfdebug"),
        ("linux", "/xdg", "/xdg/mlx-selfdebug"),
    ],
)
def test_the_cache_is_where_the_platform_keeps_such_things(
    platform: str, xdg: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(cache_folder.CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    monkeypatch.setattr(cache_folder.sys, "platform", platform)
    assert cache_folder.default_cache_dir() == Path.home() / expected


def test_without_a_home_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.delenv(cache_folder.CACHE_VARIABLE, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(cache_folder.Path, "home", homeless)
    with pytest.raises(UsageError, match="no home directory"):
        cache_folder.default_cache_dir()
