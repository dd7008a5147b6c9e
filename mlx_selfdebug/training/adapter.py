"""Put adapters into a model, take them out or merge them, and keep them on disk in mlx-lm's format.

``mlx_lm.generate --adapter-path FOLDER`` reads a saved adapter as it is. Adapters in PEFT's format can be opened, too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.tuner.dora import DoRAEmbedding, DoRALinear
from mlx_lm.tuner.lora import LoRAEmbedding, LoRALinear, LoRASwitchLinear
from mlx_lm.tuner.utils import linear_to_lora_layers

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.errors import ModelError, StoreError, TrainingError
from mlx_selfdebug.models.adapters import SETTINGS, WEIGHTS, add_adapter, read_origin, weights_of
from mlx_selfdebug.models.dora import any_bits
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.store import write_atomically

AdapterSettings = dict[str, Any]
"""The settings that describe an adapter's layers, in the form of mlx-lm's ``adapter_config.json``."""
_ADAPTED = (LoRALinear, LoRASwitchLinear, DoRALinear)
"""mlx-lm's layers of adapters that wrap a linear layer."""
_ADAPTED_EMBEDDINGS = (LoRAEmbedding, DoRAEmbedding)
"""mlx-lm's layers of adapters that wrap an embedding."""


@dataclass(frozen=True)
class Adapter:
    """A trained adapter on disk, in mlx-lm's format or in PEFT's."""

    path: Path
    """The folder that holds its weights and settings."""
    base: str
    """The origin of the model that the adapter was trained on, or "" if its settings do not say.

    The settings of PEFT name a model, but not its exact weights.
    """

    def digest(self) -> str:
        """Return the SHA-256 of the file of weights, in hexadecimal."""
        with weights_of(self.path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def require_base(self, model: Model) -> None:
        """Raise ModelError if the adapter is known to be trained on other weights than those of ``model``."""
        if self.base not in ("", model.origin):
            raise ModelError(f"the adapter {self.path} was trained on {self.base}, but the model is {model.origin}")

    @contextmanager
    def applied(self, model: Model) -> Iterator[None]:
        """Apply the adapter to ``model`` inside the block, after which ``model`` is the base again.

        Raises ModelError if the adapter was trained on other weights or does not fit.
        """
        self.require_base(model)
        try:
            add_adapter(model.network, self.path, model.name)
        except ModelError:
            remove_adapter(model.network)
            raise
        model.network.eval()
        try:
            yield
        finally:
            remove_adapter(model.network)
            model.network.eval()


def open_adapter(path: str | Path) -> Adapter:
    """Return the adapter in the folder ``path``, in mlx-lm's format or in PEFT's.

    Raises ModelError if there is no adapter, or if it has settings that mlx-lm cannot follow.
    """
    return Adapter(Path(path), read_origin(Path(path)))


def insert_adapter(network: nn.Module, config: TrainConfig, seed: int) -> AdapterSettings:
    """Freeze ``network``, put fresh LoRA or DoRA layers into it, and return the settings that describe them.

    The same seed gives the same initial weights. Raises TrainingError if the network has layers that DoRA does not know.
    """
    network.freeze()
    total = len(network.layers)
    layers = total if config.layers < 0 else min(config.layers, total)
    parameters = {"rank": config.rank, "scale": config.scale, "dropout": 0.0}
    mx.random.seed(seed)
    try:
        with any_bits():
            linear_to_lora_layers(network, layers, parameters, use_dora=config.method == "dora")
    except ValueError as error:
        remove_adapter(network)
        raise TrainingError(
            f"{config.method} cannot be trained on this model: {error}",
            hint="train with --train-method lora, in a branch of the run: mlx-selfdebug runs branch",
        ) from error
    mx.eval(network.trainable_parameters())
    return {"fine_tune_type": config.method, "num_layers": layers, "lora_parameters": parameters}


def remove_adapter(network: nn.Module) -> None:
    """Replace the layers of an adapter by the layers that they wrap, in place.

    mlx-lm's own function for this is not used, because it leaves DoRA's layers in place.
    """
    modules = network.named_modules()
    originals = [(name, module.linear) for name, module in modules if isinstance(module, _ADAPTED)]
    originals += [(name, module.embedding) for name, module in modules if isinstance(module, _ADAPTED_EMBEDDINGS)]
    network.update_modules(tree_unflatten(originals))


def merge_adapter(network: nn.Module) -> None:
    """Replace the layers of an adapter by dense layers that compute the same, in place.

    The layers are merged one after the other, so that little more memory is needed than the new weights take.
    """
    adapted = _adapted_modules(network)
    while adapted:
        name, module = adapted.pop()
        merged = module.fuse(dequantize=True)
        mx.eval(merged.parameters())
        network.update_modules(tree_unflatten([(name, merged)]))


def _adapted_modules(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the layers of an adapter in ``network``, by their names."""
    kinds = (*_ADAPTED, *_ADAPTED_EMBEDDINGS)
    return [(name, module) for name, module in network.named_modules() if isinstance(module, kinds)]


@contextmanager
def without_adapter(network: nn.Module) -> Iterator[None]:
    """Take the adapter's layers out of ``network`` inside the block, so that it is the base there, and put them back after it."""
    adapted = _adapted_modules(network)
    remove_adapter(network)
    try:
        yield
    finally:
        network.update_modules(tree_unflatten(adapted))


def mark_adapter(path: Path, about: Mapping[str, Any]) -> None:
    """Add ``about`` to the settings of the adapter at ``path``. mlx-lm ignores keys that it does not know."""
    file = path / SETTINGS
    settings = json.loads(file.read_text(encoding="utf-8"))
    write_atomically(file, json.dumps({**settings, **about}, indent=2) + "\n")


def save_adapter(network: nn.Module, path: Path, settings: AdapterSettings, base: str) -> Adapter:
    """Write the trainable weights of ``network`` to ``path``, then the settings, and return the adapter.

    ``base`` is the origin of the model. A folder without settings does not count as an adapter. So the settings are written last,
    and a folder in which the weights are not complete is never opened. Raises StoreError if the folder cannot be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        partial = path / ("partial." + WEIGHTS)
        mx.save_safetensors(str(partial), dict(tree_flatten(network.trainable_parameters())))
        os.replace(partial, path / WEIGHTS)
    except (OSError, RuntimeError) as error:
        raise StoreError(
            f"the adapter cannot be written to {path}: {error}", hint="free some space and train again"
        ) from error
    write_atomically(path / SETTINGS, json.dumps({**settings, "base_origin": base}, indent=2) + "\n")
    return Adapter(path, base)
