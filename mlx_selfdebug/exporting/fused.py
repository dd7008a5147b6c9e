"""Merge an adapter into its model, and write the whole model as a folder that plain mlx-lm loads.

Quantized weights are first turned into dense ones (float32). After the merge they stay dense, or they are quantized to 8 bits.
With 4 bits, rounding would remove most of what the adapter adds. The merge does not change the model that is passed in: it works
on a second network, whose weights are read from disk.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

from mlx_lm.utils import save_config, save_model

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.exporting.card import export_card, fused_form
from mlx_selfdebug.exporting.run_adapter import RunAdapter
from mlx_selfdebug.models.adapters import add_adapter
from mlx_selfdebug.models.load import Model, load_dense
from mlx_selfdebug.progress import Progress
from mlx_selfdebug.reporting.model_card import FILE
from mlx_selfdebug.training.adapter import Adapter, merge_adapter

DTYPES = {"f32": mx.float32, "f16": mx.float16, "bf16": mx.bfloat16}
"""The dtypes in which weights can be written, by their short names."""
BITS = 8
"""The number of bits per weight of a quantized export."""
GROUP_SIZE = 64
"""The number of quantized weights that share one scale, which is MLX's default."""
_COPIED = (
    "tokenizer*", "vocab.*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.tiktoken", "*.jinja",
    "generation_config.json", "LICENSE*", "NOTICE*",
)  # fmt: skip
"""Patterns for the names of the model's files that are copied into the export as they are."""


def fuse(
    model: Model, adapter: Adapter, bits: int | None = None, *, dtype: str = "", progress: Progress | None = None
) -> nn.Module:
    """Return a network without adapter layers that computes the same as ``model`` with ``adapter``.

    Args:
        model: the base model. Only its files are read, so its weights need not be loaded (``open_model``).
        adapter: the adapter, in mlx-lm's format or in PEFT's.
        bits: 8 to quantize the weights, or None for dense ones.
        dtype: "f32", "f16" or "bf16", or "" for :func:`usual_dtype`. The weights are merged in float32 and rounded at the end.
        progress: reports the layers that are read; silent by default.

    Raises:
        ModelError: the adapter was trained on other weights, or does not fit the model.
        UsageError: ``bits`` is neither 8 nor None.
    """
    require_bits(bits)
    adapter.require_base(model)
    network = load_dense(model, progress)
    add_adapter(network, adapter.path, model.name)
    merge_adapter(network)
    if bits:
        nn.quantize(network, GROUP_SIZE, bits, class_predicate=lambda _, layer: _can_be_quantized(layer))
    network.set_dtype(DTYPES[dtype or usual_dtype(model, bits)])
    mx.eval(network.parameters())
    mx.clear_cache()
    network.eval()
    return network


def usual_dtype(model: Model, bits: int | None) -> str:
    """Return the default dtype of an export: the one in which this machine computes ``model``.

    There is one exception: on a machine that computes in float32, the scales of 8-bit weights are float16, as they are in the
    models that MLX users share.
    """
    names = {"float16": "f16", "bfloat16": "bf16"}
    return names.get(model.dtype, "f16" if bits else "f32")


def require_bits(bits: int | None) -> None:
    """Raise UsageError unless ``bits`` is 8 or None."""
    if bits not in (None, BITS):
        allowed = f"a fused model has {BITS} bits or is not quantized; with fewer, the adapter would be rounded away"
        raise UsageError(f"bits = {bits}, but {allowed}", hint=f"--bits {BITS}, or leave it out")


def write_fused(
    source: RunAdapter,
    model: Model,
    base: str,
    folder: Path,
    *,
    bits: int | None = None,
    dtype: str = "",
    progress: Progress | None = None,
) -> None:
    """Write the merged model to ``folder``, with its tokenizer, its configuration and a model card.

    ``base`` is the name of the base model for the card. The other parameters are those of :func:`fuse`. Raises ModelError as
    ``fuse`` does, and OSError if the folder cannot be written.
    """
    dtype = dtype or usual_dtype(model, bits)
    network = fuse(model, source.adapter, bits, dtype=dtype, progress=progress)
    try:
        save_model(folder, network, donate_model=True)
    except RuntimeError as error:  # MLX raises this if a file cannot be written.
        raise OSError(str(error)) from error
    save_config(_config(model, bits, dtype), folder / "config.json")
    for pattern in _COPIED:
        for file in model.path.glob(pattern):
            shutil.copyfile(file, folder / file.name)
    weights = f"{bits}-bit weights" if bits else f"{_dtype_name(dtype)} weights"
    (folder / FILE).write_text(export_card(source, fused_form(base, weights)), encoding="utf-8")


def _config(model: Model, bits: int | None, dtype: str) -> dict[str, Any]:
    """Return the content of the export's config.json: the model's, with the dtype and the quantization of the new weights."""
    config = _without_quantization(model.config)
    if "text_config" in config:
        config["text_config"] = _without_quantization(config["text_config"])
    config["torch_dtype"] = _dtype_name(dtype)
    if bits:
        config["quantization"] = {"group_size": GROUP_SIZE, "bits": bits, "mode": "affine"}
    return config


def _without_quantization(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration without the keys that describe how the weights are stored."""
    left_out = ("quantization", "quantization_config", "dtype", "torch_dtype")
    return {key: value for key, value in config.items() if key not in left_out}


def _dtype_name(dtype: str) -> str:
    """Return the long name of a dtype, such as "float16"."""
    return str(DTYPES[dtype]).rpartition(".")[2]


def _can_be_quantized(layer: nn.Module) -> bool:
    """Return whether MLX can quantize a layer: its rows must consist of whole groups."""
    return hasattr(layer, "to_quantized") and layer.weight.shape[-1] % GROUP_SIZE == 0
