"""What an optimizer step takes, found by making one with a few of the model's layers.

Memory and time of a step grow by the same amount with every layer that has an adapter, so steps with a few layers and with twice as
many tell what all of them take: real kernels, real buffers, nothing modelled. The layers come with or without the others: what is
measured is what a step takes *beside* the weights. Results are kept in the cache folder, by machine, versions, model and shapes.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from mlx_selfdebug.models.backend import device_name, mx, nn

from mlx.utils import tree_flatten

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.errors import StoreError, TrainingError
from mlx_selfdebug.machine.facts import hardware
from mlx_selfdebug.machine.versions import versions
from mlx_selfdebug.models.cache import default_cache_dir
from mlx_selfdebug.store import write_atomically
from mlx_selfdebug.training.adapter import insert_adapter, remove_adapter
from mlx_selfdebug.training.examples import Example
from mlx_selfdebug.training.loop import Shape, optimizer_of, train_steps

logger = logging.getLogger(__name__)

FEWEST_LAYERS, FEWEST_RECOMPUTING = 2, 4
"""Where layers recompute, the peak is one layer's at its work until several have kept their input."""
PASSED_THROUGH = 0.4
"""Seconds of a layer without an adapter, which is only passed through, as a share of one with."""


@dataclass(frozen=True)
class Rows:
    """Rows of a micro-batch: how many, of how many tokens, of them supervised."""

    n: int
    length: int
    supervised: int


@dataclass(frozen=True)
class StepCost:
    """What a step takes: MLX's peak bytes beside the weights, those of the gradient, and seconds. ``layers`` have an adapter."""

    layers: int
    peak_bytes: int
    gradient_bytes: int
    wall_s: float


@dataclass(frozen=True)
class Costs:
    """Two measurements, and what follows for any number of layers."""

    few: StepCost
    more: StepCost

    def peak_bytes(self, adapted: int) -> int:
        """Beside the weights, with ``adapted`` layers that have an adapter; the others keep nothing."""
        return round(self._at(adapted, self.few.peak_bytes, self.more.peak_bytes))

    def gradient_bytes(self, adapted: int) -> int:
        return round(self._at(adapted, self.few.gradient_bytes, self.more.gradient_bytes))

    def layers_s(self, adapted: int, others: int) -> float:
        """Seconds of a step without the head."""
        each = (self.more.wall_s - self.few.wall_s) / max(1, self.more.layers - self.few.layers)
        return max(0.0, each) * (adapted + PASSED_THROUGH * others)

    def head_s(self) -> float:
        """Seconds of the head, and of what there is once a step."""
        return max(0.0, self._at(0, self.few.wall_s, self.more.wall_s))

    def _at(self, layers: int, few: float, more: float) -> float:
        if self.more.layers == self.few.layers:
            return few
        return few + (layers - self.few.layers) * (more - few) / (self.more.layers - self.few.layers)


def measure(network: nn.Module, model_config: dict[str, Any], config: TrainConfig, rows: Rows, shape: Shape) -> Costs:
    """Measured now, or kept from before. ``network`` is whole, or the model's first layers: twice ``fewest_layers`` at least.

    It is left as it was.
    """
    file = default_cache_dir() / "probes" / f"{_key(model_config, config, rows, shape)}.json"
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return Costs(StepCost(**kept["few"]), StepCost(**kept["more"]))
    except (OSError, ValueError, KeyError, TypeError):
        costs = _measure(network, model_config, config, rows, shape)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(asdict(costs)))
    except (OSError, StoreError) as error:
        logger.debug("the probe's result is not kept: %s", error)
    return costs


def layer_count(model_config: dict[str, Any]) -> int:
    return int(model_config.get("text_config", model_config)["num_hidden_layers"])


def fewest_layers(model_config: dict[str, Any], *, recompute: bool = True) -> int:
    """A number of layers among which is every kind that the model has."""
    text = model_config.get("text_config", model_config)
    return max(FEWEST_RECOMPUTING if recompute else FEWEST_LAYERS, int(text.get("full_attention_interval") or 1))


def _measure(network: nn.Module, model_config: dict[str, Any], config: TrainConfig, rows: Rows, shape: Shape) -> Costs:
    total = len(network.layers)
    few = min(total, fewest_layers(model_config, recompute=shape.recompute))
    return Costs(*(_step_of(network, layers, config, rows, shape) for layers in (few, min(total, 2 * few))))


def _step_of(network: nn.Module, layers: int, config: TrainConfig, rows: Rows, shape: Shape) -> StepCost:
    """Of two steps after a first one, which brings the optimizer's state and whatever is made once."""
    start = rows.length + 1 - rows.supervised
    examples = [Example((1,) * (rows.length + 1), start)] * rows.n
    how = TrainConfig(method=config.method, rank=config.rank, scale=config.scale, batch_size=rows.n, epochs=3)
    training, before = network.training, mx.get_active_memory()
    with first_layers(network, layers):
        insert_adapter(network, how, 0)
        try:
            optimizer = optimizer_of(how, 3)
            steps = train_steps(
                network, examples, how, 0, optimizer, shape=shape, start=None, advance=lambda _n, _note: None
            )
            next(steps)
            mx.clear_cache()
            mx.reset_peak_memory()
            walls = []
            with suppress(TrainingError):  # what the numbers are does not matter here
                for step in steps:
                    walls.append(step.wall_s)  # noqa: PERF401
            peak = mx.get_peak_memory() - before
            gradient = sum(array.nbytes for _, array in tree_flatten(network.trainable_parameters()))
        finally:
            remove_adapter(network)
            network.train(training)
    mx.clear_cache()
    return StepCost(layers, peak, gradient, min(walls))


@contextmanager
def first_layers(network: nn.Module, layers: int) -> Iterator[None]:
    """The network has its first ``layers`` layers alone inside the block."""
    # ``network.layers`` may be a copy of the list that counts.
    first = network.layers[0]
    lists = [m["layers"] for _, m in network.named_modules() if "layers" in m]
    held = next(layers for layers in lists if any(layer is first for layer in layers))
    whole = list(held)
    del held[layers:]
    try:
        yield
    finally:
        held[:] = whole


def _key(model_config: dict[str, Any], config: TrainConfig, rows: Rows, shape: Shape) -> str:
    known = {
        "model": model_config,
        "adapter": (config.method, config.rank),
        "rows": asdict(rows),
        "recompute": shape.recompute,
        "machine": [hardware()[name] for name in ("machine", "chip", "cores", "memory_bytes")],
        "versions": versions(),
        "device": device_name(),
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()[:24]
