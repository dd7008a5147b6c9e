"""Try tasks one after another with a model that stays loaded, for someone who watches. Nothing of it is stored.

    with Tryout(model, config, adapter=adapter) as tryout:
        tried = tryout.play(typed_task("Return twice x.\\ndouble(2) == 4"), watcher=watcher)
        print(tried.outcome, tried.answer.code)

A task is played as in an arm of the evaluation: a draft, and what that arm does after a draft that failed. Unlike there, only the
public checks decide when the task is over, and also what counts as its answer.
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
"""How a task ended: by its public checks, or by its hidden ones if it has no others. A task without any is "not checked"."""
ARM = "edits+forks+facts"
"""The arm that is played by default. It does everything that can be done after a failed draft."""
PLAYABLE = tuple(name for name, arm in ARMS.items() if not arm.of_another)
"""The arms that can be played on a task alone, without the facts of another task."""
MAX_ROWS = 16
"""The largest number of rows of the decode batch. A single task needs few, and on the CPU 16 rows take as long as one."""


@dataclass(frozen=True)
class Tried:
    """What came of a task that was tried."""

    task: Task
    player: Player
    seed: int
    attempts: tuple[Attempt, ...]
    """The attempts, in the order in which they were made."""
    decoded_tokens: int
    read_tokens: int
    wall_s: float
    """The time that it all took, in seconds."""

    @property
    def answer(self) -> Attempt | None:
        """The first attempt that passes the public checks, or else the last that could be made; None if there is none."""
        made = [attempt for attempt in self.attempts if attempt.finish != EXHAUSTED]
        return next((attempt for attempt in made if attempt.public.passed), made[-1] if made else None)

    @property
    def outcome(self) -> Outcome:
        if not self.task.public and not self.task.hidden:
            return "not checked"
        answer = self.answer
        # Without public checks, the public verdict says that all of them pass.
        solved = answer is not None and answer.public.passed and (bool(self.task.public) or answer.passed)
        return "solved" if solved else "not solved"

    def to_record(self) -> dict[str, Any]:
        """Return everything as plain data that JSON can hold."""
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
    return {**attempt.to_record(), "failures": [failure.to_record() for failure in attempt.public.failures]}


class Tryout:
    """A model, with or without an adapter, and a test runner, which stay open while tasks are tried. Use it as a context manager.

    Args:
        model: The base model.
        config: The settings. Those of the evaluation say how is decoded, and how many tokens and forks a task may take.
        adapter: The adapter with which the model can be tried as well. If there is one, it is in use from the beginning.
        arm: What follows a draft that failed: a name in ``PLAYABLE``.
        allow_weak_sandbox: Whether programs may run where they cannot be fully confined.

    Raises UsageError for an unknown arm, ModelError if the adapter does not fit the model, and SandboxError if programs cannot be
    confined.
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
        self._in_use, self._running = ExitStack(), ExitStack()
        self._packages: tuple[str, ...] = ()
        """The packages that programs in the test runner can import."""
        self._runner: TestRunner | None = None
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
        self._running.close()

    def use(self, player: Player) -> None:
        """Play with the base or with the adapter from now on.

        Raises UsageError if there is no adapter, and ModelError if it does not fit the model.
        """
        if player == self.player:
            return
        if player == "base":
            self._in_use.close()
        elif self.adapter is None:
            raise UsageError("there is no adapter to try", hint="name a run that was trained: mlx-selfdebug try RUN")
        else:
            self._in_use.enter_context(self.adapter.applied(cast("Model", self.model)))
        self.player = player

    def play(
        self, task: Task, *, seed: int | None = None, greedy: bool = True, watcher: Watcher | None = None
    ) -> Tried:
        """Play ``task`` and return what came of it. ``watcher`` is told of each step meanwhile.

        ``seed`` is by default that of the settings. The first draft is ``greedy``, or else drawn by the seed. Raises what
        ``Stream.play`` raises, and UsageError if a package is missing that the task's domain needs.
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
        """Return the test runner, which is opened anew if programs for ``task`` import other packages than those before."""
        packages = packages_of({task.domain})
        if self._runner is None or packages != self._packages:
            self._running.close()
            self._runner = None
            return self._open_runner(task)
        return self._runner

    def _open_runner(self, *tasks: Task) -> TestRunner:
        runner = open_runner(self._config.sandbox, tasks, allow_weak_sandbox=self._allow_weak_sandbox)
        self._runner = self._running.enter_context(runner)
        self._packages = packages_of({task.domain for task in tasks})
        return runner


@dataclass(frozen=True)
class _FirstDraft:
    """A policy whose first draft has another temperature. None is the temperature of the arm's decoding."""

    policy: Policy
    temperature: float | None

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:
        moves = self.policy.moves(task, attempts)
        return moves if attempts else [replace(move, temperature=self.temperature) for move in moves]
