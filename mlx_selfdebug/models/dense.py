"""Turn quantized layers into dense float32 layers, which the CPU computes fast.

The largest layer is converted first, while there is still room for the copies that this takes. After that, the memory
peaks at the size of the float32 model plus one layer. The values are those of ``mx.dequantize`` with float32 scales.
Weights are unpacked in NumPy where possible, because mlx's own unpacking is five times slower for 5 bits, which most
weights of a Q4_K_M file have.
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


def dequantize_network(network: nn.Module, progress: Progress) -> None:
    """Replace every quantized layer of ``network`` with a dense one and convert all other parameters to float32, in place.

    If the network has a separate head, its embedding stays packed, with float32 scales: it is never part of a matrix
    product, and the few rows that are looked up are quick to unpack. This saves 0.5 GB for the 0.5B.
    """
    quantized = [(path, module) for path, module in network.named_modules() if "scales" in module]
    quantized.sort(key=lambda item: item[1].weight.nbytes)
    with progress.stage("load", len(quantized), "tensors") as stage:
        while quantized:
            # Taking the layer off the list frees its quantized weights before the next layer is read.
            path, module = quantized.pop()
            if not _only_looked_up(network, module):
                _replace(network, path, _dense(module))
            stage.advance(note=path)
    network.set_dtype(mx.float32)


def dense_bytes(network: nn.Module) -> int:
    """Return the number of bytes that the parameters of ``network`` take after :func:`dequantize_network`.

    Nothing is computed.
    """
    total: int = sum(4 * array.size for _, array in tree_flatten(network.parameters()) if array.dtype != mx.uint32)
    for _, module in network.named_modules():
        if "scales" not in module:
            continue
        packed_bytes, n_weights = module.weight.nbytes, module.weight.size * 32 // module.bits
        # The sum above counts the scales and biases, which a dense layer does not have.
        scale_bytes = 4 * (module.scales.size + (module.biases.size if "biases" in module else 0))
        total += packed_bytes if _only_looked_up(network, module) else 4 * n_weights - scale_bytes
    return total


def unpack(weight: npt.NDArray[np.uint32], scales: Floats, biases: Floats, bits: int) -> Floats:
    """Return affine-packed rows as float32 of shape (rows, columns).

    ``weight`` has shape (rows, columns * bits / 32), ``scales`` and ``biases`` have shape (rows, groups).
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
    padded = np.zeros((octets.size // 5, 8), np.uint8)
    padded[:, :5] = octets.reshape(-1, 5)
    words = padded.view(np.uint64)[:, 0]
    eights = out.reshape(-1, 8)
    for i in range(8):
        eights[:, i] = words >> np.uint64(5 * i) & np.uint64(31)


def _only_looked_up(network: nn.Module, module: nn.Module) -> bool:
    return isinstance(module, nn.QuantizedEmbedding) and "lm_head" in network


def _dense(module: nn.Module) -> nn.Module:
    """Return the same layer with dense float32 weights."""
    # The scales are converted first, because fp16 scales would round each weight to fp16.
    module.set_dtype(mx.float32)
    known = isinstance(module, nn.QuantizedLinear | nn.QuantizedEmbedding) and module.mode == "affine"
    dense = _unpacked(module) if known and module.bits in (4, 5, 8) else _by_mlx(module)
    mx.eval(dense.parameters())
    return dense


def _unpacked(module: nn.Module) -> nn.Module:
    arrays = [np.array(module[name], copy=False) for name in ("weight", "scales", "biases")]
    weight = mx.array(unpack(arrays[0], arrays[1], arrays[2], module.bits))
    rows, columns = weight.shape
    if isinstance(module, nn.QuantizedEmbedding):
        layer = nn.Embedding(rows, columns)
    else:
        layer = nn.Linear(columns, rows, bias="bias" in module)
    layer.weight = weight
    if "bias" in module:
        layer.bias = module.bias
    return layer


def _by_mlx(module: nn.Module) -> nn.Module:
    holder = nn.Module()
    holder.layer = module
    layer = dequantize_model(holder).layer
    layer.set_dtype(mx.float32)
    return layer


def _replace(network: nn.Module, path: str, layer: nn.Module) -> None:
    *parents, last = path.split(".")
    owner: Any = network
    for name in parents:
        owner = owner[int(name)] if isinstance(owner, list) else owner[name]
    if isinstance(owner, list):
        owner[int(last)] = layer
    else:
        owner[last] = layer
