"""Check that the test runner leaks nothing over thousands of runs of hostile and honest programs, watched from outside.

    python benchmarks/sandbox_soak.py [--runs 20000] [--workers N]

The programs are the hostile ones of the tests' own corpus and HumanEval's canonical solutions, except those that take longer than a
second. They are run in two random orders. Processes, descriptors and temporary files are counted before and after. The runner's own
memory is measured after a quarter of the runs and at the end. Each program must get the same outcome every time.

Prints a table, then one JSON line. Exits with 1 if anything leaked or an outcome differed. Run it from a checkout, because it needs
the tests folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from mlx_selfdebug.sandbox import TestRunner, Verdict
from mlx_selfdebug.tasks import Checks, load_tasks
from tests.sandbox.escapes import ESCAPES
from tests.sandbox.hostile import ALL, ROOMY

SLOW_S = 1.0
WINDOW = 256
"""The largest number of runs that are waited for at a time."""


@dataclass(frozen=True)
class Program:
    name: str
    source: str
    checks: Checks
    entry_point: str


@dataclass(frozen=True)
class State:
    """The resources in use at one moment, none of which must grow."""

    processes: int
    descriptors: int
    files: int
    rss_bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        tempfile.tempdir = folder
        before = state(folder)
        with TestRunner(options.workers, ROOMY) as runner:
            programs = quick(runner, corpus())
            outcomes: dict[str, set[str]] = defaultdict(set)
            started = time.monotonic()
            warm = soak(runner, programs, options.runs // 4, 1, outcomes, folder)
            last = soak(runner, programs, options.runs - options.runs // 4, 2, outcomes, folder)
            seconds = time.monotonic() - started
            level = runner.isolation
        after = state(folder)
    report(options, programs, outcomes, before, warm, last, after, seconds, level)


def corpus() -> list[Program]:
    hostile = [Program(h.name, h.source, h.checks, h.entry_point) for h in [*ESCAPES, *ALL] if h.limits == ROOMY]
    tasks = load_tasks("humaneval")
    return hostile + [Program(task.id, task.reference, task.hidden, task.entry_point) for task in tasks]


def quick(runner: TestRunner, programs: Sequence[Program]) -> list[Program]:
    """Return the programs that run for less than a second. The slow ones would take nearly all of the time."""
    return [p for p in programs if runner.run(p.source, p.checks, p.entry_point).wall_s < SLOW_S]


def soak(
    runner: TestRunner, programs: Sequence[Program], runs: int, seed: int, outcomes: dict[str, set[str]], folder: str
) -> State:
    order = [programs[i % len(programs)] for i in range(runs)]
    random.Random(seed).shuffle(order)
    waiting: list[tuple[str, Future[Verdict]]] = []
    for program in order:
        waiting.append((program.name, runner.submit(program.source, program.checks, program.entry_point)))
        if len(waiting) >= WINDOW:
            name, future = waiting.pop(0)
            outcomes[name].add(future.result().outcome)
    for name, future in waiting:
        outcomes[name].add(future.result().outcome)
    return state(folder)


def state(folder: str) -> State:
    me = psutil.Process()
    return State(
        len(me.children(recursive=True)), me.num_fds(), sum(1 for _ in Path(folder).rglob("*")), me.memory_info().rss
    )


def report(
    options: argparse.Namespace, programs: Sequence[Program], outcomes: dict[str, set[str]], before: State, warm: State,
    last: State, after: State, seconds: float, level: str,
) -> None:  # fmt: skip
    unsteady = {name: sorted(seen) for name, seen in outcomes.items() if len(seen) > 1}
    print(f"{'':26}{'processes':>10}{'descriptors':>13}{'files':>7}{'MB':>8}")
    for name, s in (("before", before), ("after a quarter", warm), ("at the end", last), ("closed", after)):
        print(f"{name:26}{s.processes:>10}{s.descriptors:>13}{s.files:>7}{s.rss_bytes / 1e6:>8.1f}")
    print(
        f"{len(programs)} programs, {options.runs} runs in {seconds:.0f} s ({options.runs / seconds:.0f}/s), level {level}"
    )
    print(f"programs with more than one outcome: {unsteady or 'none'}\n")
    leaked = (after.processes, after.descriptors, after.files) != (before.processes, before.descriptors, before.files)
    record = {
        "benchmark": "sandbox_soak",
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "workers": options.workers,
        "level": level,
        "programs": len(programs),
        "runs": options.runs,
        "runs_per_s": round(options.runs / seconds, 1),
        "leaked": leaked,
        "growth_bytes": last.rss_bytes - warm.rss_bytes,
        "unsteady": unsteady,
    }
    print(json.dumps(record))
    sys.exit(1 if leaked or unsteady else 0)


if __name__ == "__main__":
    main()
