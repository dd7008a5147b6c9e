"""What an edit's kind is worth in the order of tries, in nats: learned on bugs put into starter and MBPP training references.

A conditional logit model: of all edits of a failed program, the chance that one of the right ones is named is the sum of their
exp(score) over that of all, score = ``SLOPE`` * ratio + weight, with a normal prior on the weights; ``benchmarks/reading.py fit``
gives these numbers again.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SLOPE = 0.43
"""What a nat of the first-order change of log-likelihood is worth."""
UNKNOWN = -0.5
"""The weight of a kind that mended too little to tell."""
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
