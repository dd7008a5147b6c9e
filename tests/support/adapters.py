"""Adapters with random weights that change what a tiny model computes, written as training writes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx

import numpy as np
from mlx.utils import tree_flatten

import mlx_selfdebug as sd
from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.training.adapter import Adapter, insert_adapter, remove_adapter, save_adapter

IDS = [[5, 9, 104, 33, 101, 116, 7, 250]]
"""Token ids that every tiny model reads."""


def random_adapter(model: Model, folder: Path, **settings: Any) -> Adapter:
    """Write an adapter of ``model`` to ``folder``. ``settings`` are those of training, such as ``method`` and ``layers``."""
    described = insert_adapter(model.network, replace(TrainConfig(), **{"rank": 4, **settings}), seed=1)
    mx.random.seed(2)
    changed = []
    for name, array in tree_flatten(model.network.trainable_parameters()):
        if name.endswith("lora_b"):
            array = mx.random.normal(array.shape) * 0.1
        elif name.endswith(".m"):
            array = array * mx.random.uniform(0.8, 1.2, array.shape)
        changed.append((name, array))
    model.network.load_weights(changed, strict=False)
    adapter = save_adapter(model.network, folder, described, model.origin)
    remove_adapter(model.network)
    return adapter


def logits(network: Any, ids: list[list[int]] = IDS) -> np.ndarray:
    """The logits of a network for each of the ids, in float32."""
    return np.array(network(mx.array(ids)).astype(mx.float32))


def logits_with(model: Model, adapter: Adapter) -> np.ndarray:
    with adapter.applied(model):
        return logits(model.network)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first - second).max())


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def to_peft(adapter: Adapter, folder: Path) -> Path:
    """Export an adapter in PEFT's format."""
    return sd.export(adapter.path, to="peft", output=folder).path


def back(folder: Path) -> dict[str, bytes]:
    """The two files of the adapter that one in PEFT's format becomes in mlx-lm's."""
    files = files_of(sd.export(folder, to="mlx", output=folder.with_name("back")).path)
    return {name: files[name] for name in ("adapters.safetensors", "adapter_config.json")}
