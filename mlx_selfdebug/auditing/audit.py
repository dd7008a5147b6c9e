"""Measure how many wrong programs a task's checks would let through.

Mutants of the task's reference are run against its checks, and the checks should catch each of them. A wrong answer that passes
teaches the model a mistake, so a task is called *weak* if its checks catch too small a share of the mutants. A mutant that behaves
like the reference cannot be caught, and it cannot be recognised automatically. **The share is therefore a lower bound** on what the
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
"""The default for the number of mutants that are drawn per task."""

MIN_MUTANTS = 5
"""The minimum number of mutants of a task that may be called weak. With fewer, one mutant that is no mistake could decide."""

CPU_S, WALL_S = 1.0, 3.0
"""The time limits of a test run, in seconds. They are short because about one mutant in sixty never ends and runs into them."""


@dataclass(frozen=True)
class MutantRun:
    """A mutant and the outcomes of its tests."""

    mutant: Mutant
    hidden: Outcome | None
    """The outcome under the hidden checks, or None if the task has none."""
    public: Outcome | None
    """The outcome under the public checks, or None if the task has none."""

    @property
    def caught(self) -> bool:
        """Whether the hidden or the public checks fail the mutant."""
        return any(outcome not in ("passed", None) for outcome in (self.hidden, self.public))


@dataclass(frozen=True)
class TaskAudit:
    """The result of the audit of one task."""

    task_id: str
    runs: tuple[MutantRun, ...] = ()
    """The runs of the mutants that were drawn, in the order of the source."""
    problem: str = ""
    """Why the reference does not pass its checks, or empty if it does."""
    unknown: str = ""
    """Why there are no mutants to judge the checks by, or empty if there are."""

    @property
    def survivors(self) -> list[Mutant]:
        """The mutants that pass all checks."""
        return [run.mutant for run in self.runs if not run.caught]

    @property
    def caught(self) -> int:
        """The number of mutants that the hidden or the public checks catch. Only answers that pass both are learned from."""
        return len(self.runs) - len(self.survivors)

    @property
    def by_hidden(self) -> int | None:
        """The number of mutants that the hidden checks catch, or None without hidden checks or mutants."""
        return _n_caught([run.hidden for run in self.runs])

    @property
    def by_public(self) -> int | None:
        """The number of mutants that the public checks catch, or None without public checks or mutants."""
        return _n_caught([run.public for run in self.runs])

    def is_weak(self, below: float) -> bool:
        """Return whether there are at least ``MIN_MUTANTS`` mutants and the share caught is smaller than ``below`` (0 to 1)."""
        return len(self.runs) >= MIN_MUTANTS and self.caught < below * len(self.runs)

    def to_dict(self) -> dict[str, Any]:
        """Return the audit as a dictionary that can be written as JSON."""
        counts = {"caught": self.caught, "by_hidden": self.by_hidden, "by_public": self.by_public}
        reasons = {"problem": self.problem, "unknown": self.unknown}
        survivors = [asdict(mutant) for mutant in self.survivors]
        return {"task_id": self.task_id, "mutants": len(self.runs), **counts, **reasons, "survivors": survivors}


def _n_caught(outcomes: Sequence[Outcome | None]) -> int | None:
    return sum(outcome != "passed" for outcome in outcomes) if outcomes and None not in outcomes else None


def open_audit_runner(config: SandboxConfig, *, allow_weak_sandbox: bool = False) -> TestRunner:
    """Open a test runner with the limits ``CPU_S`` and ``WALL_S``, or the limits of ``config`` where those are shorter.

    Raises SandboxError if programs cannot be fully confined on this machine, unless a weak sandbox is allowed.
    """
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
    """Return the audit of each task, in the order of the tasks.

    At most ``mutants`` mutants are drawn per task, or all of them if ``mutants`` is 0. The draw depends only on ``seed`` and the
    task's id. Raises SandboxError if a test could not be run.
    """
    started = [_start_audit(task, runner, mutants, f"{seed}:{task.id}") for task in tasks]
    audits = []
    with (progress or NullProgress()).stage("audit", len(started), "tasks") as stage:
        for audit in started:
            audits.append(audit.result() if isinstance(audit, _StartedAudit) else audit)
            stage.advance(1)
    return audits


def _start_audit(task: Task, runner: TestRunner, max_mutants: int, seed: str) -> _StartedAudit | TaskAudit:
    """Start the test runs of a task, or return its audit if there is nothing to run."""
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
"""The runs of one program, under the keys "hidden" and "public". A run is None if the task has no checks of that kind."""


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
        """Wait for the runs and return the audit. The mutants do not count if the reference fails."""
        for name, verdict in self._verdicts(self.reference):
            if verdict and not verdict.passed:
                self._cancel()
                return self._with_failed_reference(name, verdict)
        return TaskAudit(self.task_id, tuple(self._run_of(mutant, runs) for mutant, runs in self.mutants.items()))

    def _run_of(self, mutant: Mutant, runs: _Runs) -> MutantRun:
        outcomes = {name: verdict.outcome if verdict else None for name, verdict in self._verdicts(runs)}
        return MutantRun(mutant, outcomes["hidden"], outcomes["public"])

    def _with_failed_reference(self, name: str, verdict: Verdict) -> TaskAudit:
        if verdict.outcome in ("timeout_cpu", "timeout_wall"):
            # This is no problem of the task: the reference may well pass within the longer limits that other stages use.
            return TaskAudit(self.task_id, unknown="its reference takes longer than the time limit of an audit")
        return TaskAudit(self.task_id, problem=f"the reference does not pass the {name} checks: {reason_of(verdict)}")

    def _verdicts(self, runs: _Runs) -> Iterator[tuple[str, Verdict | None]]:
        """Wait for the runs of one program, and yield the name of each with its verdict, or None if there is no such run.

        Raises SandboxError if the machine could not make a run.
        """
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
