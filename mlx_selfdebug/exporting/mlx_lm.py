"""Write an adapter in mlx-lm's format. One that is in this format is copied, and one in PEFT's format is converted.

If an adapter was exported to PEFT from here and its weights were not changed since, both files come back byte by byte. For any
other adapter, the settings name each layer that has an adapter, because mlx-lm's usual setting, "the last n layers", cannot
describe every choice that PEFT allows. mlx-lm has one rank and one scale for all layers, so an adapter with several is refused.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from mlx_selfdebug.models.backend import mx

from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.exporting.card import export_card, mlx_lm_form
from mlx_selfdebug.exporting.run_adapter import RunAdapter
from mlx_selfdebug.exporting.writing import save_arrays
from mlx_selfdebug.models.adapters import SETTINGS, WEIGHTS
from mlx_selfdebug.models.peft import PeftLayer, read_peft_layers
from mlx_selfdebug.models.peft_record import restore
from mlx_selfdebug.models.peft_settings import PeftSettings, is_peft, read_peft_settings
from mlx_selfdebug.reporting.model_card import FILE


def write_mlx_lm(source: RunAdapter, base: str, folder: Path) -> None:
    """Write the adapter and its model card to ``folder``. ``base`` is the name under which mlx-lm loads the base model.

    Raises ModelError if mlx-lm's format cannot hold the adapter, and OSError if the folder cannot be written.
    """
    if is_peft(source.adapter.path):
        _write_from_peft(source.adapter.path, folder)
    else:
        for name in (WEIGHTS, SETTINGS):
            shutil.copyfile(source.adapter.path / name, folder / name)
    (folder / FILE).write_text(export_card(source, mlx_lm_form(base)), encoding="utf-8")


def _write_from_peft(path: Path, folder: Path) -> None:
    """Convert the adapter in PEFT's format at ``path``, and write it to ``folder``."""
    settings = read_peft_settings(path)
    layers = read_peft_layers(path, settings)
    if original := restore(settings.record, layers):
        (folder / WEIGHTS).write_bytes(original.weights)
        (folder / SETTINGS).write_bytes(original.settings)
        return
    arrays: dict[str, mx.array] = {}
    for name, layer in layers.items():
        arrays |= {f"{name}.lora_a": layer.lora_a, f"{name}.lora_b": layer.lora_b}
        if layer.m is not None:  # the magnitudes of DoRA
            arrays[f"{name}.m"] = layer.m
    text = json.dumps(_settings(path, settings, layers), indent=2) + "\n"
    save_arrays(folder / WEIGHTS, arrays, {})
    (folder / SETTINGS).write_text(text, encoding="utf-8")


def _settings(path: Path, settings: PeftSettings, layers: Mapping[str, PeftLayer]) -> dict[str, object]:
    """Return the settings with which mlx-lm computes what PEFT computes. Raises ModelError if layers differ in rank or scale."""
    ranks_and_scales = {(layer.rank, layer.scale) for layer in layers.values()}
    if len(ranks_and_scales) > 1:
        examples = ", ".join(f"rank {rank} with scale {scale:g}" for rank, scale in sorted(ranks_and_scales)[:3])
        raise ModelError(
            f"{path} has layers of different kinds ({examples}), but an adapter of mlx-lm has one rank and one scale",
            hint="use it as it is, with --adapter, or export it with --to fused",
        )
    [(rank, scale)] = ranks_and_scales
    parameters = {"rank": rank, "scale": scale, "dropout": settings.dropout, "keys": sorted(layers)}
    return {
        "fine_tune_type": "dora" if settings.is_dora else "lora",
        # mlx-lm looks for each key within its last num_layers layers and in the whole model. The keys here are names in the whole
        # model, such as "model.layers.0.self_attn.q_proj", so this number does not matter.
        "num_layers": 1,
        "lora_parameters": parameters,
        **({"model": settings.base} if settings.base else {}),
    }
