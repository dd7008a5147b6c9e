"""Measure how fast the ranks are connected: how long a small sum takes, and how many bytes per second a large sum sends.

    $ mlx.launch --hostfile hosts.json -m mlx_selfdebug.distributed.measure
    {"ranks": 2, "latency_s": 0.0002, "bytes_per_s": 1100000000.0}

Rank 0 prints the JSON line. ``mlx-selfdebug doctor --hosts`` reads it, and ``benchmarks/ranks.py`` predicts training steps by it.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from statistics import median

from mlx_selfdebug.distributed.group import Group
from mlx_selfdebug.distributed.launched import join

SMALL_SUMS, LARGE_SUMS = 50, 5
"""The numbers of small and of large sums that are timed. The medians count."""
WARM_UP_SUMS = 5
"""The number of small sums that are made first and not timed, because they set the connection up."""
LARGE_BYTES = 16 << 20
"""The size of a large sum, in bytes: about the gradient of an adapter of rank 16 for a model of half a billion parameters."""


@dataclass(frozen=True)
class Link:
    """What was measured of the connection between the ranks."""

    ranks: int
    """The number of ranks, at least 2."""
    latency_s: float
    """The median time of a sum of a single number, in seconds."""
    bytes_per_s: float
    """The bytes that each rank sends per second during a large sum."""

    def all_reduce_s(self, n_bytes: int, ranks: int) -> float:
        """Return the predicted time of a sum of ``n_bytes`` over ``ranks`` ranks in a ring, in seconds.

        In a ring of n ranks, a sum takes 2 (n - 1) rounds. In each round a rank sends 1 / n of the bytes (Patarasuk and Yuan 2009,
        "Bandwidth Optimal All-reduce Algorithms for Clusters of Workstations", J. Parallel Distrib. Comput. 69).
        """
        if ranks == 1:
            return 0.0
        rounds = _rounds(ranks)
        round_s = self.latency_s / _rounds(self.ranks)
        return rounds * round_s + rounds / ranks * n_bytes / self.bytes_per_s


def measure_link(group: Group) -> Link:
    """Measure the connection between the ranks of ``group``, at least two. All ranks make this call together."""
    from mlx_selfdebug.models.backend import mx

    def sum_s(n_floats: int) -> float:
        """Return the seconds that a sum of ``n_floats`` numbers of 4 bytes takes."""
        array = mx.ones(n_floats)
        mx.eval(array)
        begin = time.perf_counter()
        group.sum([array])
        return time.perf_counter() - begin

    for _ in range(WARM_UP_SUMS):
        sum_s(1)
    latency_s = median(sum_s(1) for _ in range(SMALL_SUMS))
    large_s = median(sum_s(LARGE_BYTES // 4) for _ in range(LARGE_SUMS))
    sent_bytes = _rounds(group.size) / group.size * LARGE_BYTES
    # The larger of the two: on a noisy machine, a large sum may seem to take no longer than a small one.
    return Link(group.size, latency_s, sent_bytes / max(large_s - latency_s, 1e-9))


def _rounds(ranks: int) -> int:
    """Return the number of rounds of a sum in a ring of ``ranks`` ranks: half of them add up, and half pass the result on."""
    return 2 * (ranks - 1)


def main() -> None:
    """Measure the link between the ranks that were launched, and print it on rank 0."""
    group = join()
    if group.size == 1:
        raise SystemExit("there is a single rank: start this with mlx.launch and a hosts file of several machines")
    link = measure_link(group)
    if group.is_first:
        print(json.dumps(asdict(link)))  # noqa: T201


if __name__ == "__main__":
    main()
