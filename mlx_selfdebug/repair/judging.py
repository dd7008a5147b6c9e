"""From a completion to an attempt: the code is taken out of it and tested in other processes while decoding goes on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.errors import SandboxError
from mlx_selfdebug.repair.asking import Asked
from mlx_selfdebug.repair.attempt import Attempt
from mlx_selfdebug.sampling.request import Completion
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.sandbox.verdict import Verdict
from mlx_selfdebug.tasks.checks import Checks
from mlx_selfdebug.tasks.task import Task

NO_CHECKS = Verdict("passed")
"""The public verdict of a task that has no public checks: nothing was shown to fail."""


class Judging:
    """The completions whose tests are running."""

    def __init__(self, runner: TestRunner) -> None:
        self._runner = runner
        self._pending: list[_Pending] = []

    @property
    def pending(self) -> int:
        return len(self._pending)

    @property
    def futures(self) -> list[Future[Verdict]]:
        """Of the tests that are not done."""
        return [future for item in self._pending for future in item.futures if not future.done()]

    def begin(self, asked: Asked, completion: Completion) -> None:
        self._pending.append(_Pending(self._runner, asked, completion))

    def finished(self) -> Iterator[Attempt]:
        """Attempts whose tests are done, in the order of their completions. Raises SandboxError if tests could not be run."""
        done = [item for item in self._pending if all(future.done() for future in item.futures)]
        self._pending = [item for item in self._pending if item not in done]
        return (item.attempt() for item in done)


class _Pending:
    def __init__(self, runner: TestRunner, asked: Asked, completion: Completion) -> None:
        domain = domain_of(asked.task.domain)
        task = asked.task
        self._asked, self._completion = asked, completion
        self._tidied = domain.extract(completion.text, task)
        self._hidden = domain.judge(self._tidied.code, task, task.hidden, runner)
        self._public = domain.judge(self._tidied.code, task, task.public, runner) if task.public else None

    @property
    def futures(self) -> list[Future[Verdict]]:
        return [self._hidden, self._public] if self._public else [self._hidden]

    def attempt(self) -> Attempt:
        task, move, request = self._asked.task, self._asked.move, self._asked.request
        return Attempt(
            task_id=task.id,
            arm=self._asked.arm,
            sample=move.sample,
            round=move.round,
            parent=move.parent.id if move.parent else "",
            prompt=self._asked.prompt,
            completion=self._completion.text,
            code=self._tidied.code,
            verdict=_certain(self._hidden.result(), task, task.hidden),
            public=_certain(self._public.result(), task, task.public) if self._public else NO_CHECKS,
            n_prompt_tokens=len(request.prompt),
            n_completion_tokens=self._completion.n_tokens,
            seed=request.seed,
            finish=self._completion.finish,
            tidied=self._tidied.steps,
            kind=move.kind,
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
