"""Try single tasks with a model that stays loaded, for a user who watches (``mlx-selfdebug try``). Nothing is stored.

    with Tryout(model, config, adapter=adapter) as tryout:
        tried = tryout.play(typed_task("Return twice x.\\ndouble(2) == 4"), watcher=watcher)
        print(tried.outcome, tried.answer.code)

A task is played as an arm of the evaluation plays it: a draft, and after a failed draft whatever the arm does then. The difference
is in who decides. In an evaluation, hidden checks score the attempts. Here the public checks decide which attempt is the answer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, cast

from mlx_selfdebug.config import Config
from mlx_selfdebug.domains import packages_of
from mlx_selfdebug.domains.running import open_runner
from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.evaluation.arms import ARMS
from mlx_selfdebug.progress import NullStage
from mlx_selfdebug.repair.policies import EXHAUSTED, Move, Policy
from mlx_selfdebug.repair.record import MemoryRecord
from mlx_selfdebug.repair.stream import Play, Stream
from mlx_selfdebug.repair.watching import Watcher
from mlx_selfdebug.sampling.language_model import LanguageModel
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.stages.common import decoding_of
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task

if TYPE_CHECKING:
    from mlx_selfdebug.models.load import Model
    from mlx_selfdebug.training.adapter import Adapter

Player = Literal["base", "adapter"]
"""Who plays a task: the model as it is, or with the adapter."""
Outcome = Literal["solved", "not solved", "not checked"]
"""How a task ended.

The public checks decide whether it is solved, or the hidden ones if the task has no public ones. Without any checks, it is "not
checked".
"""
ARM = "edits+forks+facts"
"""The arm that is played by default. It does everything that can be done after a failed draft."""
PLAYABLE = tuple(name for name, arm in ARMS.items() if not arm.of_another)
"""The arms that can be played on a single task. The others show the model the facts of another task."""
MAX_ROWS = 16
"""The largest number of rows of the decode batch. A single task needs few, and on the CPU 16 rows take as long as one."""


@dataclass(frozen=True)
class Tried:
    """The result of a task that was tried."""

    task: Task
    player: Player
    """Whether the base or the adapter played the task."""
    seed: int
    """The seed of the random draws."""
    attempts: tuple[Attempt, ...]
    """The attempts, in the order in which they were made."""
    decoded_tokens: int
    """The number of tokens that were decoded for all attempts."""
    read_tokens: int
    """The number of tokens of failed programs that the model read."""
    wall_s: float
    """The seconds that the task took."""

    @property
    def answer(self) -> Attempt | None:
        """The first attempt that passes the public checks. If none passes, the last one. None if no attempt could be made.

        Searches and forks that found nothing do not count: their attempts only repeat the failed program.
        """
        with_program = [attempt for attempt in self.attempts if attempt.finish != EXHAUSTED]
        passing = [attempt for attempt in with_program if attempt.public.passed]
        if passing:
            return passing[0]
        return with_program[-1] if with_program else None

    @property
    def outcome(self) -> Outcome:
        """How the task ended, judged by its answer."""
        if not self.task.public and not self.task.hidden:
            return "not checked"
        answer = self.answer
        # Without public checks, the public verdict says that all of them pass.
        solved = answer is not None and answer.public.passed and (bool(self.task.public) or answer.passed)
        return "solved" if solved else "not solved"

    def to_record(self) -> dict[str, Any]:
        """Return the result as plain data that JSON can hold, with all attempts and their failures."""
        return {
            "task": self.task.id,
            "statement": self.task.statement,
            "player": self.player,
            "seed": self.seed,
            "outcome": self.outcome,
            "code": self.answer.code if self.answer else "",
            "by": self.answer.kind if self.answer else "",
            "decoded_tokens": self.decoded_tokens,
            "read_tokens": self.read_tokens,
            "wall_s": round(self.wall_s, 3),
            "attempts": [_attempt_record(attempt) for attempt in self.attempts],
        }


def _attempt_record(attempt: Attempt) -> dict[str, Any]:
    """Return an attempt and the public checks that it failed as plain data."""
    return {**attempt.to_record(), "failures": [failure.to_record() for failure in attempt.public.failures]}


class Tryout:
    """A model, with or without an adapter, and a test runner, which stay open while tasks are tried. Use it as a context manager.

    Args:
        model: the base model.
        config: the settings. Those of the evaluation (``eval``) say how to decode, and how many tokens and forks a task may take.
        adapter: an adapter of the model. If there is one, it is in use from the beginning; ``use`` switches it off and on.
        arm: the arm of the evaluation that says what follows a failed draft: a name in ``PLAYABLE``.
        allow_weak_sandbox: whether programs may run where they cannot be fully confined.

    Raises:
        UsageError: there is no such arm.
        ModelError: the adapter does not fit the model.
        SandboxError: programs cannot be confined.
    """

    def __init__(
        self,
        model: LanguageModel,
        config: Config,
        *,
        adapter: Adapter | None = None,
        arm: str = ARM,
        allow_weak_sandbox: bool = False,
    ) -> None:
        if arm not in PLAYABLE:
            raise UsageError(f"unknown arm {arm!r}. Known: {', '.join(PLAYABLE)}")
        self.model, self.adapter = model, adapter
        self.player: Player = "base"
        self._config, self._arm = config, ARMS[arm]
        self._allow_weak_sandbox = allow_weak_sandbox
        self._applied_adapter, self._open_runners = ExitStack(), ExitStack()
        self._runner: TestRunner | None = None
        self._packages: tuple[str, ...] = ()
        """The packages that programs in the test runner can import."""
        self._open_runner()
        if adapter is not None:
            try:
                self.use("adapter")
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Tryout:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the adapter out of the model, and end the processes that run tests."""
        self.use("base")
        self._open_runners.close()

    def use(self, player: Player) -> None:
        """Play with the base or with the adapter from now on.

        Raises UsageError if there is no adapter, and ModelError if it does not fit the model.
        """
        if player == self.player:
            return
        if player == "base":
            self._applied_adapter.close()
        elif self.adapter is None:
            raise UsageError("there is no adapter to try", hint="name a run that was trained: mlx-selfdebug try RUN")
        else:
            self._applied_adapter.enter_context(self.adapter.applied(cast("Model", self.model)))
        self.player = player

    def play(
        self, task: Task, *, seed: int | None = None, greedy: bool = True, watcher: Watcher | None = None
    ) -> Tried:
        """Play ``task`` and return the result.

        Args:
            task: the task to play.
            seed: the seed of the random draws; by default the seed in the settings.
            greedy: whether the first draft is decoded greedily. Otherwise it is drawn with the seed, as later drafts always are.
            watcher: told of each step while the task is played.

        Raises UsageError if a package is missing that the task's domain needs, and whatever ``Stream.play`` raises.
        """
        config = self._config if seed is None else replace(self._config, seed=seed)
        decoding = replace(decoding_of(config.eval, config), feedback=self._arm.feedback, batch_size=MAX_ROWS)
        policy = _FirstDraft(self._arm.policy(config.eval.tokens, config.eval.forks), 0.0 if greedy else None)
        stream = Stream(MemoryRecord(config), self.model, self._runner_for(task), NullStage(), watcher=watcher)
        begin = time.monotonic()
        attempts = stream.play(Play(self._arm.name, [task], policy, decoding))[self._arm.name]
        return Tried(
            task=task,
            player=self.player,
            seed=config.seed,
            attempts=tuple(attempts),
            decoded_tokens=stream.counts.decoded_tokens,
            read_tokens=sum(attempt.n_read_tokens for attempt in attempts),
            wall_s=time.monotonic() - begin,
        )

    def _runner_for(self, task: Task) -> TestRunner:
        """Return the test runner. If programs for ``task`` import other packages than those of earlier tasks, open a new one."""
        if self._runner is not None and packages_of({task.domain}) == self._packages:
            return self._runner
        self._open_runners.close()
        self._runner = None
        return self._open_runner(task)

    def _open_runner(self, *tasks: Task) -> TestRunner:
        """Open the runner for ``tasks``. Without tasks, it is one for plain Python, which needs no packages."""
        runner = open_runner(self._config.sandbox, tasks, allow_weak_sandbox=self._allow_weak_sandbox)
        self._runner = self._open_runners.enter_context(runner)
        self._packages = packages_of({task.domain for task in tasks})
        return runner


@dataclass(frozen=True)
class _FirstDraft:
    """A policy that does what ``policy`` does, but makes the first draft at another temperature."""

    policy: Policy
    temperature: float | None
    """The temperature of the first draft; None is the temperature of the arm's decoding."""

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:
        moves = self.policy.moves(task, attempts)
        return moves if attempts else [replace(move, temperature=self.temperature) for move in moves]
