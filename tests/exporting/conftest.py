"""A hub on this machine, and a run with an adapter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from mlx_selfdebug.store import Key, Run

from ..support.hub import Hub, running_hub
from ..support.values import small_config

WEIGHTS = b"\x02\0\0\0\0\0\0\0{}" + bytes(5000)
SETTINGS = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": {"rank": 8, "scale": 2.0, "dropout": 0.0}}


def write_adapter(folder: Path, **settings: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapters.safetensors").write_bytes(WEIGHTS)
    (folder / "adapter_config.json").write_text(json.dumps({**SETTINGS, **settings}))
    return folder


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The folder of a run with an adapter, and with everything else that such a folder may hold."""
    folder = tmp_path / "runs" / "mine"
    with Run(folder, small_config(model="qwen2.5-coder-0.5b")) as run:
        run.remember(Key.MODEL, "gguf:1d9614638d18")
    write_adapter(folder / "adapter", base_origin="gguf:1d9614638d18")
    for name in (
        "report.html",
        "summary.json",
        "training/optimizer.safetensors",
        "adapter/train.log",
        "adapter/optimizer.safetensors",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("not for others")
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, and a user who is logged in to it."""
    with running_hub() as local:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", local.address)
        # What the hub's client does without the package hf_xet, whose own server is not to be had here.
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        monkeypatch.delenv("HF_OIDC_RESOURCE", raising=False)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield local
