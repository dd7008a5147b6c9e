"""Turn quantized layers into dense float32 layers, which the CPU computes fast.

The largest layer is converted first, while there is still room for the copies that this takes. Afterwards the memory
peaks at the size of the float32 model plus one layer. The values are the same as from ``mx.dequantize`` with float32 scales.
Weights are unpacked with NumPy where possible, because mlx's own unpacking is five times slower for 5 bits, and most
weights of a Q4_K_M file have 5 bits.
"""

from __future__ import annotations

from typing import Any

from mlx_selfdebug.models.backend import mx, nn

import numpy as np
import numpy.typing as npt
from mlx.utils import tree_flatten
from mlx_lm.utils import dequantize_model

from mlx_selfdebug.progress import Progress

Floats = npt.NDArray[np.float32]


def dequantize_network(network: nn.Module, progress: Progress, *, keep_embedding: bool = True) -> None:
    """Replace every quantized layer of ``network`` with a dense one and convert all other parameters to float32, in place.

    If the network has a head of its own, its embedding stays packed, with float32 scales, unless ``keep_embedding`` is False. The
    embedding is then never part of a matrix product, and the few rows that are looked up are quick to unpack. This saves 0.5 GB for
    the 0.5B.
    """
    quantized = [(path, layer) for path, layer in network.named_modules() if "scales" in layer]
    quantized.sort(key=lambda item: item[1].weight.nbytes)
    with progress.stage("load", len(quantized), "tensors") as stage:
        while quantized:
            # Taking the layer off the list frees its quantized weights before the next layer is read.
            path, layer = quantized.pop()
            if not (keep_embedding and _stays_packed(network, layer)):
                _replace(network, path, _dequantize(layer))
            stage.advance(note=path)
    network.set_dtype(mx.float32)


def dense_bytes(network: nn.Module) -> int:
    """Return the number of bytes that the parameters of ``network`` take after :func:`dequantize_network`.

    Nothing is computed.
    """
    # Packed weights, and nothing else, are uint32.
    total: int = sum(4 * array.size for _, array in tree_flatten(network.parameters()) if array.dtype != mx.uint32)
    for _, layer in network.named_modules():
        if "scales" not in layer:
            continue
        packed_bytes, n_weights = layer.weight.nbytes, layer.weight.size * 32 // layer.bits
        # The sum above counts the scales and biases, which a dense layer does not have.
        scale_bytes = 4 * (layer.scales.size + (layer.biases.size if "biases" in layer else 0))
        total += packed_bytes if _stays_packed(network, layer) else 4 * n_weights - scale_bytes
    return total


def unpack(weight: npt.NDArray[np.uint32], scales: Floats, biases: Floats, bits: int) -> Floats:
    """Return the weights of a layer in MLX's affine format as float32 of shape (rows, columns).

    Args:
        weight: the packed codes, of shape (rows, columns * bits / 32).
        scales: a scale per group of columns, of shape (rows, groups).
        biases: what is added to each group, of the same shape.
        bits: the number of bits per code: 4, 5 or 8.
    """
    octets = weight.view(np.uint8)
    rows = weight.shape[0]
    out = np.empty((rows, octets.shape[1] * 8 // bits), np.float32)
    if bits == 8:
        out[...] = octets
    elif bits == 4:
        out[:, 0::2] = octets & 0xF
        out[:, 1::2] = octets >> 4
    else:
        _unpack_five_bits(octets, out)
    grouped = out.reshape(*scales.shape, -1)
    grouped *= scales[:, :, None]
    grouped += biases[:, :, None]
    return out


def _unpack_five_bits(octets: npt.NDArray[np.uint8], out: Floats) -> None:
    """Write the codes in ``octets`` to ``out``. Five bytes hold eight codes, the first in the lowest bits."""
    # Each five bytes are padded to a 64-bit integer, from which the codes can be shifted out.
    padded = np.zeros((octets.size // 5, 8), np.uint8)
    padded[:, :5] = octets.reshape(-1, 5)
    words = padded.view(np.uint64)[:, 0]
    eights = out.reshape(-1, 8)
    for i in range(8):
        eights[:, i] = words >> np.uint64(5 * i) & np.uint64(31)


def _stays_packed(network: nn.Module, layer: nn.Module) -> bool:
    """Return whether ``layer`` is an embedding of which only single rows are looked up, because the network has its own head."""
    return isinstance(layer, nn.QuantizedEmbedding) and "lm_head" in network


def _dequantize(layer: nn.Module) -> nn.Module:
    """Return a dense float32 layer with the weights of ``layer``."""
    # The scales are converted first, because fp16 scales would round each weight to fp16.
    layer.set_dtype(mx.float32)
    is_affine = isinstance(layer, nn.QuantizedLinear | nn.QuantizedEmbedding) and layer.mode == "affine"
    dense = _dequantize_with_numpy(layer) if is_affine and layer.bits in (4, 5, 8) else _dequantize_with_mlx(layer)
    mx.eval(dense.parameters())
    return dense


def _dequantize_with_numpy(layer: nn.Module) -> nn.Module:
    """Return a dense layer with the weights of ``layer``, which is affine and has 4, 5 or 8 bits."""
    packed, scales, biases = (np.array(layer[name], copy=False) for name in ("weight", "scales", "biases"))
    weight = mx.array(unpack(packed, scales, biases, layer.bits))
    rows, columns = weight.shape
    if isinstance(layer, nn.QuantizedEmbedding):
        dense = nn.Embedding(rows, columns)
    else:
        dense = nn.Linear(columns, rows, bias="bias" in layer)
    dense.weight = weight
    if "bias" in layer:
        dense.bias = layer.bias
    return dense


def _dequantize_with_mlx(layer: nn.Module) -> nn.Module:
    """Return a dense layer with the weights of ``layer``, in any format that mlx-lm knows."""
    holder = nn.Module()  # dequantize_model replaces the layers inside a module, but not the module itself.
    holder.layer = layer
    dense = dequantize_model(holder).layer
    dense.set_dtype(mx.float32)
    return dense


def _replace(network: nn.Module, path: str, layer: nn.Module) -> None:
    """Put ``layer`` in the place ``path`` of the network, such as ``model.layers.0.mlp.up_proj``. A number is a list's index."""
    *parents, last = path.split(".")
    owner: Any = network
    for name in parents:
        owner = owner[int(name)] if isinstance(owner, list) else owner[name]
    if isinstance(owner, list):
        owner[int(last)] = layer
    else:
        owner[last] = layer
