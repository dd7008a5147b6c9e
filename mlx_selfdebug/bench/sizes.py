"""Measure how large a model's weights are on disk, which is the form in which a GPU keeps them.

It reads only the headers of the files and does not import mlx.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_selfdebug.errors import FormatError


@dataclass(frozen=True)
class Size:
    """The size of the weights that are multiplied with every token.

    The embedding counts if it is also the head. A table that is only looked up does not.
    """

    parameters: int
    """The number of parameters. Quantized ones, several of which are packed into one number, are counted individually."""
    weights_bytes: int
    """The bytes in which they are stored."""


def weights_size(folder: Path) -> Size:
    """Return the size of the weights in a model folder. Raises FormatError for a file that is not valid safetensors."""
    tensors = dict(item for path in sorted(folder.glob("*.safetensors")) for item in _tensors(path))
    if any(".lm_head." in f".{name}" for name in tensors):
        tensors = {name: tensor for name, tensor in tensors.items() if ".embed_tokens." not in f".{name}"}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    counts = [_parameters(name, tensors, config.get("quantization", {})) for name in tensors]
    return Size(sum(counts), sum(tensor.n_bytes for tensor in tensors.values()))


@dataclass(frozen=True)
class _Tensor:
    dtype: str
    shape: tuple[int, ...]
    n_bytes: int


def _parameters(name: str, tensors: Mapping[str, _Tensor], quantization: Mapping[str, Any]) -> int:
    """Return the number of parameters that one tensor holds.

    Of a quantized weight the scales and biases count as none, and each scale stands for one group of packed parameters.
    """
    stem, _, leaf = name.rpartition(".")
    scales = tensors.get(f"{stem}.scales")
    if scales is None or leaf == "bias":
        return math.prod(tensors[name].shape)
    if leaf != "weight":
        return 0
    own = quantization.get(stem)
    group = (own if isinstance(own, dict) else quantization).get("group_size", 64)
    return math.prod(scales.shape) * int(group)


def _tensors(path: Path) -> Iterator[tuple[str, _Tensor]]:
    """Yield the name, type, shape and size of every tensor from the header of a file."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header: dict[str, Any] = json.loads(file.read(length))
    except (OSError, ValueError, struct.error, MemoryError, OverflowError) as error:
        raise FormatError(f"{path} is not a safetensors file: {error}") from error
    for name, tensor in header.items():
        if name != "__metadata__":
            begin, end = tensor["data_offsets"]
            yield name, _Tensor(tensor["dtype"], tuple(tensor["shape"]), end - begin)
