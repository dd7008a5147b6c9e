"""Derive the seed of each attempt from what the attempt is, not from when it ran."""

from __future__ import annotations

import hashlib


def attempt_seed(run_seed: int, task_id: str, arm: str, sample: int, round_: int) -> int:
    """Return a 63-bit seed for an attempt, derived from its natural key.

    The same key gives the same seed in every process and on every machine.
    """
    key = "\x1f".join([str(run_seed), task_id, arm, str(sample), str(round_)])
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1
