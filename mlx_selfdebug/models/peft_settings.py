"""Read the settings of adapters in PEFT's format, which are in adapter_config.json.

    settings = read_peft_settings(Path("my-adapter"))
    settings.rank_of("model.layers.0.mlp.up_proj"), settings.scale_of("model.layers.0.mlp.up_proj")    # 8, 2.0

An adapter is refused if it has a setting under which mlx-lm would compute something else than PEFT, and if it has one that is not
known here. The error names the setting.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mlx_selfdebug.errors import FormatError, ModelError
from mlx_selfdebug.models.resolve import read_json

T = TypeVar("T")
PEFT_SETTINGS = "adapter_config.json"
PEFT_WEIGHTS = "adapter_model.safetensors"
PEFT_PICKLE = "adapter_model.bin"
MERGE_IN_PEFT = "merge it into its model with PEFT (merge_and_unload), and convert that with mlx_lm.convert"
"""What to do with an adapter that is refused, as a hint for the user."""
MAX_NUMBER = 1e9
"""The largest absolute value of a rank or an alpha. JSON has no largest number, but float32 has."""
_PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal", "mica")
"""The values of ``init_lora_weights`` with which PEFT leaves the weights of the base as they are when it loads an adapter."""
_KNOWN_SETTINGS = frozenset({
    "auto_mapping", "base_model_name_or_path", "corda_config", "eva_config", "exclude_modules", "inference_mode",
    "init_lora_weights", "layers_pattern", "layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout", "lora_ga_config",
    "megatron_core", "peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern", "alpha_pattern", "revision",
    "runtime_config", "target_modules", "task_type", "use_dora", "use_rslora",
})  # fmt: skip
"""The settings that are read here, and those that do not change what the layers in the file of weights compute."""


@dataclass(frozen=True)
class PeftSettings:
    """What adapter_config.json says about the layers of an adapter."""

    base: str
    """The name of the base model, which is a repository of the hub or a folder, or "" if the settings do not name it."""
    rank: int
    """The rank of the layers that no pattern of ``ranks`` matches."""
    alpha: float
    """The alpha of the layers that no pattern of ``alphas`` matches."""
    dropout: float
    """The dropout of training."""
    is_dora: bool
    """Whether this is an adapter of DoRA, and not of plain LoRA."""
    is_rank_stabilized: bool
    """Whether the scale is alpha divided by the square root of the rank, and not by the rank."""
    ranks: Mapping[str, int]
    """Other ranks, by a regular expression for the end of a layer's name."""
    alphas: Mapping[str, float]
    """Other alphas, in the same form."""
    record: Mapping[str, Any] | None
    """What :mod:`mlx_selfdebug.models.peft_record` wrote when the adapter was exported from mlx-lm's format, or None."""

    def rank_of(self, layer: str) -> int:
        """Return the rank of the layer with this name."""
        return _first_match(self.ranks, layer, self.rank)

    def scale_of(self, layer: str) -> float:
        """Return the factor of the product of the two matrices of the layer with this name."""
        alpha, rank = _first_match(self.alphas, layer, self.alpha), self.rank_of(layer)
        return alpha / (math.sqrt(rank) if self.is_rank_stabilized else rank)


def is_peft(folder: Path) -> bool:
    """Return whether ``folder`` has a file of weights that is named as PEFT names it."""
    return (folder / PEFT_WEIGHTS).is_file() or (folder / PEFT_PICKLE).is_file()


def read_peft_settings(folder: Path) -> PeftSettings:
    """Return what adapter_config.json in ``folder`` says.

    Raises ModelError if the weights are a pickle, if the file cannot be read, or if the adapter is refused because of a setting.
    """
    if not (folder / PEFT_WEIGHTS).is_file():
        what = f"{folder} has its weights in {PEFT_PICKLE}, a pickle, which is not loaded because it could run code"
        raise FormatError(
            what, hint=f"save it with PEFT as {PEFT_WEIGHTS} (save_pretrained does, unless it is told otherwise)"
        )
    file = folder / PEFT_SETTINGS
    settings = read_json(file)
    if settings is None:
        raise ModelError(f"{folder} is not an adapter of PEFT: {PEFT_SETTINGS} not found")
    _require_known(file, settings)
    auto_mapping = settings.get("auto_mapping")
    record = auto_mapping.get("mlx_selfdebug") if isinstance(auto_mapping, dict) else None
    return PeftSettings(
        base=str(settings.get("base_model_name_or_path") or ""),
        rank=_rank(file, "r", settings.get("r", 8)),
        alpha=_number(file, "lora_alpha", settings.get("lora_alpha", 8)),
        dropout=_number(file, "lora_dropout", settings.get("lora_dropout", 0.0)),
        is_dora=bool(settings.get("use_dora")),
        is_rank_stabilized=bool(settings.get("use_rslora")),
        ranks=_pattern(file, "rank_pattern", settings, _rank),
        alphas=_pattern(file, "alpha_pattern", settings, _number),
        record=record if isinstance(record, dict) else None,
    )


def _require_known(file: Path, settings: Mapping[str, Any]) -> None:
    """Raise ModelError if there is a setting under which mlx-lm may compute something else than PEFT. The message names it."""
    kind = settings.get("peft_type")
    if kind != "LORA":
        raise ModelError(
            f"{file}: peft_type is {kind!r}, but only LORA is read (DoRA is a LORA with use_dora)", hint=MERGE_IN_PEFT
        )
    start = settings.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS:
        what = f"{file}: init_lora_weights is {start!r}, with which PEFT changes the weights of the base"
        raise ModelError(
            what,
            hint="save it as a plain LoRA with PEFT: save_pretrained(path_initial_model_for_weight_conversion=...)",
        )
    if settings.get("bias", "none") not in ("none", None):
        raise ModelError(
            f"{file}: bias is {settings['bias']!r}; adapters that change biases are not read", hint=MERGE_IN_PEFT
        )
    for key, value in sorted(settings.items()):
        # Settings that are off, such as false or null, change nothing, even if they are not known.
        if key not in _KNOWN_SETTINGS and key != "bias" and value:
            raise ModelError(f"{file}: {key} is {reprlib.repr(value)}, which is not read", hint=MERGE_IN_PEFT)


def _rank(file: Path, key: str, value: Any) -> int:
    """Return ``value``, which the setting ``key`` has in ``file``. Raises ModelError unless it is a whole number from 1 on."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or not 1 <= value <= MAX_NUMBER:
        raise ModelError(f"{file}: {key} is {reprlib.repr(value)}, but must be a whole number of at least 1")
    return int(value)


def _number(file: Path, key: str, value: Any) -> float:
    """Return ``value``, which the setting ``key`` has in ``file``, as a float. Raises ModelError unless it is a finite number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not -MAX_NUMBER <= value <= MAX_NUMBER:
        raise ModelError(f"{file}: {key} is {reprlib.repr(value)}, but must be a number")
    return float(value)


def _pattern(
    file: Path, key: str, settings: Mapping[str, Any], read_value: Callable[[Path, str, Any], T]
) -> dict[str, T]:
    """Return the setting ``key``, a mapping of regular expressions for layers to values, which ``read_value`` checks.

    Raises ModelError if it is anything else.
    """
    pattern = settings.get(key) or {}
    if not isinstance(pattern, dict):
        raise ModelError(f"{file}: {key} is {pattern!r}, but must be an object")
    for expression in pattern:
        try:
            re.compile(expression)
        except re.error as error:
            raise ModelError(f"{file}: {key} has {expression!r}, which is not a regular expression: {error}") from error
    return {expression: read_value(file, key, value) for expression, value in pattern.items()}


def _first_match(pattern: Mapping[str, T], layer: str, default: T) -> T:
    """Return the value of the first expression that matches the end of ``layer`` as PEFT matches it, or ``default`` if none does.

    >>> _first_match({"q_proj": 16, "layers.0.mlp.up_proj": 4}, "model.layers.0.mlp.up_proj", 8)
    4
    """
    return next((value for key, value in pattern.items() if re.match(rf"(.*\.)?({key})$", layer)), default)
