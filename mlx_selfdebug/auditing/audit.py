"""Measure how many wrong programs a task's checks would let through.

Mutants of the task's reference are run against its checks, and each should be caught. A wrong answer that passes weak checks
teaches the model to be wrong, so a task is called *weak* if its checks catch too small a share of its mutants. A mutant that
behaves like the reference cannot be caught, and cannot be recognised automatically, so **a share is a lower bound** on what the
checks catch. Timeouts, crashes and all other failures count as caught.

>>> from mlx_selfdebug.tasks import load_tasks
>>> with open_audit_runner(SandboxConfig()) as runner:                                  # doctest: +SKIP
...     [audit.task_id for audit in audit_tasks(load_tasks("starter"), runner) if audit.is_weak(0.5)]
[]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from mlx_selfdebug.auditing.mutants import MUTABLE, Mutant, mutants_of
from mlx_selfdebug.auditing.verify import reason_of
from mlx_selfdebug.config import SandboxConfig
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.errors import SandboxError
from mlx_selfdebug.progress import NullProgress, Progress
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from mlx_selfdebug.sandbox.runner import TestRunner

MUTANTS = 20
"""The number of mutants that are drawn per task by default."""

MIN_MUTANTS = 5
"""The number of mutants a task must have to be called weak. With fewer, a single one that is no mistake would decide."""

CPU_S, WALL_S = 1.0, 3.0
"""The limits of a test run. They are short because one mutant in sixty never ends, and each is waited for."""


@dataclass(frozen=True)
class MutantRun:
    """One mutant and the outcomes of its tests."""

    mutant: Mutant
    hidden: Outcome | None
    """The outcome under the hidden checks, or None if the task has none."""
    public: Outcome | None
    """The outcome under the public checks, or None if the task has none."""

    @property
    def caught(self) -> bool:
        return any(outcome not in ("passed", None) for outcome in (self.hidden, self.public))


@dataclass(frozen=True)
class TaskAudit:
    """The result of the audit of one task."""

    task_id: str
    runs: tuple[MutantRun, ...] = ()
    problem: str = ""
    """Why the reference does not pass its checks, or empty if it does."""
    unknown: str = ""
    """Why there are no mutants to judge the checks by, or empty if there are."""

    @property
    def survivors(self) -> list[Mutant]:
        return [run.mutant for run in self.runs if not run.caught]

    @property
    def caught(self) -> int:
        """Return the number of mutants that the hidden or the public checks catch. An answer must pass both to be learned from."""
        return len(self.runs) - len(self.survivors)

    @property
    def by_hidden(self) -> int | None:
        """Return the number of mutants that the hidden checks catch, or None without hidden checks or mutants."""
        return _n_caught([run.hidden for run in self.runs])

    @property
    def by_public(self) -> int | None:
        """Return the number of mutants that the public checks catch, or None without public checks or mutants."""
        return _n_caught([run.public for run in self.runs])

    def is_weak(self, below: float) -> bool:
        """Return whether a smaller share than ``below`` was caught of at least ``MIN_MUTANTS`` mutants."""
        return len(self.runs) >= MIN_MUTANTS and self.caught < below * len(self.runs)

    def to_dict(self) -> dict[str, Any]:
        counts = {"caught": self.caught, "by_hidden": self.by_hidden, "by_public": self.by_public}
        reasons = {"problem": self.problem, "unknown": self.unknown}
        survivors = [asdict(mutant) for mutant in self.survivors]
        return {"task_id": self.task_id, "mutants": len(self.runs), **counts, **reasons, "survivors": survivors}


def _n_caught(outcomes: Sequence[Outcome | None]) -> int | None:
    return sum(outcome != "passed" for outcome in outcomes) if outcomes and None not in outcomes else None


def open_audit_runner(config: SandboxConfig, *, allow_weak_sandbox: bool = False) -> TestRunner:
    """Open a test runner with short limits, since some of its programs never end. Raises SandboxError as ``open_runner`` does."""
    from mlx_selfdebug.domains.running import open_runner

    limits = replace(config, cpu_s=min(config.cpu_s, CPU_S), wall_s=min(config.wall_s, WALL_S))
    return open_runner(limits, allow_weak_sandbox=allow_weak_sandbox)


def audit_tasks(
    tasks: Sequence[Task],
    runner: TestRunner,
    *,
    mutants: int = MUTANTS,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[TaskAudit]:
    """Audit each task with at most ``mutants`` mutants, or with all of them if ``mutants`` is 0.

    The mutants are drawn by ``seed`` and the task's id. The audits are in the order of the tasks. Raises SandboxError if a test
    could not be run.
    """
    started = [_start_audit(task, runner, mutants, f"{seed}:{task.id}") for task in tasks]
    audits = []
    with (progress or NullProgress()).stage("audit", len(started), "tasks") as stage:
        for audit in started:
            audits.append(audit.result() if isinstance(audit, _StartedAudit) else audit)
            stage.advance(1)
    return audits


def _start_audit(task: Task, runner: TestRunner, max_mutants: int, seed: str) -> _StartedAudit | TaskAudit:
    """Start the test runs of a task, or return its audit if no runs can be made."""
    if task.domain not in MUTABLE:
        return TaskAudit(task.id, unknown=f"no mutants can be made of tasks of the domain {task.domain}")
    if not (task.hidden or task.public):
        return TaskAudit(task.id, unknown="the task has no checks")
    mutants = mutants_of(task.reference, task.entry_point, max_mutants=max_mutants, seed=seed)
    if not mutants:
        reason = "its reference holds nothing to change" if task.reference else "the task has no reference"
        return TaskAudit(task.id, unknown=reason)
    reference = _start_runs(task, task.reference, runner)
    return _StartedAudit(task.id, reference, {mutant: _start_runs(task, mutant.source, runner) for mutant in mutants})


_Runs = Mapping[str, "Future[Verdict] | None"]
"""The runs by the names "hidden" and "public". A run is None if the task has no checks of that kind."""


def _start_runs(task: Task, source: str, runner: TestRunner) -> _Runs:
    checks_by_kind = {"hidden": task.hidden, "public": task.public}
    judge = domain_of(task.domain).judge
    return {kind: judge(source, task, checks, runner) if checks else None for kind, checks in checks_by_kind.items()}


@dataclass(frozen=True)
class _StartedAudit:
    """An audit whose test runs have been started."""

    task_id: str
    reference: _Runs
    mutants: Mapping[Mutant, _Runs]

    def result(self) -> TaskAudit:
        for name, verdict in self._verdicts(self.reference):
            if verdict and not verdict.passed:
                self._cancel()
                return self._without_reference(name, verdict)
        return TaskAudit(self.task_id, tuple(self._run_of(mutant, runs) for mutant, runs in self.mutants.items()))

    def _run_of(self, mutant: Mutant, runs: _Runs) -> MutantRun:
        outcomes = {name: verdict.outcome if verdict else None for name, verdict in self._verdicts(runs)}
        return MutantRun(mutant, outcomes["hidden"], outcomes["public"])

    def _without_reference(self, name: str, verdict: Verdict) -> TaskAudit:
        if verdict.outcome in ("timeout_cpu", "timeout_wall"):
            # The audit's limits are shorter than those of a run, under which the reference may well pass.
            return TaskAudit(self.task_id, unknown="its reference takes longer than the time limit of an audit")
        return TaskAudit(self.task_id, problem=f"the reference does not pass the {name} checks: {reason_of(verdict)}")

    def _verdicts(self, runs: _Runs) -> Iterator[tuple[str, Verdict | None]]:
        for name, future in runs.items():
            verdict = future.result() if future else None
            if verdict and verdict.outcome == "infrastructure":
                raise SandboxError(
                    f"the {name} checks of {self.task_id} could not be run: {reason_of(verdict)}",
                    hint="look at the task with: mlx-selfdebug tasks check SET",
                )
            yield name, verdict

    def _cancel(self) -> None:
        for runs in self.mutants.values():
            for future in runs.values():
                if future:
                    future.cancel()
