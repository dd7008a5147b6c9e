"""SwiGLU from additions and multiplications, for the CPU.

mlx's exponential on x86 takes one number at a time, 12 to 16 ns each; its additions and multiplications take 0.2. So the sigmoid in
every SwiGLU, a sixth of a decode step and a third of a prefill, is computed here as 2^n times a polynomial: 3 ns, and closer to the
true value than mlx's own. Other devices keep mlx-lm's fused form.
"""

from __future__ import annotations

from typing import Any

from mlx_selfdebug.models.backend import device_name, mx, nn

LOG2_E = 1.4426950408889634
ROUNDER = 12582912.0
"""1.5 * 2^23: added to a float32, it leaves its nearest integer in the low bits."""
MANTISSA_BITS, EXPONENT_BIAS = 23, 127
POWER_OF_TWO = (0.0013276470, 0.0096755410, 0.055507131, 0.24022120, 0.69314694, 1.0000001)
"""2^f on [-1/2, 1/2], highest power first; relative error 8e-8 (least maximum, by iterated weights)."""
MOST, LEAST = 126.0, -126.0
TOLERANCE = 1e-5


def exp(x: mx.array) -> mx.array:
    """e^x in float32, within 1e-6 of itself for |x| < 10; between 2^-126 and 2^126. Not differentiable: see :func:`swiglu`."""
    power = mx.minimum(mx.maximum(x.astype(mx.float32) * LOG2_E, LEAST), MOST)
    rounded = power + ROUNDER
    fraction = power - (rounded - ROUNDER)
    value = POWER_OF_TWO[0] * fraction + POWER_OF_TWO[1]
    for coefficient in POWER_OF_TWO[2:]:
        value = value * fraction + coefficient
    scale = mx.left_shift(rounded.view(mx.int32), MANTISSA_BITS) + (EXPONENT_BIAS << MANTISSA_BITS)
    return value * scale.view(mx.float32)


def exp_here(x: mx.array) -> mx.array:
    """e^x in float32 by the quicker way on this device. Not differentiable, and not exact where it is below 2^-126."""
    return exp(x) if device_name() == "cpu" else mx.exp(x.astype(mx.float32))


@mx.custom_function
def swiglu(gate: mx.array, up: mx.array) -> mx.array:
    """silu(gate) * up, computed in float32."""
    return (gate * up / (1.0 + exp(-gate))).astype(up.dtype)


@swiglu.vjp
def _swiglu_vjp(primals: tuple[mx.array, mx.array], cotangent: mx.array, _: mx.array) -> tuple[mx.array, mx.array]:
    gate, up = primals
    sigmoid = 1.0 / (1.0 + exp(-gate))
    silu = gate * sigmoid
    slope = cotangent * up * (sigmoid + silu * (1.0 - sigmoid))
    return slope.astype(gate.dtype), (cotangent * silu).astype(up.dtype)


def speed_up_activations(network: nn.Module) -> int:
    """Have the network's SwiGLU layers, float32, compute with :func:`swiglu`; how many do.

    A layer is changed only where the result, tried on numbers, is what it was.
    """
    same: dict[type, bool] = {}
    changed = 0
    for _, layer in network.named_modules():
        kind = type(layer)
        if not {"gate_proj", "up_proj", "down_proj"} <= layer.keys() or kind in _FASTER.values():
            continue
        if kind not in same:
            same[kind] = _computes_swiglu(layer)
        if same[kind]:
            layer.__class__ = _faster(kind)
            changed += 1
    return changed


def _computes_swiglu(layer: nn.Module) -> bool:
    try:
        size = layer.gate_proj.weight.shape[-1]
        x = mx.random.normal((3, size), key=mx.random.key(0))
        wanted, got = layer(x), _forward(layer, x)
    except (AttributeError, TypeError, ValueError):
        return False
    return bool((mx.max(mx.abs(wanted - got)) <= TOLERANCE * mx.max(mx.abs(wanted))).item())


def _forward(layer: Any, x: mx.array) -> mx.array:
    down: mx.array = layer.down_proj(swiglu(layer.gate_proj(x), layer.up_proj(x)))
    return down


_FASTER: dict[type, type] = {}


def _faster(kind: type) -> type:
    """A subclass of ``kind`` alone: the class of mlx-lm itself stays as it is for everyone else."""
    if kind not in _FASTER:
        _FASTER[kind] = type(kind.__name__, (kind,), {"__call__": _forward, "__module__": kind.__module__})
    return _FASTER[kind]
