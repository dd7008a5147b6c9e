"""Print what happens to a task while ``try`` plays it: drafts as they are written, failures as facts, readings, edits, repairs.

    draft, greedy
        def double(x):
            return x * x
    failed: 0 of 1 example
        input     3
        expected  6
        got       9
    reading: nothing in the program surprises the model
    edits: 12 tried; of those that pass, the model finds this one likeliest
        ...

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
    from mlx_selfdebug.repair.program_reading import ProgramReading
    from mlx_selfdebug.stages.tryout import Tried
    from mlx_selfdebug.values.attempt import Attempt
    from mlx_selfdebug.values.task import Task
    from mlx_selfdebug.values.verdict import Failure, Verdict

INDENT = "    "
"""What is printed before each line of code and of facts."""
MAX_FAILURES = 3
"""The largest number of failed checks that are shown of a program."""
MAX_PLACES = 3
"""The largest number of places of a reading that are listed."""
_HEADINGS = {"edits": "edits", "line": "line written anew", "insert": "statement added", "fork": "rest written anew"}
"""The heading of an attempt that searches or forks a failed program, by ``Move.by``."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Matches the control characters except tab and newline. A program of a model could use them to control the terminal."""
_MAKERS = {
    "draft": "a draft",
    "repair": "a repair",
    "edits": "a small edit of the draft",
    "fork": "a fork, which leaves the draft at a surprising place",
    "given": "the given program",
}
"""What solved a task, by the kind of the attempt that is the answer. It follows "solved by"."""


class Transcript(Watcher):
    """A watcher that prints each step of the task that is played: to stdout, or to stderr with ``err``.

    The base class says when each of ``begin``, ``write``, ``read`` and ``finish`` is called. The ``say_`` methods print what the
    watcher is not told: the task, the result and the answer.
    """

    def __init__(self, *, err: bool = False) -> None:
        self._err = err
        self._codes: dict[str, str] = {}
        """The code of each attempt of the task, by the attempt's id."""
        self._read: set[str] = set()
        """The programs whose reading was printed."""
        self._move: Move | None = None
        """The move that is under way, or None."""
        self._n_written = 0
        """The number of characters of the current completion that were printed."""

    def say(self, text: str = "", *, nl: bool = True) -> None:
        """Print a text, followed by a line end unless ``nl`` is false."""
        click.echo(text, err=self._err, nl=nl)

    @property
    def shows_colours(self) -> bool:
        """Whether the output is a terminal that shows colours."""
        context = click.get_current_context(silent=True)
        stream = sys.stderr if self._err else sys.stdout
        return stream.isatty() and (context is None or context.color is not False)

    def begin(self, task: Task, move: Move) -> None:  # noqa: ARG002
        """Print the heading of a move. What the model writes for a draft or a repair follows on lines of its own."""
        self._move, self._n_written = move, 0
        if move.parent is None and not move.sample:  # the first draft of a task
            self._codes.clear()
            self._read.clear()
        if move.by != "asking":
            self.say(_heading(_HEADINGS[move.by]) + ": ", nl=False)
            return
        if move.parent is None:
            manner = "greedy" if move.temperature == 0 else "drawn"
            self.say(_heading(f"draft {move.sample + 1}" if move.sample else "draft") + f", {manner}")
        else:
            self.say(_heading("repair"))
        self.say(INDENT, nl=False)

    def write(self, task: Task, move: Move, text: str) -> None:  # noqa: ARG002
        """Print what is new in the text of a draft or a repair."""
        if move.by == "asking":
            shown = text.rstrip()  # An empty line is printed only once something follows it.
            self._print_code(shown[self._n_written :])
            self._n_written = len(shown)

    def _print_code(self, text: str) -> None:
        """Print a piece of code. The indentation of its first line was printed before."""
        self.say(_visible(text).replace("\n", f"\n{INDENT}"), nl=False)

    def read(self, task: Task, program: ProgramReading) -> None:  # noqa: ARG002
        """Print the program, shaded by the surprise of the model, and its most surprising places. Each program is shown once."""
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
        """Print what the move made, and the verdict on it."""
        if self._move is None:  # The move could not be made, so there is no heading above.
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
        """Print the rest of a draft or a repair, notes on it, and the verdict unless it is a copy of the program before."""
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
        n_tried = f"{attempt.n_tries} tried"
        if attempt.finish == EXHAUSTED:
            self.say(f"{n_tried}, none passes the {_noun(task)}s")
            return
        self.say(f"{n_tried}; of those that pass, the model finds this one likeliest")
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
        """Print whether the public checks pass, and the facts of the first failures. Print nothing if there are none."""
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
        """End the line of the move that is under way, which will not be finished."""
        if self._move is not None:
            self.say()
            self._move = None

    def say_result(self, tried: Tried) -> None:
        """Print how a task ended, which checks decided that, and what it took."""
        self.say(f"{click.style(tried.outcome, bold=True)}{_solved_by(tried)}")
        cost = f"{tried.decoded_tokens:,} tokens decoded, {tried.wall_s:.1f} s"
        self.say(f"{_checked_by(tried)} {cost}".lstrip())

    def say_comparison(self, results: Sequence[Tried]) -> None:
        """Print the results of each player on the same task as a table."""
        rows = [
            [
                result.player,
                f"{result.outcome}{_solved_by(result)}",
                f"{result.decoded_tokens:,} tokens",
                f"{result.wall_s:.1f} s",
            ]
            for result in results
        ]
        self.say(f"\n{columns(rows)}")

    def say_task(self, task: Task) -> None:
        """Print a task as the model sees it: the prompt, below the task's id."""
        self.say(_heading(task.id))
        self.say(textwrap.indent(_visible(domain_of(task.domain).prompt(task)), INDENT))

    def say_code(self, code: str) -> None:
        """Print code without anything around it, so that it can be copied."""
        self.say(_visible(code.strip("\n")))


def _visible(text: str) -> str:
    """Return ``text`` with its control characters except tab and newline written as escapes, such as ``\\x1b``."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def _heading(text: str) -> str:
    return click.style(text, bold=True)


def _noun(task: Task) -> str:
    """Return what the public checks of a task are called: "example" if they were typed, and otherwise "public check"."""
    return "example" if task.source == SOURCE else "public check"


def _passing(task: Task, verdict: Verdict) -> str:
    """Return how many checks pass, such as "1 of 2 examples", or why none could be made."""
    if not verdict.n_checks:
        return NO_VALUE.get(verdict.outcome, verdict.outcome.replace("_", " "))
    noun = _noun(task) if verdict.n_checks == 1 else f"{_noun(task)}s"
    return f"{verdict.n_passed} of {verdict.n_checks} {noun}"


def _facts(failure: Failure, verdict: Verdict) -> Iterator[tuple[str, str]]:
    """Yield the facts of a failed check, each with its name before it, such as ("input", "3")."""
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
    diff = difflib.unified_diff(before.splitlines(), after.splitlines(), n=1, lineterm="")
    lines = list(diff)[2:]  # without the names of the two files
    colours = {"+": "green", "-": "red", "@": "cyan"}
    return "\n".join(click.style(INDENT + line, fg=colours.get(line[:1])) for line in lines)


def _normal(task: Task, code: str) -> str:
    return domain_of(task.domain).normalise(code)


def _solved_by(tried: Tried) -> str:
    """Return what solved a task, as the end of a sentence: " by a small edit of the draft". It is "" if nothing did."""
    answer = tried.answer
    if tried.outcome != "solved" or answer is None:
        return ""
    return f" by {'its first draft' if answer is tried.attempts[0] else _MAKERS[answer.kind]}"


def _checked_by(tried: Tried) -> str:
    """Return a sentence that says which checks decided the outcome, or what the checks say that did not decide it."""
    task, answer = tried.task, tried.answer
    if tried.outcome == "not checked":
        return "No examples were given, so nothing was checked."
    if task.source == SOURCE:
        return "Only the examples that were typed were checked."
    if answer is None:
        return ""
    verdict = answer.verdict
    return f"Hidden checks, which decide nothing here: {verdict.n_passed} of {verdict.n_checks} pass."
