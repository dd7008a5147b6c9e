"""Compute the factors by which Llama 3.1 slows down the rotation of positions, and recognize such factors.

In config.json this scaling is four numbers, which are the argument of :func:`rope_factors`. A GGUF file has the factors themselves
instead, one for each pair of rotated dimensions, in the tensor ``rope_freqs.weight``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
ROPE_FACTORS = "rope_freqs.weight"
"""The name of the tensor that holds the factors."""
ORIGINAL_CONTEXT = 8192
"""The number of positions that Llama 3.1 and its successors were trained on before their rotation was slowed down."""
TOLERANCE = 1e-4
"""The largest relative difference from the formula's factors at which factors are recognized."""


def rope_factors(scaling: Mapping[str, Any], base: float, dimensions: int) -> Floats:
    """Return the factor by which each pair of dimensions rotates slower: float32 of shape (dimensions / 2,).

    Pairs that rotate fast keep their speed (factor 1), and slow pairs are slowed by ``scaling["factor"]``. Between the two, the
    factor rises smoothly. The formula is ``_compute_llama3_parameters`` of transformers.

    Args:
        scaling: the entry ``rope_scaling`` of config.json, of type ``llama3``.
        base: the entry ``rope_theta`` of config.json.
        dimensions: the size of an attention head.
    """
    low, high = scaling.get("low_freq_factor", 1.0), scaling.get("high_freq_factor", 4.0)
    original = scaling.get("original_max_position_embeddings", ORIGINAL_CONTEXT)
    wavelengths = 2 * np.pi * base ** (np.arange(0, dimensions, 2) / dimensions)
    speed_kept = np.clip((original / wavelengths - low) / (high - low), 0.0, 1.0)
    factors = 1 / ((1 - speed_kept) / scaling["factor"] + speed_kept)
    return np.asarray(factors, np.float32)


def recognize_scaling(
    factors: Floats, base: float, dimensions: int, original: int = ORIGINAL_CONTEXT
) -> dict[str, Any] | None:
    """Return the entry ``rope_scaling`` of config.json that has these factors, or None if no such entry is known.

    The limits between fast and slow pairs are assumed to be those of Llama 3.1, which all published models of this kind use.

    Args:
        factors: float32 of shape (dimensions / 2,).
        base: the entry ``rope_theta`` of config.json.
        dimensions: the size of an attention head.
        original: the number of positions that the model was trained on at first.
    """
    if not np.isfinite(factors).all() or factors.min() < 1:
        return None
    scaling = {
        "rope_type": "llama3",
        "factor": float(factors.max()),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": original,
    }
    return scaling if np.allclose(factors, rope_factors(scaling, base, dimensions), rtol=TOLERANCE) else None
