"""Makes adapters that change what a tiny model writes, and models of unusual configurations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx

from mlx.utils import tree_flatten, tree_map
from mlx_lm.tuner.utils import linear_to_lora_layers

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.models.load import Model, load_model
from mlx_selfdebug.testing import write_tiny_model
from mlx_selfdebug.training.adapter import Adapter, insert_adapter, remove_adapter, save_adapter


def random_adapter(model: Model, folder: Path, method: str = "lora", seed: int = 0) -> Adapter:
    """An adapter with random weights, none of which is zero."""
    settings = insert_adapter(model.network, TrainConfig(method=method, rank=4, scale=2.0), seed)
    return _saved_at_random(model, folder, settings, seed)


def embedding_adapter(model: Model, folder: Path) -> Adapter:
    """An adapter of the embedding alone, as mlx-lm makes them if it is told to."""
    parameters = {"rank": 4, "scale": 2.0, "dropout": 0.0, "keys": ["model.embed_tokens"]}
    model.network.freeze()
    linear_to_lora_layers(model.network, 1, parameters)
    settings = {"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": parameters}
    return _saved_at_random(model, folder, settings, seed=0)


def _saved_at_random(model: Model, folder: Path, settings: dict[str, Any], seed: int) -> Adapter:
    mx.random.seed(seed + 1)
    weights = tree_map(lambda array: array + 0.1 * mx.random.normal(array.shape), model.network.trainable_parameters())
    model.network.update(weights)
    adapter = save_adapter(model.network, folder, settings, model.origin)
    remove_adapter(model.network)
    model.network.eval()
    return adapter


def tiny_with(folder: Path, architecture: str, **changes: Any) -> Model:
    """A tiny model whose configuration has ``changes``, with random weights of the shapes that it then has."""
    from importlib import import_module

    write_tiny_model(folder, architecture=architecture)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    module = import_module(f"mlx_lm.models.{architecture}")
    mx.random.seed(3)
    network = module.Model(module.ModelArgs.from_dict(config))
    weights = {name: mx.random.normal(array.shape) * 0.1 for name, array in tree_flatten(network.parameters())}
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    return load_model(str(folder))
