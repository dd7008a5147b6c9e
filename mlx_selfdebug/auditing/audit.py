"""How much would a task's checks let through? Mutants of its reference are run against them; each should be caught.

A wrong answer that passes weak checks teaches the model to be wrong, so a task whose checks catch too small a share of its mutants
is *weak*. A mutant that behaves like the reference cannot be caught, nor be told apart automatically, so **a share is a lower
bound** on what the checks catch. Timeouts, crashes and all other failures count as caught.

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

from mlx_selfdebug.auditing.mutants import Mutant, mutants_of
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
"""Mutants drawn a task, unless asked otherwise."""

FEWEST = 5
"""Mutants a task must have to be called weak: of fewer, one that is no mistake would decide."""

CPU_S, WALL_S = 1.0, 3.0
"""Limits of a run: one mutant in sixty never ends, and each is waited for."""


@dataclass(frozen=True)
class MutantRun:
    """The outcome under each kind of checks; None where the task has none of the kind."""

    mutant: Mutant
    hidden: Outcome | None
    public: Outcome | None

    @property
    def caught(self) -> bool:
        return any(outcome not in ("passed", None) for outcome in (self.hidden, self.public))


@dataclass(frozen=True)
class TaskAudit:
    """``problem``: why the reference does not pass. ``unknown``: why there are no mutants to judge the checks by."""

    task_id: str
    runs: tuple[MutantRun, ...] = ()
    problem: str = ""
    unknown: str = ""

    @property
    def survivors(self) -> list[Mutant]:
        return [run.mutant for run in self.runs if not run.caught]

    @property
    def caught(self) -> int:
        """By hidden or public checks: an answer must pass both to be learned from."""
        return len(self.runs) - len(self.survivors)

    @property
    def by_hidden(self) -> int | None:
        """None where there are no such checks, or no mutants; so for ``by_public``."""
        return _n_caught([run.hidden for run in self.runs])

    @property
    def by_public(self) -> int | None:
        return _n_caught([run.public for run in self.runs])

    def is_weak(self, below: float) -> bool:
        """Whether less than the share ``below`` of at least ``FEWEST`` mutants was caught."""
        return len(self.runs) >= FEWEST and self.caught < below * len(self.runs)

    def to_dict(self) -> dict[str, Any]:
        counts = {"caught": self.caught, "by_hidden": self.by_hidden, "by_public": self.by_public}
        said = {"problem": self.problem, "unknown": self.unknown}
        survivors = [asdict(mutant) for mutant in self.survivors]
        return {"task_id": self.task_id, "mutants": len(self.runs), **counts, **said, "survivors": survivors}


def _n_caught(outcomes: Sequence[Outcome | None]) -> int | None:
    return sum(outcome != "passed" for outcome in outcomes) if outcomes and None not in outcomes else None


def open_audit_runner(config: SandboxConfig, *, allow_weak_sandbox: bool = False) -> TestRunner:
    """With limits short enough for programs of which some never end. Raises SandboxError as ``open_runner`` does."""
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
    """At most ``mutants`` mutants a task (0 = all), drawn by ``seed`` and the task's id, in the order of the tasks.

    Raises SandboxError if a run could not be made.
    """
    started = [_begin(task, runner, mutants, f"{seed}:{task.id}") for task in tasks]
    audits = []
    with (progress or NullProgress()).stage("audit", len(started), "tasks") as stage:
        for begun in started:
            audits.append(begun.result() if isinstance(begun, _Begun) else begun)
            stage.advance(1)
    return audits


def _begin(task: Task, runner: TestRunner, most: int, seed: str) -> _Begun | TaskAudit:
    """The runs of a task, or what is known without any."""
    if task.domain != "python":
        return TaskAudit(task.id, unknown=f"no mutants of the domain {task.domain} are known")
    if not (task.hidden or task.public):
        return TaskAudit(task.id, unknown="no checks")
    found = mutants_of(task.reference, task.entry_point, most=most, seed=seed)
    if not found:
        return TaskAudit(task.id, unknown="nothing to change in its reference" if task.reference else "no reference")
    reference = _start(task, task.reference, runner)
    return _Begun(task.id, reference, {mutant: _start(task, mutant.source, runner) for mutant in found})


_Runs = Mapping[str, "Future[Verdict] | None"]
"""hidden and public; a run that there was nothing for is None."""


def _start(task: Task, source: str, runner: TestRunner) -> _Runs:
    kinds = {"hidden": task.hidden, "public": task.public}
    judge = domain_of(task.domain).judge
    return {name: judge(source, task, kind, runner) if kind else None for name, kind in kinds.items()}


@dataclass(frozen=True)
class _Begun:
    """A task whose runs are under way."""

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
            # The limits are the audit's own: under those of a run it may well pass.
            return TaskAudit(self.task_id, unknown="its reference takes longer than an audit's run may")
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
