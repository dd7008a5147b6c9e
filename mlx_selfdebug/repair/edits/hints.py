"""Collect the constants that edits may need, from a task's statement and from the facts of its failed checks.

A statement such as "Return the price with 19 percent tax, as in ``price(100) == 119``" suggests the numbers 19, 100 and 119. If the
check ``price(100) == 119`` failed, 119 is also an answer: an edit that makes the program return 119 would pass, and would be wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Failure

T = TypeVar("T")
MAX_HINTS = 8
"""At most so many numbers and so many strings are taken from a task."""
MAX_TEXT_LENGTH = 16
"""Longer strings and numbers, in characters, are not taken for constants of a program."""
TRIVIAL = frozenset({"True", "False", "None", "0", "1", "-1", "2", "''", "[]", "()", "{}"})
"""Expected values that a right program may well contain as a constant."""

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w|\.\w)")
"""Matches a number that is no part of a name or of a version such as 1.2.3. A full stop may follow it."""
_TEXT = re.compile(r"'([^'\n]*)'|\"([^\"\n]*)\"|`([^`\n]*)`")
"""Matches what stands between quotes or backticks on one line. The three groups are for the three kinds of quotes."""


@dataclass(frozen=True)
class Hints:
    """The constants that a program may lack, and those that it should not have."""

    numbers: tuple[int | float, ...] = ()
    """Numbers in the statement and the facts, the first ones first."""
    texts: tuple[str, ...] = ()
    """Quoted strings in the statement and the facts, without their quotes, the first ones first."""
    answers: frozenset[str] = frozenset()
    """The values that failing checks expect, as Python writes them. A program should compute these and not contain them."""

    def only_answers(self, text: str) -> bool:
        """Return whether an edit with this ``text`` writes nothing but the value that a failing check expects."""
        return text.strip() in self.answers


def hints_of(task: Task, failures: Sequence[Failure] = ()) -> Hints:
    """Return the hints in the statement of ``task`` and in the ``failures`` of a program."""
    sources = [task.statement, *(failure.input for failure in failures), *(failure.expected for failure in failures)]
    digits = (text for source in sources for text in _NUMBER.findall(source) if len(text) <= MAX_TEXT_LENGTH)
    # Of the three groups, those that did not match are empty.
    texts = ("".join(groups) for source in sources for groups in _TEXT.findall(source))
    return Hints(
        numbers=_first_distinct(float(text) if "." in text else int(text) for text in digits),
        texts=_first_distinct(text for text in texts if 0 < len(text) <= MAX_TEXT_LENGTH),
        answers=frozenset(f.expected for f in failures if f.expected_kind == "value") - TRIVIAL,
    )


def _first_distinct(values: Iterable[T]) -> tuple[T, ...]:
    """Return the first ``MAX_HINTS`` different values."""
    return tuple(dict.fromkeys(values))[:MAX_HINTS]
