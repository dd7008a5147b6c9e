"""Read adapters: folders in mlx-lm's format (adapter_config.json and adapters.safetensors), or in PEFT's (``peft.py``).

    add_adapter(model.network, Path("runs/first/adapter"), model.name)

A folder in another format is refused with an error that says in one line what it is, and in a hint what to do about it.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

from mlx_lm.tuner.utils import load_adapters

from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.models.catalog import is_name_of
from mlx_selfdebug.models.dora import any_bits
from mlx_selfdebug.models.peft import add_peft_adapter, read_peft_layers
from mlx_selfdebug.models.peft_record import restore
from mlx_selfdebug.models.peft_settings import PEFT_WEIGHTS, is_peft, read_peft_settings

logger = logging.getLogger(__name__)

WEIGHTS = "adapters.safetensors"
SETTINGS = "adapter_config.json"
METHODS = ("lora", "dora")
"""The values of ``fine_tune_type`` for adapters. mlx-lm writes a third value, "full", for whole models."""
_HINT = "make an adapter with: mlx-selfdebug train"
_PARAMETER_TYPES: dict[str, tuple[type, ...]] = {"rank": (int,), "scale": (int, float), "dropout": (int, float)}
"""The keys of ``lora_parameters`` that mlx-lm needs, and the types that their values may have."""
_WEIGHT_ERRORS = (ValueError, KeyError, TypeError, IndexError, RuntimeError, OSError)
"""What mlx and mlx_lm raise if weights are damaged or belong to another model."""


def weights_of(folder: Path) -> Path:
    """Return the file of weights of the adapter in ``folder``."""
    return folder / (PEFT_WEIGHTS if is_peft(folder) else WEIGHTS)


def read_origin(folder: Path) -> str:
    """Return the origin of the model that the adapter in ``folder`` was trained on, or "" if that is not known.

    Of adapters in PEFT's format, the origin is known only if they were exported by this package and not changed since. Raises
    ModelError if there is no adapter, or if it cannot be used.
    """
    if not is_peft(folder):
        return str(read_settings(folder).get("base_origin", ""))
    settings = read_peft_settings(folder)
    original = restore(settings.record, read_peft_layers(folder, settings))
    return str(json.loads(original.settings).get("base_origin", "")) if original else ""


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the content of adapter_config.json in the folder of an adapter in mlx-lm's format.

    Raises ModelError if a file is missing, if the settings cannot be read, or if they do not describe a LoRA or DoRA adapter.
    """
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
    """Add the adapter in ``folder`` to ``network``, in place. ``name`` is the name of the network's model.

    An adapter of PEFT names its base model, but that may be another form of the same weights. If the names differ, a warning says
    that the weights are assumed to be the same. Raises ModelError if the adapter cannot be read, or if its weights are damaged or
    do not fit the network. The network may then be left with some layers of the adapter.
    """
    if is_peft(folder):
        base = add_peft_adapter(network, folder, name).base
        if base and not is_name_of(base, name):
            logger.warning("%s is an adapter of %s; it is assumed that %s has the same weights", folder, base, name)
        return
    read_settings(folder)
    try:
        with any_bits():
            load_adapters(network, str(folder))
        mx.eval(network.parameters())
    except _WEIGHT_ERRORS as error:
        what = f"the adapter {folder} does not fit {name}: {error}"
        raise ModelError(what, hint="load the model that it was trained on") from error


def _check(file: Path, settings: dict[str, Any]) -> None:
    """Raise ModelError if a setting that mlx-lm needs is missing or wrong. The message is about the first such setting."""
    method = settings.get("fine_tune_type", "lora")
    if method == "full":
        what = f"{file}: fine_tune_type is 'full': the folder holds the weights of a whole model, not an adapter"
        raise ModelError(what, hint="make a model of it with: mlx_lm.fuse, and load that model by its folder")
    if method not in METHODS:
        raise ModelError(f"{file}: fine_tune_type is {method!r}, but it must be {' or '.join(METHODS)}", hint=_HINT)
    if "lora_layers" in settings and "num_layers" not in settings:
        what = f"{file} was written by an older mlx-lm, which called num_layers lora_layers"
        raise ModelError(what, hint=f"in {file} write num_layers instead of lora_layers")
    n_layers = settings.get("num_layers")
    if not _is_number(n_layers, (int,)):
        raise ModelError(f"{file}: num_layers is {n_layers!r}, but must be a whole number", hint=_HINT)
    parameters = settings.get("lora_parameters")
    if not isinstance(parameters, dict):
        raise ModelError(f"{file}: lora_parameters is {parameters!r}, but must be an object", hint=_HINT)
    if "alpha" in parameters and "scale" not in parameters:
        what = f"{file}: lora_parameters has alpha, but mlx-lm reads scale, which is alpha divided by the rank"
        raise ModelError(
            what, hint=f'in {file} write "scale" instead of "alpha", with the value that was used in training'
        )
    for key, types in _PARAMETER_TYPES.items():
        if not _is_number(parameters.get(key), types):
            what = f"{file}: lora_parameters.{key} is {parameters.get(key)!r}, but must be a number"
            raise ModelError(what, hint=_HINT)


def _is_number(value: object, types: tuple[type, ...]) -> bool:
    """Return whether a value from a JSON file has one of the number ``types``. JSON's true and false are not numbers."""
    # Python's bool is a subclass of int.
    return isinstance(value, types) and not isinstance(value, bool)
