"""Drafts, tests and repairs as one stream: every task is a small state machine, and all of them share one decode batch.

    policy --moves--> decode batch --completion--> tests (other processes) --verdict--> store, policy --moves--> ...

A task's next prompt joins the batch as soon as its verdicts are in; other rows decode on meanwhile. Attempts that are stored
already count as made. What an attempt becomes depends on its own key and its parent alone, not on the order of events.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass

from mlx_selfdebug.memory import Governor
from mlx_selfdebug.progress import Stage
from mlx_selfdebug.repair.asking import Asked, Asking, Decoding
from mlx_selfdebug.repair.attempt import Attempt, attempt_id
from mlx_selfdebug.repair.judging import Judging
from mlx_selfdebug.repair.policies import Move, Policy
from mlx_selfdebug.sampling.language_model import Decoder, DecodingCounts, LanguageModel
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.store import Run
from mlx_selfdebug.tasks.task import Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One attempt to make on ``task``."""

    task: Task
    move: Move


class _TaskMachine:
    """The moves of one task: those under way, and what is finished."""

    def __init__(self, task: Task, policy: Policy) -> None:
        self.task = task
        self.attempts: list[Attempt] = []
        self._policy = policy
        self._under_way: set[tuple[int, int]] = set()

    def next_moves(self) -> Sequence[Move]:
        """The moves to make now; none while any is under way."""
        if self._under_way:
            return []
        moves = self._policy.moves(self.task, tuple(self.attempts))
        self._under_way = {(move.sample, move.round) for move in moves}
        return moves

    def give_up(self, move: Move) -> None:
        """A move cannot be made: the task is over with what it has and what is under way."""
        self._policy = _Nothing()
        self._under_way.remove((move.sample, move.round))

    def finish(self, attempt: Attempt) -> None:
        self._under_way.remove((attempt.sample, attempt.round))
        self.attempts.append(attempt)
        self.attempts.sort(key=lambda a: (a.sample, a.round))


class _Nothing:
    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:  # noqa: ARG002
        return []


class Stream:
    """Makes the attempts of one arm, and stores each as it ends. ``counts`` says what decoding took."""

    def __init__(
        self, run: Run, model: LanguageModel, runner: TestRunner, arm: str, decoding: Decoding, stage: Stage
    ) -> None:
        self.counts = DecodingCounts()
        self._run, self._model, self._runner = run, model, runner
        self._arm, self._decoding, self._stage = arm, decoding, stage
        self._stored = {attempt.id: attempt for attempt in run.attempts(arm)}

    def play(self, tasks: Sequence[Task], policy: Policy) -> list[Attempt]:
        """All attempts the policy asks for on ``tasks``, in the order of the tasks, then sample and round.

        Raises ModelError if a draft's prompt does not fit the model's context or the model gives no numbers, BudgetError if no
        row fits the memory budget, SandboxError if tests cannot be run, StoreError if an attempt cannot be stored. What was
        stored stays.
        """
        machines = {task.id: _TaskMachine(task, policy) for task in tasks}
        ready = deque(job for machine in machines.values() for job in self._replayed(machine))
        if ready:
            asking = Asking(self._model, tasks, self._decoding, self._run.config.seed, self._arm)
            self._decode(machines, asking, ready)
        return [attempt for machine in machines.values() for attempt in machine.attempts]

    def _replayed(self, machine: _TaskMachine) -> list[Job]:
        """The task's next jobs, after what is stored of it."""
        missing: list[Job] = []
        while not missing and (moves := machine.next_moves()):
            for move in moves:
                stored = self._stored.get(attempt_id(self._arm, machine.task.id, move.sample, move.round))
                if stored:
                    machine.finish(stored)
                    self._stage.advance(int(stored.round == 0))
                else:
                    missing.append(Job(machine.task, move))
        return missing

    def _decode(self, machines: dict[str, _TaskMachine], asking: Asking, ready: deque[Job]) -> None:
        decoder = asking.decoder()
        governor = Governor(self._decoding.budget_bytes, decoder.width)
        self.counts = decoder.counts
        judging = Judging(self._runner)
        asked: dict[int, Asked] = {}
        while ready or asked or judging.pending:
            decoder.limit(governor.width())
            self._submit(decoder, asking, machines, ready, asked)
            for completion in decoder.step():
                judging.begin(asked.pop(completion.ticket), completion)
            if not asked and judging.pending:
                wait(judging.futures, return_when=FIRST_COMPLETED)
            for attempt in judging.finished(self._arm):
                self._finish(machines[attempt.task_id], attempt, ready)

    def _submit(
        self,
        decoder: Decoder,
        asking: Asking,
        machines: dict[str, _TaskMachine],
        ready: deque[Job],
        asked: dict[int, Asked],
    ) -> None:
        """Hand over no more than the batch will want next: prompts are rendered late."""
        while ready and decoder.waiting < decoder.width:
            job = ready.popleft()
            question = asking.ask(job.task, job.move)
            if question is None:
                logger.warning("%s: the prompt of a repair does not fit the context; left as it is", job.task.id)
                machines[job.task.id].give_up(job.move)
            else:
                asked[decoder.submit(question.request)] = question

    def _finish(self, machine: _TaskMachine, attempt: Attempt, ready: deque[Job]) -> None:
        self._run.add_attempt(attempt)
        self._stored[attempt.id] = attempt
        # How many repairs there will be is not known, so progress counts drafts.
        self._stage.advance(int(attempt.round == 0), "passed" if attempt.passed else attempt.verdict.outcome)
        machine.finish(attempt)
        ready.extendleft(reversed(self._replayed(machine)))
