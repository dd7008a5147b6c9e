"""Collect what a task offers to edits: numbers and strings that a program may lack, and answers that an edit must not simply write.

The numbers and strings come from the task's statement and from the facts of the failed checks.
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
"""The largest number of numbers that are kept of a task, and of strings."""
MAX_TEXT_LENGTH = 16
"""The largest number of characters in a string or a number that may be meant as a constant."""
TRIVIAL = frozenset({"True", "False", "None", "0", "1", "-1", "2", "''", "[]", "()", "{}"})
"""Expected values that a right program may well contain as a constant."""

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w|\.\w)")
"""Matches a number that is no part of a name or of a version such as 1.2.3. A full stop may follow it."""
_TEXT = re.compile(r"'([^'\n]*)'|\"([^\"\n]*)\"|`([^`\n]*)`")
"""Matches what stands between quotes or backticks on one line. Only one of the three groups is not empty."""


@dataclass(frozen=True)
class Hints:
    """The constants that a program may be meant to have, and those that it should not have."""

    numbers: tuple[int | float, ...] = ()
    """Numbers that the program may lack."""
    texts: tuple[str, ...] = ()
    """Strings that the program may lack."""
    answers: frozenset[str] = frozenset()
    """The values that failing checks expect, as Python writes them. A program should compute these and not contain them."""

    def only_answers(self, text: str) -> bool:
        """Return whether an edit with this ``text`` writes nothing but the value that a failing check expects."""
        return text.strip() in self.answers


def hints_of(task: Task, failures: Sequence[Failure] = ()) -> Hints:
    """Return the hints in the statement of ``task`` and in the ``failures`` of a program."""
    sources = [task.statement, *(failure.input for failure in failures), *(failure.expected for failure in failures)]
    numbers = (text for source in sources for text in _NUMBER.findall(source) if len(text) <= MAX_TEXT_LENGTH)
    texts = ("".join(groups) for source in sources for groups in _TEXT.findall(source))
    answers = frozenset(f.expected for f in failures if f.expected_kind == "value") - TRIVIAL
    return Hints(
        _first_distinct(float(text) if "." in text else int(text) for text in numbers),
        _first_distinct(text for text in texts if 0 < len(text) <= MAX_TEXT_LENGTH),
        answers,
    )


def _first_distinct(values: Iterable[T]) -> tuple[T, ...]:
    """Return the first ``MAX_HINTS`` different values."""
    return tuple(dict.fromkeys(values))[:MAX_HINTS]
