"""The hub's own client against a small hub on this machine, and against no hub at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from mlx_selfdebug.errors import DownloadError, FormatError, ModelError
from mlx_selfdebug.models import hub
from mlx_selfdebug.models.hub import fetch_hub, find_hub

from ..support.hub import SHA, Hub, Repository, running_hub

REPO = "someone/tiny"
FILES = {
    "config.json": b'{"model_type": "qwen2"}',
    "tokenizer.json": b"{}",
    "model.safetensors": b"\x02\0\0\0\0\0\0\0{}" + bytes(5000),
    "modeling_tiny.py": b"raise SystemExit('run')",
    "pytorch_model.bin": b"\x80pickle",
}


@pytest.fixture
def local_hub(own_caches: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as local:
        local.repositories[REPO] = Repository(dict(FILES), private=False)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", local.address)
        template = f"{local.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield local


@pytest.fixture
def no_hub(own_caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")


def test_data_is_fetched_and_code_and_pickles_are_not(local_hub: Hub) -> None:
    path = fetch_hub(REPO)
    assert sorted(p.name for p in path.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert local_hub.downloaded == {"config.json", "model.safetensors", "tokenizer.json"}
    assert path.name == SHA


def test_what_was_fetched_is_found_without_a_network(local_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch_hub(REPO)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert find_hub(REPO) == path


def test_weights_that_differ_from_the_hubs_checksum_are_removed(local_hub: Hub) -> None:
    local_hub.repositories[REPO].stated_sha256["model.safetensors"] = "1" * 64
    with pytest.raises(FormatError, match=r"model\.safetensors differs"):
        fetch_hub(REPO)
    assert find_hub(REPO) is None


def test_an_incomplete_snapshot_is_not_taken_for_a_model(local_hub: Hub) -> None:
    (fetch_hub(REPO) / "model.safetensors").unlink()
    assert find_hub(REPO) is None


def index(*names: str) -> str:
    return json.dumps({"weight_map": {f"layer.{number}": name for number, name in enumerate(names)}})


def test_an_index_left_over_beside_whole_weights_is_not_heeded(local_hub: Hub) -> None:
    path = fetch_hub(REPO)
    (path / "model.safetensors.index.json").write_text(index("model-1-of-2.safetensors", "model-2-of-2.safetensors"))
    assert find_hub(REPO) == path


@pytest.mark.parametrize("there", [("model-1-of-2.safetensors",), ()])
def test_an_index_that_names_weights_that_are_not_there_is_an_incomplete_model(
    local_hub: Hub, there: tuple[str, ...]
) -> None:
    path = fetch_hub(REPO)
    (path / "model.safetensors.index.json").write_text(index("model-1-of-2.safetensors", "model-2-of-2.safetensors"))
    for name in there:
        (path / name).write_bytes(b"")
    if not there:
        (path / "model.safetensors").rename(path / "other.safetensors")
    assert find_hub(REPO) is None


def test_a_repository_nobody_has_is_told_as_such(local_hub: Hub) -> None:
    with pytest.raises(ModelError, match="no public model 'someone/else'"):
        fetch_hub("someone/else")


def test_no_hub_is_told_at_once(no_hub: None) -> None:
    began = time.monotonic()
    with pytest.raises(DownloadError, match="cannot be reached"):
        fetch_hub(REPO)
    assert time.monotonic() - began < 8


def test_a_hub_that_never_answers_is_given_up(own_caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = threading.Event()
    monkeypatch.setattr(hub, "PROBE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *args, **kwargs: stuck.wait())
    with pytest.raises(DownloadError, match="no answer within"):
        fetch_hub(REPO)
    stuck.set()
