"""Compute the tensors of a GGUF file from a network, piece by piece, with an adapter merged into them.

A piece is a few million weights in float32, so little memory is needed beside the network. Quantized weights are dequantized. A
layer with an adapter is a single piece, because its update is a product of whole matrices. The update is added before the weights
are rounded to the type that they have in the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mlx_selfdebug.models.backend import mx, nn

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import quantize
from mlx.utils import tree_flatten

from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.models.dense import unpack
from mlx_selfdebug.models.gguf_layout import Sizes, expected_tensors
from mlx_selfdebug.models.gguf_rope import ROPE_FACTORS

Floats = npt.NDArray[np.float32]
Encoded = npt.NDArray[np.generic]
"""Values as they are in the file: float32, float16, or blocks of quantized weights as uint8."""
WEIGHTS_PER_PIECE = 1 << 22
"""The maximum number of weights in a piece, unless the piece is a whole tensor."""


@dataclass(frozen=True)
class FileTensor:
    """A tensor that will be in the file, and where its values come from."""

    name: str
    """The name in the file, such as "blk.0.attn_q.weight"."""
    path: str
    """The path of the module in the network, such as "model.layers.0.self_attn.q_proj"."""
    parameter: str
    """The name of the module's parameter: "weight" or "bias"."""
    shape: tuple[int, ...]
    """The shape: (rows, columns) of a matrix, or (length,) of a vector."""
    kind: GGMLQuantizationType
    """The type of the values in the file."""
    heads: int = 0
    """The number of attention heads whose rows are reordered (``_reordered``); 0 if the rows stay as they are."""
    values: Floats | None = field(default=None, compare=False)
    """The values of a tensor that is no parameter of the network; None for all others."""

    @classmethod
    def of_rope_factors(cls, factors: Floats) -> FileTensor:
        """Return the tensor that holds the factors of Llama 3.1's scaling of positions."""
        return cls(ROPE_FACTORS, "", "", factors.shape, GGMLQuantizationType.F32, values=factors)

    @property
    def n_bytes(self) -> int:
        """The size of the tensor in the file in bytes."""
        block, block_bytes = GGML_QUANT_SIZES[self.kind]
        return int(math.prod(self.shape) // block * block_bytes)


def plan_tensors(network: nn.Module, sizes: Sizes, kind: GGMLQuantizationType, name: str) -> list[FileTensor]:
    """Return the tensors of the file in the order in which they are written.

    As in the files of llama.cpp, vectors stay float32, and a matrix whose rows cannot be divided into blocks is float16.

    Args:
        network: the network, without an adapter.
        sizes: the sizes of the network.
        kind: the type of matrices in the file.
        name: the name of the model, for messages.

    Raises:
        ModelError: the network has a parameter that a file of its architecture does not have, or the other way round.
    """
    planned = [
        FileTensor(
            name=expected.name,
            path=expected.path,
            parameter=expected.name.rpartition(".")[2],
            shape=expected.shape,
            kind=_kind_for(expected.shape, kind),
            heads=expected.heads,
        )
        for expected in expected_tensors(sizes, tied=bool(network.args.tie_word_embeddings))
    ]
    names = {f"{tensor.path}.{tensor.parameter}" for tensor in planned}
    differences = sorted(names ^ _parameters_of(network))
    if differences:
        first = differences[0]
        problem = f"{name} has no {first}" if first in names else f"{name} has {first}"
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        raise ModelError(
            f"{problem}, unlike the files of architecture {sizes.architecture} that are written here{more}"
        )
    return planned


def read_pieces(modules: Mapping[str, nn.Module], tensor: FileTensor) -> Iterator[Encoded]:
    """Yield the values of a tensor as they are in the file, in pieces of whole rows.

    Args:
        modules: the modules of the network by their paths. A layer with an adapter is there under the path of the layer it wraps.
        tensor: the tensor to read.

    Raises:
        ModelError: a value is not a finite number, or becomes infinite when it is rounded.
    """
    if tensor.values is not None:
        yield _encoded(tensor.values, tensor)
        return
    module = modules[tensor.path]
    wrapped_name = _name_of_wrapped(module)
    if len(tensor.shape) == 1:
        # An adapter changes no bias.
        layer = module[wrapped_name] if wrapped_name else module
        yield _encoded(np.array(layer[tensor.parameter].astype(mx.float32)), tensor)
        return
    if wrapped_name:
        yield _encoded(_reordered(_merged_weight(module, wrapped_name), tensor.heads), tensor)
        return
    rows, columns = tensor.shape
    # A tensor whose rows are reordered is read whole, because the rows of a head must not be split between pieces.
    step = max(1, WEIGHTS_PER_PIECE // columns) if not tensor.heads else rows
    for start in range(0, rows, step):
        yield _encoded(_reordered(dense_rows(module, start, start + step), tensor.heads), tensor)


def dense_rows(layer: nn.Module, start: int, stop: int) -> Floats:
    """Return the rows from ``start`` up to ``stop`` of the weight of a layer that may be quantized.

    A quantized weight is computed with scales in float32, as in ``models/dense.py``. Scales in float16 would round it twice.
    """
    weight = layer.weight[start:stop]
    if "scales" not in layer:
        return np.array(weight.astype(mx.float32))
    scales = layer.scales[start:stop]
    if layer.mode != "affine":
        return np.array(mx.dequantize(weight, scales, group_size=layer.group_size, bits=layer.bits, mode=layer.mode))
    scales, biases = scales.astype(mx.float32), layer.biases[start:stop].astype(mx.float32)
    if layer.bits in (4, 5, 8):
        return unpack(np.array(weight), np.array(scales), np.array(biases), layer.bits)
    return np.array(mx.dequantize(weight, scales, biases, group_size=layer.group_size, bits=layer.bits))


def _name_of_wrapped(module: nn.Module) -> str:
    """Return the name under which a layer of LoRA or DoRA holds the layer that it wraps, or "" if ``module`` is no such layer."""
    if "lora_a" not in module:
        return ""
    return next((name for name in ("linear", "embedding") if name in module), "")


def _merged_weight(module: nn.Module, wrapped_name: str) -> Floats:
    """Return the weight of a layer of LoRA or DoRA with its update added, computed in float32."""
    wrapped = module[wrapped_name]
    # ``fuse`` rounds to the type of the wrapped layer, so a dense layer in float32 takes the place of that layer for a moment.
    dense = nn.Linear(1, 1, bias=False) if wrapped_name == "linear" else nn.Embedding(1, 1)
    dense.weight = mx.array(dense_rows(wrapped, 0, wrapped.weight.shape[0]))
    setattr(module, wrapped_name, dense)
    try:
        return np.array(module.fuse().weight.astype(mx.float32))
    finally:
        setattr(module, wrapped_name, wrapped)
        mx.clear_cache()


def _reordered(rows: Floats, heads: int) -> Floats:
    """Return the rows in the order of llama.cpp's files.

    The rotary embedding rotates two rows of a head together: row i and row i + half in the network, and neighbouring rows in
    llama.cpp. So the rows of each head become 0, half, 1, half + 1, and so on. If ``heads`` is 0, the rows stay as they are.
    """
    if not heads:
        return rows
    return rows.reshape(heads, 2, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def _encoded(values: Floats, tensor: FileTensor) -> Encoded:
    """Return values in the type that they have in the file. Raises ModelError if a value is or becomes infinite or undefined."""
    with np.errstate(over="ignore", invalid="ignore"):
        encoded: Encoded = np.ascontiguousarray(quantize(values, tensor.kind))
    name = f"{tensor.path}.{tensor.parameter}"
    if not np.isfinite(values).all():
        raise ModelError(f"{name} has a weight that is not a finite number", hint="train again from an earlier adapter")
    if tensor.kind == GGMLQuantizationType.F16 and not np.isfinite(encoded).all():
        problem = f"{name} has a weight of {np.abs(values).max():.3g}, and float16 ends at 65504"
        raise ModelError(problem, hint="choose the dtype bf16 or f32")
    return encoded


def _kind_for(shape: tuple[int, ...], kind: GGMLQuantizationType) -> GGMLQuantizationType:
    """Return the type of a tensor in a file whose matrices have the type ``kind``."""
    if len(shape) == 1:
        return GGMLQuantizationType.F32
    return kind if shape[-1] % GGML_QUANT_SIZES[kind][0] == 0 else GGMLQuantizationType.F16


def _parameters_of(network: nn.Module) -> set[str]:
    """Return the names of the parameters that the network would have if no layer were quantized."""
    names = {name for name, _ in tree_flatten(network.parameters())}
    return {name for name in names if name.rpartition(".")[2] not in ("scales", "biases")}
