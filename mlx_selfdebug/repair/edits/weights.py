"""Define the weight of each kind of edit in the order of tries, in nats.

The weights were learned on bugs put into references of starter and MBPP training tasks, by a conditional logit model. In it, edits
have the score ``SLOPE`` * log-ratio + weight, and the weights have a normal prior. The chance that a search names a right edit of a
program is the sum of exp(score) over the right edits, divided by the same sum over all edits. 76 programs were enough to learn the
weights of the common kinds of edit; those of the others stay near 0.

The numbers are rounded by hand from one such fit. It was made by a forerunner of ``benchmarks/edit_weights.py``, which has not been
run on the real model yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SLOPE = 0.43
"""The factor of an edit's log-ratio in its score."""
UNKNOWN = -0.5
"""The weight of a kind of edit that repaired too few programs for its own weight to be learned."""
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "dropped token": 2.0,
        "argument": 1.5,
        "operand": 1.5,
        "call": 0.8,
        "slice": 0.0,
        "token": 0.0,
        "unary": 0.0,
        "boundary": 0.0,
        "plus one": -0.5,
        "arithmetic": -0.1,
        "comparison": -0.1,
        "condition": -0.3,
        "wrap": -0.3,
        "statement": -0.5,
        "swap": -0.6,
        "name": -0.8,
        "constant": -1.1,
        "inserted token": -1.2,
        "order": -1.5,
    }
)
