"""Hold the dialogue of ``try``: play the tasks that are typed, and carry out the commands that begin with a slash."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from mlx_selfdebug.cli.groups import unknown_command
from mlx_selfdebug.cli.prompting import Command, Prompt
from mlx_selfdebug.cli.transcript import Transcript
from mlx_selfdebug.errors import SelfDebugError, UsageError, did_you_mean
from mlx_selfdebug.stages.tryout import Player, Tried, Tryout
from mlx_selfdebug.tasks import Task, load_tasks
from mlx_selfdebug.tasks.jsonl import append_task
from mlx_selfdebug.tasks.typed import typed_task

HELP = """\
A task is a statement in words, then examples. An example is one of these:

  double(2) == 4           a call and its value
  assert double(2) == 4    an assert
  >>> double(2)            a session, with its output on the next line
  4

An empty line starts. Ctrl-C stops what is under way, Ctrl-D ends.

  /task SET [TASK]   play a task of a set, such as /task starter; without TASK, one at random
  /base, /adapter    play the same task with the base or with the adapter, and stay with it
  /again             play the same task with another seed
  /show              print the code of the last answer
  /save FILE.jsonl   append the task to a file, which `run --collect-tasks` takes
  /help, /quit"""


class Dialogue:
    """The dialogue with the person at the prompt.

    It keeps the current task, the current seed and the results so far. ``prompt`` reads what is typed, ``tryout`` plays the
    tasks, and ``transcript`` prints what happens. With ``as_json``, each result is also printed on stdout as one line of JSON.
    """

    def __init__(self, tryout: Tryout, transcript: Transcript, prompt: Prompt, seed: int, *, as_json: bool) -> None:
        self._tryout, self._transcript, self._prompt, self._as_json = tryout, transcript, prompt, as_json
        self._first_seed = self._seed = seed
        self._task: Task | None = None
        self._tried: dict[Player, Tried] = {}
        """The results of the current task with the current seed, by player."""
        self._last: Tried | None = None
        """The newest of these results."""
        self._is_over = self._has_failed = False
        self._commands: Mapping[str, Callable[[str], None]] = {
            "task": self._play_of_set,
            "base": lambda _: self._switch("base"),
            "adapter": lambda _: self._switch("adapter"),
            "again": self._play_again,
            "show": self._show,
            "save": self._save,
            "help": lambda _: self._transcript.say(HELP),
            "quit": self._quit,
        }

    def hold(self) -> int:
        """Read tasks and commands and carry them out until there are no more, and return the exit code.

        An error ends only the task or the command in which it occurs, and the dialogue goes on. In a terminal the same holds for
        Ctrl-C. The exit code is 1 if a task from a pipe or a file was not solved or led to an error, and otherwise 0.
        """
        while not self._is_over:
            is_under_way = False
            try:
                entry = self._prompt.read()
                if entry is None:
                    break
                is_under_way = True
                self._carry_out(entry)
            except KeyboardInterrupt:
                if not self._prompt.is_interactive:
                    raise
                self._prompt.drop()
                self._transcript.break_off()
                self._transcript.say("stopped" if is_under_way else "")
            except SelfDebugError as error:
                self._transcript.break_off()
                self._has_failed = True
                click.echo(f"Error: {error.text}", err=True)
        return int(self._has_failed and not self._prompt.is_interactive)

    def _carry_out(self, entry: str | Command) -> None:
        """Carry out a command, or play the task that a text describes. Raises UsageError for a command that does not exist."""
        if isinstance(entry, Command):
            if entry.name not in self._commands:
                raise UsageError(unknown_command(entry.name, self._commands), hint="/help lists the commands")
            self._commands[entry.name](entry.argument)
            return
        self._begin(typed_task(entry))

    def _begin(self, task: Task) -> None:
        """Make ``task`` the current task, forget the results of the one before, and play it."""
        self._task, self._seed, self._last = task, self._first_seed, None
        self._tried.clear()
        self._play()

    def _play(self) -> None:
        """Play the current task with the current seed, and print the result. With the first seed, the first draft is greedy."""
        tried = self._tryout.play(
            self._current_task(),
            seed=self._seed,
            greedy=self._seed == self._first_seed,
            watcher=self._transcript,
        )
        self._last = self._tried[tried.player] = tried
        self._has_failed |= tried.outcome == "not solved"
        self._transcript.say_result(tried)
        if len(self._tried) > 1:
            self._transcript.say_comparison(list(self._tried.values()))
        if self._as_json:
            click.echo(json.dumps({"model": self._tryout.model.name, **tried.to_record()}))

    def _current_task(self) -> Task:
        """Return the current task. Raises UsageError if there is none yet."""
        if self._task is None:
            raise UsageError("there is no task yet", hint="type one, or take one of a set: /task starter")
        return self._task

    def _play_of_set(self, argument: str) -> None:
        """Play a task of a set: "starter gcd" names the set and the task, and "starter" takes a task of the set at random."""
        set_name, _, task_name = argument.partition(" ")
        if not set_name:
            raise UsageError(
                "/task needs the name of a set", hint="/task starter; mlx-selfdebug tasks list names the sets"
            )
        tasks = load_tasks(set_name)
        wanted = task_name.strip()
        # A task can be named by its whole id, such as "starter/gcd", or by the last part.
        by_last_part = {task.id.rpartition("/")[2]: task for task in tasks}
        by_name = {**by_last_part, **tasks.by_id}
        if wanted and wanted not in by_name:
            suggestion = did_you_mean(wanted, by_name)
            raise UsageError(
                f"{set_name} has no task {wanted!r}. {suggestion}".rstrip(), hint=f"mlx-selfdebug tasks show {set_name}"
            )
        task = by_name[wanted] if wanted else random.choice(tasks)
        self._transcript.say_task(task)
        self._begin(task)

    def _switch(self, player: Player) -> None:
        """Use the base or the adapter from now on, and play the current task with it, if there is one."""
        with _uninterrupted():
            self._tryout.use(player)
        if self._task is None:
            self._transcript.say(f"the {player} plays from now on")
            return
        self._transcript.say(f"the {player} plays the task")
        self._play()

    def _play_again(self, _: str) -> None:
        """Play the current task with the next seed."""
        self._current_task()
        self._seed += 1
        self._tried.clear()
        self._play()

    def _show(self, _: str) -> None:
        """Print the code of the last answer."""
        if self._last is None or self._last.answer is None:
            raise UsageError("there is no answer yet")
        self._transcript.say_code(self._last.answer.code)

    def _save(self, argument: str) -> None:
        """Append the current task to the file that the argument names."""
        task = self._current_task()
        if not argument:
            raise UsageError("/save needs the name of a file", hint="/save my_tasks.jsonl")
        if not task.hidden:
            raise UsageError("a task without examples cannot be saved, because nothing would check its answers")
        stored = append_task(task, Path(os.path.expanduser(argument)))
        self._transcript.say(f"saved in {argument} as {stored.id}")

    def _quit(self, _: str) -> None:
        self._is_over = True


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C inside the block, which would leave a model with half an adapter."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
