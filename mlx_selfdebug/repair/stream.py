"""Run drafts, tests and repairs as one stream. Every task is a small state machine, and all tasks share one decode batch.

    policy --moves--> decode batch --completion--> tests (other processes) --verdict--> store, policy --moves--> ...

    play = Play("drafts", tasks, Resample(samples=4), decoding)
    attempts = Stream(run, model, runner, stage).play(play)["drafts"]

As soon as the verdicts on a task's attempt are in, the task's next prompt joins the batch, whose other rows go on decoding
meanwhile. Several arms may play side by side in one batch. An attempt that is stored already is not made again. An attempt depends
only on its own key and on its parent, not on the order of events.

If several machines work on the run, each plays some of the tasks (``sharing.py``), and in the end all of them have all attempts.
``batch.py`` carries the moves out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlx_selfdebug.progress import Spent, Stage
from mlx_selfdebug.repair.asking import Asking, Decoding
from mlx_selfdebug.repair.batch import Batch, GivenUp, Job
from mlx_selfdebug.repair.judging import VerdictCache
from mlx_selfdebug.repair.policies import Move, Policy
from mlx_selfdebug.repair.record import Record
from mlx_selfdebug.repair.sharing import Sharing
from mlx_selfdebug.repair.watching import Watcher
from mlx_selfdebug.sampling.decodable import DecodingCounts
from mlx_selfdebug.sampling.language_model import LanguageModel
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.values.attempt import Attempt, attempt_id
from mlx_selfdebug.values.task import Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Play:
    """One arm: a policy that is applied to some tasks."""

    arm: str
    """The name of the arm, under which its attempts are stored."""
    tasks: Sequence[Task]
    policy: Policy
    """What decides what is attempted next on each of the tasks."""
    decoding: Decoding
    """How completions are drawn, and what the prompts show."""
    given: Mapping[str, Sequence[Attempt]] = field(default_factory=dict)
    """Attempts of other arms with which this arm begins, by the id of their task."""


class _TaskMachine:
    """The state of one task in one arm: its finished attempts, and the moves that are under way."""

    def __init__(self, task: Task, play: Play) -> None:
        self.task = task
        self.arm = play.arm
        self.attempts: list[Attempt] = list(play.given.get(task.id, []))
        self.place = -1
        """The place of the task in the plan by which machines share tasks (``sharing.py``); -1 before it is in the plan."""
        self._policy = play.policy
        self._given_up = False
        self._under_way: set[tuple[int, int]] = set()
        """The sample and the round of each move that is under way."""

    @property
    def busy(self) -> bool:
        """Whether a move is under way."""
        return bool(self._under_way)

    @property
    def solved(self) -> bool:
        """Whether an attempt passed the hidden checks."""
        return any(attempt.passed for attempt in self.attempts)

    def next_moves(self) -> Sequence[Move]:
        """Return the moves to make now: none while any is under way, and none once the task was given up."""
        if self._under_way or self._given_up:
            return []
        moves = self._policy.moves(self.task, tuple(self.attempts))
        self._under_way = {(move.sample, move.round) for move in moves}
        return moves

    def give_up(self, move: Move) -> None:
        """End the task, because ``move`` cannot be made. Its other attempts that are under way are still finished."""
        self._given_up = True
        self._under_way.remove((move.sample, move.round))

    def finish(self, attempt: Attempt) -> None:
        """Add the attempt that a move of this machine has made."""
        self._under_way.remove((attempt.sample, attempt.round))
        self.take_over(attempt)

    def take_over(self, attempt: Attempt) -> None:
        """Add an attempt that another machine has made."""
        self.attempts.append(attempt)
        self.attempts.sort(key=lambda a: (a.sample, a.round))


class Stream:
    """Makes the attempts of one or more arms, and stores each attempt as soon as it is finished.

    A stream plays once. Afterwards, ``counts`` says what was decoded.

    Args:
        run: stores the attempts: a ``Run``, or a ``MemoryRecord`` for attempts that nobody needs later.
        model: drafts, repairs and reads.
        runner: runs the tests.
        stage: shows the progress, in tasks.
        spent: gets the seconds that each activity takes.
        cache: knows the verdicts of programs that were tested before; by default those of the attempts that are stored in ``run``.
        watcher: told of each step.
    """

    def __init__(
        self,
        run: Record,
        model: LanguageModel,
        runner: TestRunner,
        stage: Stage,
        spent: Spent | None = None,
        cache: VerdictCache | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        self.counts = DecodingCounts()
        self._spent = spent or Spent()
        self._watcher = watcher
        self._run, self._model, self._runner, self._stage = run, model, runner, stage
        self._cache = cache
        self._stored: dict[str, Attempt] = {}
        self._machines: dict[tuple[str, str], _TaskMachine] = {}
        self._sharing: Sharing | None = None
        self._n_solved = 0

    def play(self, *plays: Play) -> dict[str, list[Attempt]]:
        """Make all attempts that the arms' policies ask for, and return them by arm.

        The attempts of an arm include those that it was given. They are ordered by task, then by sample and round. All arms share
        one batch, which is as wide as the decoding of the first play allows. If an error is raised, attempts that were stored
        before it stay.

        Raises:
            ModelError: the prompt of a draft does not fit the model's context, or the model's logits are not numbers.
            BudgetError: no row fits the memory budget.
            SandboxError: tests cannot be run.
            StoreError: an attempt cannot be stored.
        """
        unfinished: list[tuple[_TaskMachine, list[Job]]] = []
        for play in plays:
            self._stored |= {attempt.id: attempt for attempt in self._run.attempts(play.arm)}
            for task in play.tasks:
                machine = self._machines[play.arm, task.id] = _TaskMachine(task, play)
                if jobs := self._next_jobs(machine):
                    unfinished.append((machine, jobs))
        if unfinished:
            self._carry_out(unfinished, self._batch(plays))
        attempts: dict[str, list[Attempt]] = {play.arm: [] for play in plays}
        for (arm, _), machine in self._machines.items():
            attempts[arm].extend(machine.attempts)
        return attempts

    def _batch(self, plays: Sequence[Play]) -> Batch:
        """Return a batch for the jobs of ``plays``. It knows the verdicts of all attempts on their tasks that are stored."""
        cache = self._cache
        if cache is None:
            task_ids = {task.id for play in plays for task in play.tasks}
            stored = [attempt for attempt in self._run.attempts() if attempt.task_id in task_ids]
            cache = VerdictCache(self._runner, stored)
        seed = self._run.config.seed
        askings = {play.arm: Asking(self._model, play.tasks, play.decoding, seed, play.arm) for play in plays}
        return Batch(self._model, self._runner, cache, askings, plays[0].decoding, self._spent, self._watcher)

    def _carry_out(self, unfinished: Sequence[tuple[_TaskMachine, list[Job]]], batch: Batch) -> None:
        """Carry out the first jobs of the tasks, and those that follow from them, until no policy wants anything more.

        If several machines work on the run, this one carries out those of the tasks that it is given, and waits for the others.
        """
        self.counts = batch.counts
        sharing = self._sharing = Sharing(self._run.group, [len(jobs) for _, jobs in unfinished])
        for place, (machine, _) in enumerate(unfinished):
            machine.place = place
        begin = time.monotonic()
        try:
            while not sharing.is_over:
                seconds = time.monotonic() - begin
                self._share(sharing, unfinished, batch, seconds)
                if batch.busy:
                    for ended in batch.advance():
                        batch.add(self._give_up(ended) if isinstance(ended, GivenUp) else self._finish(ended))
                    self._report_progress(batch, seconds)
        finally:
            batch.close()
            self._spent.add("prompts", self.counts.prefill_s)
            self._spent.add("decoding", self.counts.decode_s)

    def _share(
        self, sharing: Sharing, unfinished: Sequence[tuple[_TaskMachine, list[Job]]], batch: Batch, seconds: float
    ) -> None:
        """Begin the tasks that this machine is given, and take over what others have made. ``seconds`` is the time so far."""
        speed = self.counts.decoded_tokens / seconds if seconds else 0.0
        news = sharing.advance(room=batch.room, speed=speed, idle=not batch.busy)
        # Earlier jobs stand in front, and so do earlier tasks among those that are begun now.
        batch.append([job for place in news.tasks_to_begin for job in unfinished[place][1]])
        for attempt in news.attempts:
            self._run.add_attempt(attempt)
            self._machines[attempt.arm, attempt.task_id].take_over(attempt)
        for place in news.finished:
            self._count_as_done(unfinished[place][0])

    def _next_jobs(self, machine: _TaskMachine) -> list[Job]:
        """Take over the attempts on a task that are stored already, and return the jobs that come next.

        There are none while an attempt is under way. A task on which nothing is left to do is counted as done.
        """
        missing: list[Job] = []
        # If all attempts that the policy asks for are stored, the policy is asked again.
        while not missing and (moves := machine.next_moves()):
            earlier = tuple(machine.attempts)
            for move in moves:
                stored = self._stored.get(attempt_id(machine.arm, machine.task.id, move.sample, move.round))
                if stored:
                    machine.finish(stored)
                else:
                    missing.append(Job(machine.arm, machine.task, move, earlier))
        if not machine.busy:
            self._count_as_done(machine)
            if self._sharing:
                self._sharing.finish(machine.place)
        return missing

    def _count_as_done(self, machine: _TaskMachine) -> None:
        """Report one more finished task to the progress display."""
        self._n_solved += machine.solved
        self._stage.advance(1)

    def _finish(self, attempt: Attempt) -> list[Job]:
        """Store a finished attempt, and return the jobs that follow from it."""
        self._run.add_attempt(attempt)
        assert self._sharing
        self._sharing.add(attempt)
        machine = self._machines[attempt.arm, attempt.task_id]
        if self._watcher:
            self._watcher.finish(machine.task, attempt)
        machine.finish(attempt)
        return self._next_jobs(machine)

    def _give_up(self, given_up: GivenUp) -> list[Job]:
        """Warn that a job cannot be carried out, and end its task. No jobs follow."""
        job = given_up.job
        logger.warning("%s: %s. Nothing more is attempted on this task.", job.task.id, given_up.reason)
        machine = self._machines[job.arm, job.task.id]
        machine.give_up(job.move)
        return self._next_jobs(machine)

    def _report_progress(self, batch: Batch, seconds: float) -> None:
        """Show how many tasks are solved, the speed of decoding, and what is being tested and searched."""
        rate = self.counts.decoded_tokens / seconds
        searched = f", {batch.n_searched} searched" if batch.n_searched else ""
        self._stage.advance(0, f"{self._n_solved} solved, {rate:.0f} tokens/s, {batch.n_in_test} in test{searched}")
