"""Measure the connection between ranks: how long a small sum takes, and how many bytes per second a large one passes on.

    mlx.launch --hostfile hosts.json -m mlx_selfdebug.distributed.measure

Rank 0 prints one JSON line.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from statistics import median

from mlx_selfdebug.distributed.group import Group
from mlx_selfdebug.distributed.launched import join

SMALL_SUMS, LARGE_SUMS = 50, 5
LARGE_BYTES = 16 << 20
"""The size of a large sum, in bytes: about the gradient of an adapter of rank 16 for a model of half a billion parameters."""


@dataclass(frozen=True)
class Link:
    """What was measured of the connection between the ranks."""

    ranks: int
    latency_s: float
    """The median time of a sum over a single number, in seconds."""
    bytes_per_s: float
    """The bytes that a rank sends per second in a large sum, of which it sends 2 (n - 1) / n times the size."""

    def all_reduce_s(self, n_bytes: int, ranks: int) -> float:
        """Return the predicted time of a sum of ``n_bytes`` over ``ranks`` ranks, in seconds.

        In a ring, the sum takes 2 (n - 1) rounds, in each of which a rank sends a share of 1 / n (Patarasuk and Yuan 2009,
        "Bandwidth Optimal All-reduce Algorithms for Clusters of Workstations", J. Parallel Distrib. Comput. 69).
        """
        if ranks == 1:
            return 0.0
        rounds = 2 * (ranks - 1)
        per_round = self.latency_s / (2 * (self.ranks - 1))
        return rounds * per_round + rounds / ranks * n_bytes / self.bytes_per_s


def measure_link(group: Group) -> Link:
    """Return what a group's connection does. All ranks make this call together."""
    from mlx_selfdebug.models.backend import mx

    def sum_s(n_floats: int) -> float:
        array = mx.ones(n_floats)
        mx.eval(array)
        begin = time.perf_counter()
        group.sum([array])
        return time.perf_counter() - begin

    for _ in range(5):  # the first sums set the connection up
        sum_s(1)
    latency = median(sum_s(1) for _ in range(SMALL_SUMS))
    large = median(sum_s(LARGE_BYTES // 4) for _ in range(LARGE_SUMS))
    sent = 2 * (group.size - 1) / group.size * LARGE_BYTES
    return Link(group.size, latency, sent / max(large - latency, 1e-9))


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
