"""Derive the seed of each attempt from what identifies the attempt, so that it does not depend on when the attempt ran."""

from __future__ import annotations

import hashlib


def attempt_seed(run_seed: int, task_id: str, arm: str, sample: int, round_: int) -> int:
    """Return a seed of 63 bits, which SQLite can store, for the attempt that these arguments identify.

    The same arguments give the same seed in every process and on every machine.
    """
    # The separator keeps apart keys whose parts would otherwise join to the same text, such as ("a1", "2") and ("a", "12").
    key = "\x1f".join([str(run_seed), task_id, arm, str(sample), str(round_)])
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1
