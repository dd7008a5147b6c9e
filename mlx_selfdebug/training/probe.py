"""Measure the memory and time of an optimizer step by making steps with a few of the model's layers.

Memory and time grow by the same amount with every layer that has an adapter. So two measurements, one with a few layers and one
with twice as many, tell what all layers take: if 2 layers take 1.0 GB and 4 take 1.4 GB, 24 take 1.0 + 22 * 0.2 = 5.4 GB. The
measured steps use the real kernels and buffers, which no formula has to describe. The memory of a step is measured *in addition to*
the weights, so it does not matter whether the other layers are loaded. Results are kept in the cache folder by machine, versions,
model and shapes.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import device_name, mx, nn

from mlx.utils import tree_flatten

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.errors import StoreError, TrainingError
from mlx_selfdebug.machine.cache_folder import default_cache_dir
from mlx_selfdebug.machine.this_machine import hardware
from mlx_selfdebug.machine.versions import versions
from mlx_selfdebug.store import write_atomically
from mlx_selfdebug.training.adapter import insert_adapter, remove_adapter
from mlx_selfdebug.training.examples import Example
from mlx_selfdebug.training.loop import StepShape, optimizer_of, train_steps

logger = logging.getLogger(__name__)

MIN_LAYERS, MIN_RECOMPUTING_LAYERS = 2, 4
"""The smallest number of layers to measure: without and with layers that recompute.

With few layers that recompute, the peak is what the single layer at work takes. It does not yet grow with the inputs that layers
keep.
"""
UNADAPTED_SHARE = 0.4
"""The time of a layer without an adapter, as a share of the time of a layer with one. The step only passes through it forward."""


@dataclass(frozen=True)
class Rows:
    """The size of a micro-batch."""

    n: int
    """The number of rows."""
    length: int
    """The number of tokens per row, including padding."""
    supervised: int
    """The number of supervised tokens per row."""


@dataclass(frozen=True)
class StepCost:
    """What one optimizer step takes."""

    layers: int
    """The number of layers, all of which have an adapter."""
    peak_bytes: int
    """MLX's peak memory in addition to the weights."""
    gradient_bytes: int
    """The size of the gradient."""
    wall_s: float
    """The seconds of the step."""


@dataclass(frozen=True)
class Costs:
    """Two measurements, from which the cost with any number of layers follows."""

    few: StepCost
    """The cost of a step with a few layers."""
    more: StepCost
    """The cost of a step with up to twice as many layers. It is the same as ``few`` if the model has no more."""

    def peak_bytes(self, adapted: int) -> int:
        """Return the peak in bytes, in addition to the weights, if ``adapted`` layers have an adapter. The others keep nothing."""
        return round(self._at(adapted, self.few.peak_bytes, self.more.peak_bytes))

    def gradient_bytes(self, adapted: int) -> int:
        """Return the size of the gradient in bytes, if ``adapted`` layers have an adapter."""
        return round(self._at(adapted, self.few.gradient_bytes, self.more.gradient_bytes))

    def layers_s(self, adapted: int, others: int) -> float:
        """Return the seconds that a step spends in the layers, ``adapted`` of them with an adapter and ``others`` without."""
        per_layer = (self.more.wall_s - self.few.wall_s) / max(1, self.more.layers - self.few.layers)
        return max(0.0, per_layer) * (adapted + UNADAPTED_SHARE * others)

    def head_s(self) -> float:
        """Return the seconds that a step spends outside the layers: in the head, and in all that is done once per step."""
        return max(0.0, self._at(0, self.few.wall_s, self.more.wall_s))

    def _at(self, layers: int, few: float, more: float) -> float:
        """Extrapolate a figure to ``layers`` layers in a straight line through its two measured values."""
        if self.more.layers == self.few.layers:
            return few
        return few + (layers - self.few.layers) * (more - few) / (self.more.layers - self.few.layers)


def measure(
    network: nn.Module, model_config: dict[str, Any], config: TrainConfig, rows: Rows, shape: StepShape
) -> Costs:
    """Return the costs of a step over one micro-batch, measured now or taken from the cache.

    Args:
        network: the whole network, or its first layers, at least twice as many as ``min_layers`` says. It is left as it was.
        model_config: the content of the model's ``config.json``.
        config: the settings of training, of which only the adapter's matter.
        rows: the size of the micro-batch.
        shape: whether layers recompute.
    """
    file = default_cache_dir() / "probes" / f"{_key(model_config, config, rows, shape)}.json"
    cached = _read_costs(file)
    if cached is not None:
        return cached
    total = len(network.layers)
    few = min(total, min_layers(model_config, recompute=shape.recompute))
    more = min(total, 2 * few)
    costs = Costs(*(_measure_step(network, layers, config, rows, shape) for layers in (few, more)))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(asdict(costs)))
    except (OSError, StoreError) as error:
        logger.debug("the probe's result is not kept: %s", error)
    return costs


def _read_costs(file: Path) -> Costs | None:
    """Return the costs in a file of the cache, or None if there is no such file or if it is damaged."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Costs(StepCost(**content["few"]), StepCost(**content["more"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def layer_count(model_config: dict[str, Any]) -> int:
    """Return the number of layers of the whole model. Some configurations keep it under ``text_config``."""
    return int(model_config.get("text_config", model_config)["num_hidden_layers"])


def min_layers(model_config: dict[str, Any], *, recompute: bool = True) -> int:
    """Return how many of the first layers to measure, so that every kind of layer of the model is among them."""
    text = model_config.get("text_config", model_config)
    # In a model with recurrent layers, only every n-th layer is one of full attention.
    interval = int(text.get("full_attention_interval") or 1)
    return max(MIN_RECOMPUTING_LAYERS if recompute else MIN_LAYERS, interval)


def _measure_step(network: nn.Module, layers: int, config: TrainConfig, rows: Rows, shape: StepShape) -> StepCost:
    """Return the cost of a step with the first ``layers`` layers of ``network``, over ``rows`` of tokens that do not matter.

    Two steps are measured. A step before them creates the optimizer's state and whatever else is made only once.
    """
    start = rows.length + 1 - rows.supervised
    # The prompt of a task alone is about half as long as one that shows failed code too.
    base_prompt = (1,) * max(1, start // 2) if config.distilled_share else ()
    examples = [Example((1,) * (rows.length + 1), start, base_prompt=base_prompt)] * rows.n
    # All rows make up one step, so each of the three epochs is one step.
    probe_config = TrainConfig(
        method=config.method,
        rank=config.rank,
        scale=config.scale,
        batch_size=rows.n,
        epochs=3,
        distilled_share=config.distilled_share,
    )
    was_training, bytes_before = network.training, mx.get_active_memory()
    with first_layers(network, layers):
        insert_adapter(network, probe_config, 0)
        try:
            optimizer = optimizer_of(probe_config, 3)
            steps = train_steps(
                network, examples, probe_config, 0, optimizer, shape=shape, start=None, advance=lambda _n, _note: None
            )
            next(steps)
            mx.clear_cache()
            mx.reset_peak_memory()
            step_times = []
            with suppress(TrainingError):  # a step whose loss is not finite takes as long as any other
                for step in steps:
                    step_times.append(step.wall_s)  # noqa: PERF401
            peak = mx.get_peak_memory() - bytes_before
            gradient = sum(array.nbytes for _, array in tree_flatten(network.trainable_parameters()))
        finally:
            remove_adapter(network)
            network.train(was_training)
    mx.clear_cache()
    return StepCost(layers, peak, gradient, min(step_times))


@contextmanager
def first_layers(network: nn.Module, layers: int) -> Iterator[None]:
    """Reduce ``network`` to its first ``layers`` layers inside the block."""
    # ``network.layers`` may be a copy, so the list that the network itself goes through is looked up among its modules.
    first = network.layers[0]
    lists = [module["layers"] for _, module in network.named_modules() if "layers" in module]
    own_list = next(layers for layers in lists if any(layer is first for layer in layers))
    all_layers = list(own_list)
    del own_list[layers:]
    try:
        yield
    finally:
        own_list[:] = all_layers


def _key(model_config: dict[str, Any], config: TrainConfig, rows: Rows, shape: StepShape) -> str:
    """Return the name of the file in which a measurement is kept: a digest of all that it depends on."""
    depends_on = {
        "model": model_config,
        "adapter": (config.method, config.rank),
        "distilled": config.distilled_share > 0,
        "rows": asdict(rows),
        "recompute": shape.recompute,
        "machine": [hardware()[name] for name in ("machine", "chip", "cores", "memory_bytes")],
        "versions": versions(),
        "device": device_name(),
    }
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True, default=str).encode()).hexdigest()[:24]
