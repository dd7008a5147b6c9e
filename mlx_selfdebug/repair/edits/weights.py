"""What an edit's kind is worth in the order of tries, in nats; learned by ``benchmarks/reading.py --fit``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SLOPE = 1.0
"""What a nat of the first-order change of log-likelihood is worth."""
UNKNOWN = -3.0
"""The weight of a kind that was never seen to mend anything."""
WEIGHTS: Mapping[str, float] = MappingProxyType({"token": 0.0, "inserted token": -0.5, "dropped token": 0.0})
