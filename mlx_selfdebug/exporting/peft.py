"""Write an adapter in PEFT's format, which transformers loads.

PEFT finds a layer by its name, so the names must be those of transformers. For the architectures in ``ARCHITECTURES``, mlx-lm has
the same names, and an adapter of any other is refused. ``lora_alpha`` is mlx-lm's scale times the rank. What PEFT's format does not
hold stands in a record (``models/peft_record.py``), so that the adapter comes back byte by byte.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx

from mlx_selfdebug.errors import FormatError, ModelError
from mlx_selfdebug.exporting.card import export_card, peft_form
from mlx_selfdebug.exporting.run_adapter import RunAdapter
from mlx_selfdebug.exporting.writing import save_arrays
from mlx_selfdebug.models.adapters import SETTINGS, WEIGHTS, read_settings
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.models.peft import PREFIX, load_arrays, misfit
from mlx_selfdebug.models.peft_record import make_record
from mlx_selfdebug.models.peft_settings import PEFT_SETTINGS, PEFT_WEIGHTS, is_peft
from mlx_selfdebug.models.resolve import read_json
from mlx_selfdebug.reporting.model_card import FILE

ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")
"""The model types whose layers have the same names in mlx-lm and in transformers."""
_NAMES = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight", "m": "lora_magnitude_vector"}
"""The arrays of a layer in mlx-lm's format, and the ends of their names in PEFT's."""
_IN_LAYER = re.compile(r"(?:.*\.)?layers\.(\d+)\.(?:.*\.)?([^.]+)")
"""A name inside a layer of the model: the number of the layer, and the last part."""


def write_peft(source: RunAdapter, model: Model, base: str, folder: Path) -> None:
    """Write the adapter and its model card to ``folder``.

    Args:
        source: the adapter. One that is in PEFT's format already is copied.
        model: the base model, of which only the architecture is looked at.
        base: the name under which transformers loads the base model.
        folder: an empty folder.

    Raises:
        ModelError: the adapter does not fit ``model``, or PEFT's format cannot hold it.
        OSError: the folder cannot be written.
    """
    path = source.adapter.path
    if is_peft(path):
        settings = {**(read_json(path / PEFT_SETTINGS) or {}), "base_model_name_or_path": base}
        shutil.copyfile(path / PEFT_WEIGHTS, folder / PEFT_WEIGHTS)
    else:
        layers = _layers(path, model)
        settings = _settings(path, layers, base, len(model.network.layers))
        save_arrays(folder / PEFT_WEIGHTS, _transposed(layers), {"format": "pt"})
    (folder / PEFT_SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (folder / FILE).write_text(export_card(source, peft_form(base)), encoding="utf-8")


def _layers(path: Path, model: Model) -> dict[str, dict[str, mx.array]]:
    """Return the arrays of the adapter at ``path`` by layer. Raises ModelError if PEFT or ``model`` has no place for one."""
    kind = model.config.get("model_type")
    if kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        what = f"{model.name} is a {kind} model, whose layers may have other names in transformers; known are {known}"
        raise ModelError(what, hint="export it with --to fused")
    layers: dict[str, dict[str, mx.array]] = {}
    for name, array in load_arrays(path / WEIGHTS).items():
        layer, _, leaf = name.rpartition(".")
        layers.setdefault(layer, {})[leaf] = array
    modules = dict(model.network.named_modules())
    wanted = {"lora_a", "lora_b", *(["m"] if read_settings(path).get("fine_tune_type") == "dora" else [])}
    for name, leaves in sorted(layers.items()):
        if set(leaves) != wanted:
            has, must = ", ".join(sorted(leaves)), ", ".join(sorted(wanted))
            raise FormatError(f"{path / WEIGHTS}: {name} has {has}, but must have {must}")
        if problem := misfit(name, modules.get(name), tuple(leaves["lora_a"].shape), tuple(leaves["lora_b"].shape)):
            what = f"the adapter {path} does not fit {model.name}: {problem}"
            raise ModelError(what, hint="name the model that it was trained on with --model")
    return layers


def _transposed(layers: Mapping[str, Mapping[str, mx.array]]) -> dict[str, mx.array]:
    """Return the arrays under PEFT's names and in its shapes: (rank, inputs), (outputs, rank) and (outputs,)."""
    return {
        f"{PREFIX}{layer}.{_NAMES[leaf]}": mx.contiguous(array.T)
        for layer, leaves in layers.items()
        for leaf, array in leaves.items()
    }


def _settings(path: Path, layers: Mapping[str, object], base: str, n_layers: int) -> dict[str, Any]:
    settings = read_settings(path)
    parameters = settings["lora_parameters"]
    alpha = float(parameters["scale"] * parameters["rank"])
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": parameters["rank"],
        "lora_alpha": int(alpha) if alpha.is_integer() else alpha,
        "lora_dropout": parameters["dropout"],
        "use_dora": settings.get("fine_tune_type") == "dora",
        "bias": "none",
        **_targets(sorted(layers), n_layers),
        "auto_mapping": {"mlx_selfdebug": make_record(path / SETTINGS, path / WEIGHTS)},
    }


def _targets(names: Sequence[str], n_layers: int) -> dict[str, Any]:
    """Return the settings by which PEFT finds the layers ``names``: their last parts if these say enough, or else all of them."""
    by_layer: dict[int, set[str]] = {}
    for name in names:
        if not (match := _IN_LAYER.fullmatch(name)):
            return {"target_modules": list(names)}
        by_layer.setdefault(int(match[1]), set()).add(match[2])
    kinds = {frozenset(last) for last in by_layer.values()}
    if len(kinds) > 1:
        return {"target_modules": list(names)}
    numbers = sorted(by_layer)
    return {
        "target_modules": sorted(kinds.pop()),
        "layers_to_transform": numbers if len(numbers) < n_layers else None,
    }
