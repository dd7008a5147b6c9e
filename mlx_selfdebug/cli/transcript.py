"""Print what happens to a task while it is tried: drafts as they are written, failures as facts, readings, edits, repairs.

Colours are left out where the output is no terminal, and where NO_COLOR is set.
"""

from __future__ import annotations

import difflib
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from mlx_selfdebug.columns import columns
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.prompted import NO_VALUE
from mlx_selfdebug.repair.picture import as_ansi, as_text, most_surprising
from mlx_selfdebug.repair.policies import EXHAUSTED
from mlx_selfdebug.repair.watching import Watcher
from mlx_selfdebug.tasks.typed import SOURCE

if TYPE_CHECKING:
    from mlx_selfdebug.repair.policies import Move
    from mlx_selfdebug.repair.reading import ProgramReading
    from mlx_selfdebug.stages.tryout import Tried
    from mlx_selfdebug.values.attempt import Attempt
    from mlx_selfdebug.values.task import Task
    from mlx_selfdebug.values.verdict import Failure, Verdict

INDENT = "    "
"""What stands before each line of code and of facts."""
MAX_FAILURES = 3
"""The largest number of failed checks that are shown of a program."""
MAX_PLACES = 3
"""The largest number of places of a reading that are listed."""
_HEADINGS = {"edits": "edits", "line": "line written anew", "insert": "statement added", "fork": "rest written anew"}
"""The heading of what follows a failed program, by the kind of the move. Drafts and repairs have longer ones."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Matches the characters with which a program that a model wrote could take control of the terminal."""
_MAKERS = {
    "draft": "a draft",
    "repair": "a repair",
    "edits": "a small edit of the draft",
    "fork": "a fork, which leaves the draft at a surprising place",
    "given": "the given program",
}
"""How the answer was made, by the kind of its attempt."""


class Transcript(Watcher):
    """A watcher that prints what it sees: to stdout, or to stderr with ``err``."""

    def __init__(self, *, err: bool = False) -> None:
        self._err = err
        self._codes: dict[str, str] = {}
        """The code of each attempt of the task, by the attempt's id."""
        self._read: set[str] = set()
        """The programs whose reading was printed."""
        self._move: Move | None = None
        self._n_written = 0
        """The number of characters of the current completion that were printed."""

    def say(self, text: str = "", *, nl: bool = True) -> None:
        """Print a text."""
        click.echo(text, err=self._err, nl=nl)

    @property
    def shows_colours(self) -> bool:
        """Whether colours that are printed are also seen."""
        context = click.get_current_context(silent=True)
        stream = sys.stderr if self._err else sys.stdout
        return stream.isatty() and (context is None or context.color is not False)

    def begin(self, task: Task, move: Move) -> None:  # noqa: ARG002
        if move.parent is None and not move.sample:
            self._codes.clear()
            self._read.clear()
        if move.parent is None:
            manner = "greedy" if move.temperature == 0 else "drawn"
            self.say(_heading(f"draft {move.sample + 1}" if move.sample else "draft") + f", {manner}")
        elif move.by == "asking":
            self.say(_heading("repair"))
        else:
            self.say(_heading(_HEADINGS[move.by]) + ": ", nl=False)
        self._move, self._n_written = move, 0
        if move.by == "asking":
            self.say(INDENT, nl=False)

    def write(self, task: Task, move: Move, text: str) -> None:  # noqa: ARG002
        if move.by == "asking":
            shown = text.rstrip()  # An empty line is printed only once something follows it.
            self._print_code(shown[self._n_written :])
            self._n_written = len(shown)

    def _print_code(self, text: str) -> None:
        self.say(_visible(text).replace("\n", f"\n{INDENT}"), nl=False)

    def read(self, task: Task, program: ProgramReading) -> None:  # noqa: ARG002
        if program.code in self._read or not program.is_read:
            return
        self._read.add(program.code)
        shades = [replace(shade, text=_visible(shade.text)) for shade in program.shades()]
        places = most_surprising(shades, MAX_PLACES)
        if not places:
            self.say(_heading("reading") + ": nothing in the program surprises the model")
            return
        self.say(_heading("reading") + ": what the model would rather have written")
        self.say(textwrap.indent(as_ansi(shades) if self.shows_colours else as_text(shades), INDENT))
        rows = [
            [
                f"{INDENT}line {place.line}",
                repr(place.shade.text),
                f"{place.shade.nats:.1f} nats",
                f"rather {place.shade.favourites}",
            ]
            for place in places
        ]
        self.say(columns(rows))

    def finish(self, task: Task, attempt: Attempt) -> None:
        if self._move is None:  # The move could not be made, so nothing was said of it.
            return
        self._codes[attempt.id] = attempt.code
        parent_code = self._codes.get(attempt.parent, "")
        if attempt.kind in ("draft", "repair"):
            self._finish_written(task, attempt, parent_code)
        elif attempt.kind == "edits":
            self._finish_edits(task, attempt, parent_code)
        else:
            self._finish_fork(task, attempt, parent_code)
        self._move = None

    def _finish_written(self, task: Task, attempt: Attempt, parent_code: str) -> None:
        stop = domain_of(task.domain).stop_text
        text = attempt.completion.partition(stop)[0] if stop else attempt.completion
        self._print_code(text.rstrip()[self._n_written :])
        self.say()
        notes = [f"taken from the answer by: {', '.join(attempt.tidied)}"] if attempt.tidied else []
        notes += ["cut off at the largest number of tokens"] if attempt.finish == "length" else []
        is_copy = attempt.finish == "copy" or (
            parent_code and _normal(task, attempt.code) == _normal(task, parent_code)
        )
        notes += ["the same program again"] if is_copy else []
        for note in notes:
            self.say(f"  ({note})")
        if not is_copy:
            self._say_verdict(task, attempt.public)

    def _finish_edits(self, task: Task, attempt: Attempt, parent_code: str) -> None:
        tried = f"{attempt.n_tries} tried"
        if attempt.finish == EXHAUSTED:
            self.say(f"{tried}, none passes the {_noun(task)}s")
            return
        self.say(f"{tried}; of those that pass, the model finds this one likeliest")
        self.say(_diff(parent_code, attempt.code))
        self._say_verdict(task, attempt.public)

    def _finish_fork(self, task: Task, attempt: Attempt, parent_code: str) -> None:
        tokens = f"{attempt.n_completion_tokens} tokens"
        if attempt.finish == "copy" or _normal(task, attempt.code) == _normal(task, parent_code):
            self.say(f"{tokens}, the same program again")
            return
        self.say(tokens)
        self.say(_diff(parent_code, attempt.code))
        self._say_verdict(task, attempt.public)

    def _say_verdict(self, task: Task, verdict: Verdict) -> None:
        if not task.public:
            return
        if verdict.passed:
            self.say(click.style("passed", fg="green") + f": {_passing(task, verdict)}")
            return
        self.say(click.style("failed", fg="red") + f": {_passing(task, verdict)}")
        for failure in verdict.failures[:MAX_FAILURES]:
            self.say(columns([[INDENT + name, _visible(value)] for name, value in _facts(failure, verdict)]))
        if len(verdict.failures) > MAX_FAILURES:
            self.say(f"{INDENT}and {len(verdict.failures) - MAX_FAILURES} more")

    def break_off(self) -> None:
        """End the line that was begun for a move which will not be finished."""
        if self._move is not None:
            self.say()
            self._move = None

    def say_result(self, tried: Tried) -> None:
        """Print how a task ended, by which checks that is known, and what it took."""
        self.say(f"{click.style(tried.outcome, bold=True)}{_maker(tried)}")
        self.say(f"{_known_by(tried)} {tried.decoded_tokens:,} tokens decoded, {tried.wall_s:.1f} s")

    def say_comparison(self, tried: Sequence[Tried]) -> None:
        """Print how each player fared on the same task, as a table."""
        rows = [
            [
                result.player,
                f"{result.outcome}{_maker(result)}",
                f"{result.decoded_tokens:,} tokens",
                f"{result.wall_s:.1f} s",
            ]
            for result in tried
        ]
        self.say(f"\n{columns(rows)}")

    def say_task(self, task: Task) -> None:
        """Print a task as the model is asked for it."""
        self.say(_heading(task.id))
        self.say(textwrap.indent(_visible(domain_of(task.domain).prompt(task)), INDENT))

    def say_code(self, code: str) -> None:
        """Print code without anything around it, so that it can be copied."""
        self.say(_visible(code.strip("\n")))


def _visible(text: str) -> str:
    """Return ``text`` with its control characters spelt out, except those that end a line or are tabs."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def _heading(text: str) -> str:
    return click.style(text, bold=True)


def _noun(task: Task) -> str:
    """Return the word for what a task is checked by while it is played."""
    return "example" if task.source == SOURCE else "public check"


def _passing(task: Task, verdict: Verdict) -> str:
    """Return how many checks pass, or what kept them from being made."""
    if not verdict.n_checks:
        return NO_VALUE.get(verdict.outcome, verdict.outcome.replace("_", " "))
    noun = _noun(task) if verdict.n_checks == 1 else f"{_noun(task)}s"
    return f"{verdict.n_passed} of {verdict.n_checks} {noun}"


def _facts(failure: Failure, verdict: Verdict) -> Iterator[tuple[str, str]]:
    """Yield the facts of a failed check, each with its name."""
    if failure.input:
        yield "input", failure.input
    if failure.expected:
        yield "expected", failure.expected
    if failure.error:
        error = failure.error
        yield "error", f"{error.type}: {error.message}".rstrip(": ") + (f" in line {error.line}" if error.line else "")
    else:
        yield "got", failure.got or NO_VALUE.get(verdict.outcome, "nothing")
    if not failure.input and not failure.expected:
        yield "check", failure.check


def _diff(before: str, after: str) -> str:
    """Return the lines that changed, with one line around them, indented and coloured."""
    before, after = _visible(before), _visible(after)
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=1, lineterm=""))[2:]
    colours = {"+": "green", "-": "red", "@": "cyan"}
    return "\n".join(click.style(INDENT + line, fg=colours.get(line[:1])) for line in lines)


def _normal(task: Task, code: str) -> str:
    return domain_of(task.domain).normalise(code)


def _maker(tried: Tried) -> str:
    """Return by what a task was solved, as the end of a sentence, or nothing if it was not."""
    answer = tried.answer
    if tried.outcome != "solved" or answer is None:
        return ""
    return f" by {'its first draft' if answer is tried.attempts[0] else _MAKERS[answer.kind]}"


def _known_by(tried: Tried) -> str:
    """Return a sentence on the checks that decided, and on those that did not."""
    task, answer = tried.task, tried.answer
    if tried.outcome == "not checked":
        return "No examples were given, so nothing was checked."
    if task.source == SOURCE:
        return "Only the examples that were typed were checked."
    if answer is None:
        return ""
    verdict = answer.verdict
    return f"Hidden checks, which decide nothing here: {verdict.n_passed} of {verdict.n_checks} pass."
