"""Write an adapter in PEFT's format, which transformers loads.

PEFT finds the modules that an adapter changes by their names in transformers. For the architectures in ``ARCHITECTURES``, mlx-lm
uses the same names. Adapters of other architectures are refused. PEFT's ``lora_alpha`` is mlx-lm's scale times the rank.

PEFT's format has no place for some of mlx-lm's settings. They are kept in a record inside PEFT's settings
(``models/peft_record.py``), so that the adapter can be converted back byte by byte.
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
"""The model types whose modules have the same names in mlx-lm and in transformers."""
_NAMES = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight", "m": "lora_magnitude_vector"}
"""How the names of a module's arrays end in PEFT's format, by their names in mlx-lm's format."""
_IN_LAYER = re.compile(r"(?:.*\.)?layers\.(\d+)\.(?:.*\.)?([^.]+)")
"""Matches a name such as "model.layers.3.self_attn.q_proj". The groups are the number of the layer and the last part."""


def write_peft(source: RunAdapter, model: Model, base: str, folder: Path) -> None:
    """Write the adapter and its model card to ``folder``.

    Args:
        source: the adapter. If it is in PEFT's format already, it is copied.
        model: the base model. Only its architecture matters, so its weights need not be loaded.
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
        arrays_by_module = _arrays_by_module(path, model)
        settings = _settings(path, sorted(arrays_by_module), base, len(model.network.layers))
        save_arrays(folder / PEFT_WEIGHTS, _transposed(arrays_by_module), {"format": "pt"})
    (folder / PEFT_SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (folder / FILE).write_text(export_card(source, peft_form(base)), encoding="utf-8")


def _arrays_by_module(path: Path, model: Model) -> dict[str, dict[str, mx.array]]:
    """Return the arrays of the adapter at ``path``, by the module's name and then by "lora_a", "lora_b" and, for DoRA, "m".

    Raises FormatError if a module has other arrays, and ModelError if PEFT or ``model`` has no place for a module.
    """
    kind = model.config.get("model_type")
    if kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ModelError(
            f"{model.name} is a {kind} model, whose layers may have other names in transformers; known are {known}",
            hint="export it with --to fused",
        )
    arrays_by_module: dict[str, dict[str, mx.array]] = {}
    for name, array in load_arrays(path / WEIGHTS).items():
        module, _, array_name = name.rpartition(".")
        arrays_by_module.setdefault(module, {})[array_name] = array
    modules = dict(model.network.named_modules())
    required = {"lora_a", "lora_b"}
    if read_settings(path).get("fine_tune_type") == "dora":
        required.add("m")
    for name, arrays in sorted(arrays_by_module.items()):
        if set(arrays) != required:
            has, must_have = ", ".join(sorted(arrays)), ", ".join(sorted(required))
            raise FormatError(f"{path / WEIGHTS}: {name} has {has}, but must have {must_have}")
        if problem := misfit(name, modules.get(name), tuple(arrays["lora_a"].shape), tuple(arrays["lora_b"].shape)):
            raise ModelError(
                f"the adapter {path} does not fit {model.name}: {problem}",
                hint="name the model that it was trained on with --model",
            )
    return arrays_by_module


def _transposed(arrays_by_module: Mapping[str, Mapping[str, mx.array]]) -> dict[str, mx.array]:
    """Return the arrays under PEFT's names and in its shapes: (rank, inputs), (outputs, rank) and (outputs,)."""
    return {
        f"{PREFIX}{module}.{_NAMES[array_name]}": mx.contiguous(array.T)
        for module, arrays in arrays_by_module.items()
        for array_name, array in arrays.items()
    }


def _settings(path: Path, modules: Sequence[str], base: str, n_layers: int) -> dict[str, Any]:
    """Return PEFT's settings for the adapter at ``path``.

    ``modules`` are the names of the modules that it changes, and ``n_layers`` is the number of layers of the base model.
    """
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
        **_targets(modules, n_layers),
        "auto_mapping": {"mlx_selfdebug": make_record(path / SETTINGS, path / WEIGHTS)},
    }


def _targets(names: Sequence[str], n_layers: int) -> dict[str, Any]:
    """Return the settings by which PEFT finds the modules called ``names``.

    Usually an adapter changes the same modules in each of some layers. Then the settings are the last parts of the names, such as
    "q_proj", and the numbers of the layers. Otherwise they list all names.
    """
    by_layer: dict[int, set[str]] = {}
    for name in names:
        if not (match := _IN_LAYER.fullmatch(name)):
            return {"target_modules": list(names)}
        by_layer.setdefault(int(match[1]), set()).add(match[2])
    choices = {frozenset(last_parts) for last_parts in by_layer.values()}
    if len(choices) > 1:
        return {"target_modules": list(names)}
    numbers = sorted(by_layer)
    return {
        "target_modules": sorted(choices.pop()),
        "layers_to_transform": numbers if len(numbers) < n_layers else None,
    }
