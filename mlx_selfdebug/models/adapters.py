"""Read adapters in mlx-lm's format, and refuse what is none in one line that says why and what to do.

An adapter is a folder with adapter_config.json and adapters.safetensors.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

from mlx_lm.tuner.utils import load_adapters

from mlx_selfdebug.errors import ModelError

WEIGHTS = "adapters.safetensors"
SETTINGS = "adapter_config.json"
METHODS = ("lora", "dora")
_HINT = "make an adapter with: mlx-selfdebug train"
_PARAMETERS = {"rank": int, "scale": (int, float), "dropout": (int, float)}

# What mlx and mlx_lm raise on weights that are damaged or belong to another model.
_BAD_WEIGHTS = (ValueError, KeyError, TypeError, IndexError, RuntimeError, OSError)


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the settings of the adapter in ``folder``.

    Raises ModelError if a file is missing, if the settings cannot be read, or if they are not those of a LoRA or DoRA adapter.
    """
    if (folder / "adapter_model.safetensors").is_file() or (folder / "adapter_model.bin").is_file():
        what = f"{folder} is an adapter of PEFT, whose format mlx-lm does not read"
        raise ModelError(what, hint="merge it into its model with PEFT, and convert that with mlx_lm.convert")
    missing = [name for name in (SETTINGS, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder} is not an adapter: {' and '.join(missing)} not found", hint=_HINT)
    file = folder / SETTINGS
    try:
        settings = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {error}", hint=_HINT) from error
    if not isinstance(settings, dict):
        raise ModelError(f"{file} is not a JSON object", hint=_HINT)
    _check(file, settings)
    return settings


def add_adapter(network: nn.Module, folder: Path, name: str) -> None:
    """Add the adapter in ``folder`` to ``network``, which is that of the model ``name``.

    Raises ModelError as :func:`read_settings` does, and if the weights are damaged or do not fit the network, which may then hold
    layers of the adapter.
    """
    read_settings(folder)
    try:
        load_adapters(network, str(folder))
        mx.eval(network.parameters())
    except _BAD_WEIGHTS as error:
        what = f"the adapter {folder} does not fit {name}: {error}"
        raise ModelError(what, hint="load the model that it was trained on") from error


def _check(file: Path, settings: dict[str, Any]) -> None:
    """Raise ModelError for the first setting that mlx-lm needs and that is missing or wrong."""
    method = settings.get("fine_tune_type", "lora")
    if method == "full":
        what = f"{file}: fine_tune_type is 'full': the folder holds a whole model's weights, which is no adapter"
        raise ModelError(what, hint="make a model of it with: mlx_lm.fuse, and load that model by its folder")
    if method not in METHODS:
        raise ModelError(f"{file}: fine_tune_type is {method!r}, but it must be {' or '.join(METHODS)}", hint=_HINT)
    if "lora_layers" in settings and "num_layers" not in settings:
        what = f"{file} was written by an older mlx-lm, which called num_layers lora_layers"
        raise ModelError(what, hint=f"in {file} write num_layers instead of lora_layers")
    if not _is(settings.get("num_layers"), int):
        raise ModelError(
            f"{file}: num_layers is {settings.get('num_layers')!r}, but must be a whole number", hint=_HINT
        )
    parameters = settings.get("lora_parameters")
    if not isinstance(parameters, dict):
        raise ModelError(f"{file}: lora_parameters is {parameters!r}, but must be an object", hint=_HINT)
    if "alpha" in parameters and "scale" not in parameters:
        what = f"{file}: lora_parameters has alpha, where mlx-lm has scale, which is alpha divided by the rank"
        raise ModelError(
            what, hint=f'in {file} write "scale" instead of "alpha", with the value that was used in training'
        )
    for key, kinds in _PARAMETERS.items():
        if not _is(parameters.get(key), kinds):
            what = f"{file}: lora_parameters.{key} is {parameters.get(key)!r}, but must be a number"
            raise ModelError(what, hint=_HINT)


def _is(value: Any, kinds: Any) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)
