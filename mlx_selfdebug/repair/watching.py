"""Define the watcher of a stream: an object that is told of each step, so that it can show what is going on.

    class Printer(Watcher):
        def finish(self, task, attempt):
            print(attempt.kind, attempt.public.outcome)

    Stream(run, model, runner, stage, watcher=Printer()).play(play)

All calls come from the thread that plays the stream. If a method raises an error, the stream ends with it.
"""

from __future__ import annotations

from mlx_selfdebug.repair.policies import Move
from mlx_selfdebug.repair.program_reading import ProgramReading
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task


class Watcher:
    """A watcher that does nothing. A subclass overrides the methods for what it wants to know."""

    def read(self, task: Task, program: ProgramReading) -> None:
        """Learn that the model has read a failed program, which comes before edits and forks of it.

        This is called for each move that needs the reading, so it may be called several times for the same program.
        """

    def begin(self, task: Task, move: Move) -> None:
        """Learn that ``move`` is carried out from now on. Moves that cannot be made are not begun."""

    def write(self, task: Task, move: Move, text: str) -> None:
        """Learn what the model has written for ``move`` so far. ``text`` begins with what a fork keeps of its program."""

    def finish(self, task: Task, attempt: Attempt) -> None:
        """Learn that an attempt is finished and its verdicts are in.

        A search or a fork that could not be made ends as an attempt too, whose ``finish`` is ``EXHAUSTED``.
        """
