"""Write an adapter in mlx-lm's format: as it is, or made of one in PEFT's format.

An adapter that came from here and was not changed in PEFT comes back byte by byte. For any other, the settings name each of its
layers, because mlx-lm's own way, "the last n layers", does not describe every choice of layers that PEFT has. mlx-lm has one rank
and one scale for all layers, so an adapter with several is refused.
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

    Raises ModelError if mlx-lm's format cannot hold it, and OSError if the folder cannot be written.
    """
    if is_peft(source.adapter.path):
        _write_from_peft(source.adapter.path, folder)
    else:
        for name in (WEIGHTS, SETTINGS):
            shutil.copyfile(source.adapter.path / name, folder / name)
    (folder / FILE).write_text(export_card(source, mlx_lm_form(base)), encoding="utf-8")


def _write_from_peft(path: Path, folder: Path) -> None:
    settings = read_peft_settings(path)
    layers = read_peft_layers(path, settings)
    if original := restore(settings.record, layers):
        (folder / WEIGHTS).write_bytes(original.weights)
        (folder / SETTINGS).write_bytes(original.settings)
        return
    arrays: dict[str, mx.array] = {}
    for name, layer in layers.items():
        arrays |= {f"{name}.lora_a": layer.lora_a, f"{name}.lora_b": layer.lora_b}
        arrays |= {} if layer.m is None else {f"{name}.m": layer.m}
    text = json.dumps(_settings(path, settings, layers), indent=2) + "\n"
    save_arrays(folder / WEIGHTS, arrays, {})
    (folder / SETTINGS).write_text(text, encoding="utf-8")


def _settings(path: Path, settings: PeftSettings, layers: Mapping[str, PeftLayer]) -> dict[str, object]:
    """Return the settings under which mlx-lm computes what PEFT computes."""
    kinds = {(layer.rank, layer.scale) for layer in layers.values()}
    if len(kinds) > 1:
        found = ", ".join(f"rank {rank} with scale {scale:g}" for rank, scale in sorted(kinds)[:3])
        what = f"{path} has layers of different kinds ({found}), but an adapter of mlx-lm has one rank and one scale"
        raise ModelError(what, hint="use it as it is, with --adapter, or export it with --to fused")
    [(rank, scale)] = kinds
    parameters = {"rank": rank, "scale": scale, "dropout": settings.dropout, "keys": sorted(layers)}
    return {
        "fine_tune_type": "dora" if settings.is_dora else "lora",
        # mlx-lm looks for the keys in its last num_layers layers and in the whole model. They are names in the whole model.
        "num_layers": 1,
        "lora_parameters": parameters,
        **({"model": settings.base} if settings.base else {}),
    }
