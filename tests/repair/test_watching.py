"""What a watcher of a stream is told, and what becomes of the work when it ends the stream."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mlx_selfdebug.progress import NullStage
from mlx_selfdebug.repair.asking import Decoding
from mlx_selfdebug.repair.policies import EXHAUSTED, Move, Policy, Repair, Search
from mlx_selfdebug.repair.program_reading import ProgramReading
from mlx_selfdebug.repair.record import MemoryRecord
from mlx_selfdebug.repair.stream import Play, Stream
from mlx_selfdebug.repair.watching import Watcher
from mlx_selfdebug.testing import ScriptedModel, make_task
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task

from ..support.values import small_config

TASK = make_task("square", "x * x", public=(3, 4), hidden=(5, -2))
WRONG, RIGHT = "def square(x):\n    return x + x\n", "def square(x):\n    return x * x\n"
NEVER = Task(**{**vars(TASK), "public": Checks.from_asserts(["assert square(3) == 'never'"])})


class Noting(Watcher):
    """Notes what it is told as words."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.texts: list[str] = []

    def read(self, task: Task, program: ProgramReading) -> None:
        self.notes.append("read")

    def begin(self, task: Task, move: Move) -> None:
        self.notes.append(f"begin {move.by if move.parent else 'draft'}")

    def write(self, task: Task, move: Move, text: str) -> None:
        self.texts.append(text)

    def finish(self, task: Task, attempt: Attempt) -> None:
        self.notes.append(f"finish {attempt.kind}")


def play(
    watcher: Watcher, runner: Any, policy: Policy, task: Task = TASK, reply: str = WRONG, record: Any = None
) -> list[Attempt]:
    model = ScriptedModel(lambda prompt, seed: reply)
    stream = Stream(record or MemoryRecord(small_config()), model, runner, NullStage(), watcher=watcher)
    return stream.play(Play("arm", [task], policy, Decoding(0.8, 0.05, 64, 8, 6 * 10**9)))["arm"]


def test_a_watcher_is_told_of_each_step_in_its_order(runner: Any) -> None:
    watcher = Noting()
    play(watcher, runner, Search(then="nothing"))
    assert watcher.notes == ["begin draft", "finish draft", "read", "begin edits", "finish edits"]


def test_a_watcher_sees_the_text_grow_line_by_line(runner: Any) -> None:
    watcher = Noting()
    play(watcher, runner, Repair(0))
    assert watcher.texts == ["def square(x):\n", WRONG]


def test_a_move_that_cannot_be_made_ends_without_having_begun(runner: Any) -> None:
    """An empty program cannot be read, so there is nothing to search and nowhere to fork."""
    watcher = Noting()
    attempts = play(watcher, runner, Search(then="nothing"), reply="\n")
    assert "begin edits" not in watcher.notes
    assert [attempt.finish for attempt in attempts[1:]] == [EXHAUSTED] * 3


def test_a_watched_stream_makes_the_same_attempts(runner: Any) -> None:
    codes = [[a.code for a in play(watcher, runner, Search(), NEVER)] for watcher in (Noting(), None)]  # type: ignore[arg-type]
    assert codes[0] == codes[1]


def test_a_record_in_memory_keeps_what_a_stream_made(runner: Any) -> None:
    record = MemoryRecord(small_config())
    attempts = play(Noting(), runner, Search(), record=record)
    assert list(record.attempts("arm")) == attempts == list(record.attempts())
    assert record.attempts("other") == []


def test_a_program_without_hidden_checks_is_not_tested_by_them(runner: Any) -> None:
    (attempt,) = play(Noting(), runner, Search(), Task("free", "python", "Do it.", "square"))
    assert (attempt.verdict.n_checks, attempt.public.n_checks, attempt.code) == (0, 0, WRONG)


class InterruptedRunner:
    """A real runner during whose runs Ctrl-C comes once, after ``n_runs`` of them have begun."""

    def __init__(self, runner: Any, n_runs: int) -> None:
        self._runner, self._n_runs, self.n_begun = runner, n_runs, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def submit(self, *arguments: Any, **named: Any) -> Any:
        self.n_begun += 1
        if self.n_begun == self._n_runs:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return self._runner.submit(*arguments, **named)


@pytest.fixture
def heeding_interrupts() -> Iterator[None]:
    """Python's own handler, which raises KeyboardInterrupt: a run in the background of a shell is started deaf to interrupts."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)


@pytest.mark.usefixtures("heeding_interrupts")
def test_an_interrupted_search_begins_no_further_tries(runner: Any) -> None:
    lines = "".join(f"    {name} = x + {i}\n" for i, name in enumerate("abcdefgh"))
    slow = f"import time\n\ndef square(x):\n    time.sleep(0.05)\n{lines}    return a + b + c + d + e + f + g + h\n"
    interrupted = InterruptedRunner(runner, 20)
    with pytest.raises(KeyboardInterrupt):
        play(Noting(), interrupted, Search(then="nothing"), NEVER, slow)
    n_begun = interrupted.n_begun
    time.sleep(1)
    assert interrupted.n_begun <= n_begun + 1
    assert play(Noting(), runner, Search(then="nothing"))[-1].passed
