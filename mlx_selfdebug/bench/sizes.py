"""Measure the size of a model's weights on disk. A GPU keeps them in the same form.

Only the headers of the weight files are read, and mlx is not imported.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_selfdebug.errors import FormatError

DEFAULT_GROUP_SIZE = 64
"""The number of quantized parameters that share a scale, if the configuration does not give it."""


@dataclass(frozen=True)
class Size:
    """The size of the weights that are multiplied with every token.

    The embedding counts if it also serves as the output head. A table that is only looked up does not count.
    """

    parameters: int
    """The number of parameters. Quantized parameters are counted one by one, though several are packed into one number."""
    weights_bytes: int
    """The bytes in which these parameters are stored."""


def weights_size(folder: Path) -> Size:
    """Return the size of the weights in the folder of a model. Raises FormatError for a file that is not valid safetensors."""
    tensors: dict[str, _Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= _read_header(path)
    # A model with a head of its own only looks up rows of its embedding, and does not multiply with it.
    if any(_is_part("lm_head", name) for name in tensors):
        tensors = {name: tensor for name, tensor in tensors.items() if not _is_part("embed_tokens", name)}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    counts = [_parameters(name, tensors, config.get("quantization", {})) for name in tensors]
    return Size(sum(counts), sum(tensor.n_bytes for tensor in tensors.values()))


@dataclass(frozen=True)
class _Tensor:
    """A tensor in a file, without its values."""

    shape: tuple[int, ...]
    n_bytes: int


def _is_part(module: str, name: str) -> bool:
    """Return whether a tensor belongs to a module: "model.embed_tokens.weight" belongs to "embed_tokens"."""
    return module in name.split(".")[:-1]


def _parameters(name: str, tensors: Mapping[str, _Tensor], quantization: Mapping[str, Any]) -> int:
    """Return the number of parameters that one tensor holds.

    A quantized weight is stored as three tensors: packed parameters, scales and biases. Each scale belongs to one group of
    parameters, so the packed tensor counts with the number of scales times the size of a group, and the other two count with 0.
    """
    stem, _, leaf = name.rpartition(".")
    scales = tensors.get(f"{stem}.scales")
    if scales is None or leaf == "bias":
        return math.prod(tensors[name].shape)
    if leaf != "weight":
        return 0
    # The configuration may give a layer another group size than the rest of the model.
    of_layer = quantization.get(stem)
    settings = of_layer if isinstance(of_layer, dict) else quantization
    return math.prod(scales.shape) * int(settings.get("group_size", DEFAULT_GROUP_SIZE))


def _read_header(path: Path) -> dict[str, _Tensor]:
    """Return the tensors of a safetensors file by name. Raises FormatError if the file is not valid.

    The file begins with the length of the header, as 8 bytes. The header follows, which is JSON:

        {"model.norm.weight": {"dtype": "F16", "shape": [896], "data_offsets": [0, 1792]}, "__metadata__": {...}}
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header: dict[str, Any] = json.loads(file.read(length))
    except (OSError, ValueError, struct.error, MemoryError, OverflowError) as error:
        raise FormatError(f"{path} is not a safetensors file: {error}") from error
    tensors = {}
    for name, tensor in header.items():
        if name != "__metadata__":
            begin, end = tensor["data_offsets"]
            tensors[name] = _Tensor(tuple(tensor["shape"]), end - begin)
    return tensors
