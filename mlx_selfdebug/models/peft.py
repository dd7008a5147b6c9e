"""Read adapters in PEFT's format: folders with adapter_config.json and adapter_model.safetensors.

PEFT is the library of adapters for the models of transformers. Its two matrices of a layer are those of mlx-lm, transposed, and the
factor of their product follows from ``lora_alpha`` and the rank. An adapter whose layers compute the same in mlx-lm is read. Any
other is refused with an error that names the setting or the tensor. Weights that are pickles are never opened.

    for name, layer in read_peft_layers(folder, read_peft_settings(folder)).items():
        print(name, layer.rank, layer.scale)  # model.layers.0.self_attn.q_proj 8 2.0
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

from mlx.utils import tree_unflatten
from mlx_lm.tuner.dora import DoRALinear
from mlx_lm.tuner.lora import LoRALinear

from mlx_selfdebug.errors import FormatError, ModelError
from mlx_selfdebug.models.peft_settings import MERGE_IN_PEFT, PEFT_WEIGHTS, PeftSettings, read_peft_settings

PREFIX = "base_model.model."
"""What the name of a layer begins with in the file of weights. The name of the layer in transformers follows."""
SUFFIXES = {
    "lora_A.weight": "lora_a",
    "lora_B.weight": "lora_b",
    "lora_magnitude_vector": "m",
    "lora_magnitude_vector.weight": "m",
}
"""The ends of the names of tensors, and the names of the same arrays in mlx-lm. PEFT reads either name of a magnitude."""


@dataclass(frozen=True)
class PeftLayer:
    """The weights of one layer of an adapter, in mlx-lm's form."""

    lora_a: mx.array
    """The matrix of shape (inputs, rank)."""
    lora_b: mx.array
    """The matrix of shape (rank, outputs)."""
    m: mx.array | None
    """The magnitudes of DoRA, of shape (outputs,), or None."""
    scale: float
    """The factor of the product of the two matrices."""

    @property
    def rank(self) -> int:
        """The number of columns of ``lora_a``."""
        return int(self.lora_a.shape[1])


def read_peft_layers(folder: Path, settings: PeftSettings) -> dict[str, PeftLayer]:
    """Return the layers of the adapter in ``folder``, by their names in transformers. ``settings`` belong to the same adapter.

    Raises ModelError if the file of weights is damaged, or holds anything but the layers that ``settings`` describe.
    """
    file = folder / PEFT_WEIGHTS
    grouped: dict[str, dict[str, mx.array]] = {}
    for name, array in load_arrays(file).items():
        layer, leaf = _split(file, name)
        grouped.setdefault(layer, {})[leaf] = array
    if not grouped:
        raise FormatError(f"{file} holds no weights")
    return {layer: _layer(file, layer, leaves, settings) for layer, leaves in sorted(grouped.items())}


def add_peft_adapter(network: nn.Module, folder: Path, name: str) -> PeftSettings:
    """Add the adapter of PEFT in ``folder`` to ``network``, in place, and return its settings.

    Each layer keeps the rank and the scale that it has in PEFT. ``name`` is the name of the network's model, for messages. Raises
    ModelError if the adapter cannot be read, as the functions above do, or if a layer does not fit the network. The network is then
    left as it was.
    """
    settings = read_peft_settings(folder)
    modules = dict(network.named_modules())
    adapted, problems = [], []
    for path, layer in read_peft_layers(folder, settings).items():
        problem = misfit(path, modules.get(path), tuple(layer.lora_a.shape), tuple(layer.lora_b.shape))
        if problem:
            problems.append(problem)
        else:
            adapted.append((path, _adapted(modules[path], layer)))
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        what = f"the adapter {folder} does not fit {name}: {problems[0]}{more}"
        raise ModelError(what, hint="load the model that it was trained on")
    network.update_modules(tree_unflatten(adapted))
    mx.eval(network.parameters())
    return settings


def load_arrays(file: Path) -> dict[str, mx.array]:
    """Return the arrays in a safetensors file by their names. Raises FormatError if it cannot be read."""
    try:
        arrays: Any = mx.load(str(file))
    except (RuntimeError, ValueError, OSError) as error:
        raise FormatError(f"{file} cannot be read: {error}") from error
    return dict(arrays)


def misfit(path: str, module: nn.Module | None, a: tuple[int, ...], b: tuple[int, ...]) -> str:
    """Return why matrices of the shapes ``a`` (inputs, rank) and ``b`` (rank, outputs) do not fit a layer, or "" if they do.

    ``path`` is the layer's name, and ``module`` the network's layer of this name, or None if it has none.
    """
    if module is None:
        return f"it has no layer {path}"
    if not isinstance(module, nn.Linear | nn.QuantizedLinear):
        return f"{path} is a layer of the type {type(module).__name__}, and only linear layers can be adapted in PEFT's format"
    outputs, inputs = module.weight.shape
    if isinstance(module, nn.QuantizedLinear):
        inputs = inputs * 32 // module.bits
    if len(a) != 2 or len(b) != 2 or (a[0], b[1]) != (inputs, outputs) or a[1] != b[0]:
        return f"{path} maps {inputs} to {outputs} numbers, which the adapter's matrices {a} and {b} do not"
    return ""


def _adapted(linear: nn.Module, layer: PeftLayer) -> nn.Module:
    """Return ``linear`` with the weights of an adapter's layer around it."""
    kind = LoRALinear if layer.m is None else DoRALinear
    adapted: nn.Module = kind.from_base(linear, r=layer.rank, scale=layer.scale, dropout=0.0)
    adapted.lora_a, adapted.lora_b = layer.lora_a, layer.lora_b
    if layer.m is not None:
        adapted.m = layer.m
    return adapted


def _split(file: Path, name: str) -> tuple[str, str]:
    """Return the name of the layer to which the tensor ``name`` belongs, and the name of its array in mlx-lm."""
    for suffix, leaf in SUFFIXES.items():
        if name.startswith(PREFIX) and name.endswith("." + suffix):
            return name[len(PREFIX) : -len(suffix) - 1], leaf
    raise ModelError(f"{file} holds {name}, which is not a matrix of a linear layer's LoRA or DoRA", hint=MERGE_IN_PEFT)


def _layer(file: Path, name: str, leaves: Mapping[str, mx.array], settings: PeftSettings) -> PeftLayer:
    """Return the layer ``name`` in mlx-lm's form. ``leaves`` are its tensors by their names in mlx-lm, but in the shapes of PEFT.

    Raises FormatError if the tensors do not belong together.
    """
    wanted = {"lora_a", "lora_b", *(["m"] if settings.is_dora else [])}
    if set(leaves) != wanted:
        raise FormatError(f"{file}: {name} has {', '.join(sorted(leaves))}, but must have {', '.join(sorted(wanted))}")
    a, b, m = leaves["lora_a"], leaves["lora_b"], leaves.get("m")
    rank = settings.rank_of(name)
    shapes_fit = a.ndim == b.ndim == 2 and a.shape[0] == b.shape[1] == rank and (m is None or m.shape == b.shape[:1])
    if not shapes_fit:
        shapes = ", ".join(f"{leaf} {tuple(array.shape)}" for leaf, array in sorted(leaves.items()))
        raise FormatError(f"{file}: {name} has the shapes {shapes}, which do not belong to rank {rank}")
    if not all(mx.issubdtype(array.dtype, mx.floating) for array in leaves.values()):
        raise FormatError(f"{file}: {name} holds whole numbers, but weights are floating-point numbers")
    return PeftLayer(mx.contiguous(a.T), mx.contiguous(b.T), m, settings.scale_of(name))
