"""How large a model's weights are as they lie on disk, which is how a GPU keeps them. Reads headers alone; does not import mlx."""

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
    """What is multiplied with for every token: ``parameters``, packed ones counted one by one, and the bytes they lie in.

    The embedding is among them where it is the head too; a table that is only looked up is not.
    """

    parameters: int
    weights_bytes: int


def weights_size(folder: Path) -> Size:
    """Of a model folder. Raises FormatError if a file is no safetensors file."""
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
    """Of one tensor: none for the scales and biases of a packing; a column of scales stands for a group of packed numbers."""
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
    """Every tensor by name, of the file's header."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header: dict[str, Any] = json.loads(file.read(length))
    except (OSError, ValueError, struct.error, MemoryError, OverflowError) as error:
        raise FormatError(f"{path}: no safetensors file: {error}") from error
    for name, tensor in header.items():
        if name != "__metadata__":
            begin, end = tensor["data_offsets"]
            yield name, _Tensor(tensor["dtype"], tuple(tensor["shape"]), end - begin)
