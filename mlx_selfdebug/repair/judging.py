"""Turn completions into attempts: extract their code, and test it in other processes while decoding goes on.

    judging = Judging(VerdictCache(runner))
    judging.begin(asked, completion)        # begins the tests, and returns at once
    judging.finished()                      # the attempts whose verdicts are in by now

The same code of the same task is tested once, whichever arm it comes from. Later attempts with this code get the same verdicts, as
long as the cache remembers them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass

from mlx_selfdebug.auditing.verify import reason_of
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.base import Tidied
from mlx_selfdebug.errors import SandboxError
from mlx_selfdebug.repair.asking import Asked
from mlx_selfdebug.repair.copies import copied_program
from mlx_selfdebug.sampling.request import Completion
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Verdict

NO_CHECKS = Verdict("passed")
"""The public verdict on a program whose task has no public checks, and likewise the hidden one: no check failed."""
MAX_CACHED = 8192
"""The largest number of programs whose verdicts are remembered. Those that were tested first are forgotten first."""


@dataclass(frozen=True)
class Tests:
    """The tests of one program, under way or done."""

    hidden: Future[Verdict]
    """The verdict on the hidden checks."""
    public: Future[Verdict] | None
    """The verdict on the public checks; None if the task has none."""

    # Without this, pytest would collect the class because of its name.
    __test__ = False

    @property
    def futures(self) -> list[Future[Verdict]]:
        """Both futures, or the only one."""
        return [self.hidden, self.public] if self.public else [self.hidden]


class VerdictCache:
    """A cache of tests by task and code. New programs are tested by ``runner``.

    At first the cache holds the verdicts of ``attempts``, but only of those whose tests ran at the same level of isolation as the
    tests of ``runner``.
    """

    def __init__(self, runner: TestRunner, attempts: Iterable[Attempt] = ()) -> None:
        self._runner = runner
        self._tests: OrderedDict[tuple[str, str], Tests] = OrderedDict()
        for attempt in attempts:
            if attempt.verdict.isolation == runner.isolation:
                tests = Tests(_done_future(attempt.verdict), _done_future(attempt.public))
                self._tests.setdefault((attempt.task_id, attempt.code), tests)
        self._forget()

    def tests(self, code: str, task: Task) -> Tests:
        """Return the tests of ``code``. If the cache does not have them, they begin now."""
        key = task.id, code
        if key not in self._tests:
            judge = domain_of(task.domain).judge
            hidden = judge(code, task, task.hidden, self._runner) if task.hidden else _done_future(NO_CHECKS)
            public = judge(code, task, task.public, self._runner) if task.public else None
            self._tests[key] = Tests(hidden, public)
            self._forget()
        return self._tests[key]

    def _forget(self) -> None:
        """Drop the programs beyond ``MAX_CACHED`` that were added first."""
        while len(self._tests) > MAX_CACHED:
            self._tests.popitem(last=False)


class Judging:
    """A queue of completions whose tests are under way. ``cache`` tests their programs, or knows the verdicts already."""

    def __init__(self, cache: VerdictCache) -> None:
        self.cache = cache
        self._pending: list[_Pending] = []

    @property
    def n_pending(self) -> int:
        """The number of completions in the queue."""
        return len(self._pending)

    @property
    def futures(self) -> list[Future[Verdict]]:
        """The futures of the tests that are not done."""
        return [future for item in self._pending for future in item.futures if not future.done()]

    def begin(self, asked: Asked, completion: Completion) -> None:
        """Extract the code of a completion, begin to test it, and queue the completion until its verdicts are in."""
        tidied = tidied_by(asked, completion)
        self._pending.append(_Pending(asked, completion, tidied, self.cache.tests(tidied.code, asked.task)))

    def finished(self) -> list[Attempt]:
        """Remove the attempts whose tests are done from the queue, and return them in the order of their completions.

        Raises SandboxError if tests could not be run.
        """
        done = [item for item in self._pending if all(future.done() for future in item.futures)]
        self._pending = [item for item in self._pending if item not in done]
        return [item.attempt() for item in done]


@dataclass(frozen=True, eq=False)
class _Pending:
    """A completion in the queue."""

    asked: Asked
    completion: Completion
    tidied: Tidied
    tests: Tests

    @property
    def futures(self) -> list[Future[Verdict]]:
        """The futures of the completion's tests."""
        return self.tests.futures

    def attempt(self) -> Attempt:
        """Return the completion as an attempt with its verdicts. The tests must be done."""
        task, move, request = self.asked.task, self.asked.move, self.asked.request
        return Attempt(
            task_id=task.id,
            arm=self.asked.arm,
            sample=move.sample,
            round=move.round,
            parent=move.parent.id if move.parent else "",
            prompt=self.asked.prompt,
            completion=self.completion.text,
            code=self.tidied.code,
            verdict=require_tested(self.tests.hidden.result(), f"{task.id} (hidden checks)"),
            public=public_of(self.tests, task),
            n_prompt_tokens=len(request.prompt),
            # The given tokens of a fork are those of the program and, at their end, the fork's own choice. Only the choice counts.
            n_completion_tokens=self.completion.n_tokens + bool(request.given),
            seed=request.seed,
            finish=self.completion.finish,
            tidied=self.tidied.steps,
            kind=move.kind,
            n_read_tokens=self.asked.n_read_tokens,
            tokens=self.completion.tokens if self.asked.keep_tokens else (),
        )


def tidied_by(asked: Asked, completion: Completion) -> Tidied:
    """Return the code of a completion, and the steps by which it was extracted.

    A completion that was ended as a copy has the code of the program that it copies. A completion that replaces a line, or that is
    inserted above a line, has the code of the whole program after this change.
    """
    domain = domain_of(asked.task.domain)
    if completion.finish == "copy":
        return Tidied(copied_program(completion.text, asked.tried, domain))
    text = asked.line.replaced_by(completion.text) if asked.line else completion.text
    return domain.extract(text, asked.task)


def public_of(tests: Tests, task: Task) -> Verdict:
    """Return the public verdict of tests that are done. Raises SandboxError if they could not be run."""
    return require_tested(tests.public.result(), f"{task.id} (public checks)") if tests.public else NO_CHECKS


def require_tested(verdict: Verdict, what: str) -> Verdict:
    """Return ``verdict`` unchanged, or raise SandboxError if it says that the tests could not be run.

    ``what`` names what was tested, such as "mine/double (hidden checks)", for the message.
    """
    if verdict.outcome == "infrastructure":
        raise SandboxError(
            f"the tests of {what} could not be run: {reason_of(verdict)}",
            hint="look at the task with: mlx-selfdebug tasks check SET; then run the same command again",
        )
    return verdict


def distinct(attempts: Iterable[Attempt], task: Task) -> list[Attempt]:
    """Return the earliest attempt on ``task`` for each different code. Codes that differ only in layout count as the same."""
    domain = domain_of(task.domain)
    seen: dict[str, Attempt] = {}
    for attempt in sorted(attempts, key=lambda a: (a.round, a.sample)):
        seen.setdefault(domain.normalise(attempt.code), attempt)
    return list(seen.values())


def _done_future(verdict: Verdict) -> Future[Verdict]:
    """Return a future that holds ``verdict`` already."""
    future: Future[Verdict] = Future()
    future.set_result(verdict)
    return future
