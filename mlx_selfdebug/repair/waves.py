"""Drafts and repairs in waves: decode a batch, test each completion while the others decode, store it, choose what to repair.

A wave holds the same jobs whether the run was killed before or not, so its completions are the same too. A wave whose
attempts are all stored is not decoded again; one cut short is decoded again and only what is missing is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.errors import SandboxError
from mlx_selfdebug.progress import Stage
from mlx_selfdebug.repair.attempt import Attempt, attempt_id
from mlx_selfdebug.sampling import Completion, Request, attempt_seed
from mlx_selfdebug.sampling.language_model import LanguageModel
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.sandbox.verdict import Verdict
from mlx_selfdebug.store import Run
from mlx_selfdebug.tasks.checks import Checks
from mlx_selfdebug.tasks.task import Task

T = TypeVar("T")

NO_CHECKS = Verdict("passed")
"""The public verdict of a task that has no public checks: nothing was shown to fail."""


@dataclass(frozen=True)
class Decoding:
    """How completions are drawn. ``batch_size`` is part of it: the shape of a batch touches the last digits of its logits."""

    temperature: float
    min_p: float
    max_tokens: int
    batch_size: int


Chooser = Callable[[Task, Sequence[Attempt]], Sequence[Attempt]]
"""A task and its attempts of the last round and before -> those to repair next."""


@dataclass(frozen=True)
class _Job:
    task: Task
    sample: int
    round: int
    parent: Attempt | None


class Waves:
    """Runs rounds of drafts and repairs of one arm and stores every attempt as it ends."""

    def __init__(
        self, run: Run, model: LanguageModel, runner: TestRunner, arm: str, decoding: Decoding, stage: Stage
    ) -> None:
        self._run, self._model, self._runner = run, model, runner
        self._arm, self._decoding, self._stage = arm, decoding, stage
        self._stored = {attempt.id: attempt for attempt in run.attempts(arm)}

    def play(self, tasks: Sequence[Task], samples: int, rounds: int, choose: Chooser) -> list[Attempt]:
        """``samples`` drafts a task, then up to ``rounds`` rounds of repair of what ``choose`` picks. All attempts, in order.

        A round is over for all tasks before the next begins: the few repairs of each task share full waves.
        """
        attempts = self._decode([_Job(task, sample, 0, None) for task in tasks for sample in range(samples)])
        for number in range(1, rounds + 1):
            by_task = {task.id: [a for a in attempts if a.task_id == task.id] for task in tasks}
            picked = [(task, a) for task in tasks for a in choose(task, by_task[task.id]) if a.round == number - 1]
            attempts += self._decode([_Job(task, parent.sample, number, parent) for task, parent in picked])
        return attempts

    def _decode(self, jobs: Sequence[_Job]) -> list[Attempt]:
        return [attempt for wave in _chunks(jobs, self._decoding.batch_size) for attempt in self._wave(wave)]

    def _wave(self, jobs: Sequence[_Job]) -> list[Attempt]:
        ids = [attempt_id(self._arm, job.task.id, job.sample, job.round) for job in jobs]
        missing = {i for i, id_ in enumerate(ids) if id_ not in self._stored}
        self._stage.advance(sum(job.round == 0 for i, job in enumerate(jobs) if i not in missing))
        if missing:
            prompts = [self._prompt(job) for job in jobs]
            requests = [self._request(job, prompt) for job, prompt in zip(jobs, prompts, strict=True)]
            pending: list[_Pending] = []
            for completion in self._model.complete(requests):
                if completion.index in missing:
                    i = completion.index
                    pending.append(_Pending(self._runner, jobs[i], prompts[i], requests[i], completion))
                    missing.remove(i)
                pending = self._store(pending, wait=False)
                if not missing:
                    break
            self._store(pending, wait=True)
        return [self._stored[id_] for id_ in ids]

    def _store(self, pending: Sequence[_Pending], *, wait: bool) -> list[_Pending]:
        """Store every tested attempt; what is still being tested."""
        waiting = []
        for item in pending:
            if not wait and not item.tested():
                waiting.append(item)
                continue
            attempt = item.attempt(self._arm)
            self._run.add_attempt(attempt)
            self._stored[attempt.id] = attempt
            # How many repairs there will be is not known, so progress counts drafts.
            self._stage.advance(int(attempt.round == 0), "passed" if attempt.passed else attempt.verdict.outcome)
        return waiting

    def _prompt(self, job: _Job) -> str:
        domain = domain_of(job.task.domain)
        return domain.repair_prompt(job.task, job.parent) if job.parent else domain.prompt(job.task)

    def _request(self, job: _Job, prompt: str) -> Request:
        domain = domain_of(job.task.domain)
        ids = self._model.render([{"role": "user", "content": prompt}], reply_prefix=domain.reply_prefix)
        seed = attempt_seed(self._run.config.seed, job.task.id, self._arm, job.sample, job.round)
        how = self._decoding
        return Request(tuple(ids), how.max_tokens, how.temperature, how.min_p, seed, domain.stop_text)


class _Pending:
    """A completion whose tests are running."""

    def __init__(self, runner: TestRunner, job: _Job, prompt: str, request: Request, completion: Completion) -> None:
        domain = domain_of(job.task.domain)
        self._job, self._prompt, self._request, self._completion = job, prompt, request, completion
        self._tidied = domain.extract(completion.text, job.task)
        self._hidden = domain.judge(self._tidied.code, job.task, job.task.hidden, runner)
        self._public = domain.judge(self._tidied.code, job.task, job.task.public, runner) if job.task.public else None

    def tested(self) -> bool:
        return self._hidden.done() and (self._public is None or self._public.done())

    def attempt(self, arm: str) -> Attempt:
        """Waits for the tests. Raises SandboxError if they could not be run."""
        job = self._job
        return Attempt(
            task_id=job.task.id,
            arm=arm,
            sample=job.sample,
            round=job.round,
            parent=job.parent.id if job.parent else "",
            prompt=self._prompt,
            completion=self._completion.text,
            code=self._tidied.code,
            verdict=_certain(self._hidden.result(), job.task, job.task.hidden),
            public=_certain(self._public.result(), job.task, job.task.public) if self._public else NO_CHECKS,
            n_prompt_tokens=len(self._request.prompt),
            n_completion_tokens=self._completion.n_tokens,
            seed=self._request.seed,
            finish=self._completion.finish,
            tidied=self._tidied.steps,
        )


def _certain(verdict: Verdict, task: Task, checks: Checks) -> Verdict:
    if verdict.outcome != "infrastructure":
        return verdict
    error = verdict.failures[0].error if verdict.failures else None
    which = "public" if checks is task.public else "hidden"
    raise SandboxError(
        f"the tests of {task.id} ({which} checks) could not be run: {error.type + ': ' + error.message if error else 'unknown'}",
        hint="look at the task with: mlx-selfdebug tasks check SET; then run the same command again",
    )


def _chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
