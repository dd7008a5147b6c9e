"""Count the small slips that the model makes: the operators whose single edits mend its own failed programs.

    python benchmarks/slips.py RUN [--limit N]

For each failed draft of a run, every program that is one edit away is tested (``auditing/mutants.py`` has the operators). If an
edit makes the public and the hidden checks pass, the model made the slip that this edit undoes. Nothing is decoded. The counts are
meant for ``repair/planting.py``, which draws all operators alike so far. Prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import mlx_selfdebug as sd
from mlx_selfdebug.auditing.mutants import Mutant, mutants_of
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.progress import Bars
from mlx_selfdebug.repair.edits.trying import QuickRunner, wall_s_of
from mlx_selfdebug.repair.judging import distinct
from mlx_selfdebug.repair.policies import repairable
from mlx_selfdebug.sandbox import Limits, TestRunner
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task

LIMITS = Limits(wall_s=3, cpu_s=3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a run that has collected")
    parser.add_argument("--limit", type=int, default=0, help="number of failed drafts to look at; 0 = all")
    options = parser.parse_args()
    with sd.open_stored(options.run) as run:
        attempts, collect = run.attempts("collect"), run.config.collect
    tasks = {task.id: task for task in load_tasks(collect.tasks).spread(collect.limit)}
    failed = [
        (task, attempt)
        for task in tasks.values()
        for attempt in distinct([a for a in attempts if a.task_id == task.id], task)
        if attempt.kind == "draft" and repairable(attempt)
    ][: options.limit or None]
    mended: Counter[str] = Counter()
    n_mended = 0
    with TestRunner(2, LIMITS) as runner, Bars().stage("slips", len(failed), "programs") as stage:
        for task, attempt in failed:
            operators = mending_operators(task, attempt, runner)
            mended.update(operators)
            n_mended += bool(operators)
            stage.advance(1, f"{n_mended} mended")
    print(f"{n_mended} of {len(failed)} failed drafts are mended by one edit")
    for operator, n in mended.most_common():
        print(f"{operator:12}{n:5}")
    print(json.dumps({"benchmark": "slips", "programs": len(failed), "mended": n_mended, "operators": dict(mended)}))


def mending_operators(task: Task, attempt: Attempt, runner: TestRunner) -> set[str]:
    """Return the operators of which some single edit makes the program right."""
    domain = domain_of(task.domain)
    quick = QuickRunner(runner, wall_s_of(attempt.public, LIMITS.wall_s))
    mutants: list[Mutant] = mutants_of(attempt.code, task.entry_point)
    public = [domain.judge(mutant.source, task, task.public, quick) for mutant in mutants]
    passing = [mutant for mutant, verdict in zip(mutants, public, strict=True) if verdict.result().passed]
    hidden = [domain.judge(mutant.source, task, task.hidden, runner) for mutant in passing]
    return {mutant.operator for mutant, verdict in zip(passing, hidden, strict=True) if verdict.result().passed}


if __name__ == "__main__":
    main()
