"""Measure this machine stage by stage, keep the result as a record, and make tables of the records of many machines.

record = bench("qwen2.5-coder-0.5b", repeats=3)
record.save("benchmarks/results")
"""

from mlx_selfdebug.bench.measure import bench
from mlx_selfdebug.bench.record import Record, read_records

__all__ = ["Record", "bench", "read_records"]
