"""Collect what a task offers to edits: numbers and texts that a program may lack, and answers that an edit must not simply write.

The numbers and texts come from the task's statement and from the facts of the failed checks.
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
"""The largest number of numbers, and of texts, that are kept of a task."""
MAX_TEXT_LENGTH = 16
"""The largest number of characters in a text that may be meant as a constant."""
TRIVIAL = frozenset({"True", "False", "None", "0", "1", "-1", "2", "''", "[]", "()", "{}"})
"""Expected values that a right program may well contain as a constant."""

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.])")
_TEXT = re.compile(r"'([^'\n]*)'|\"([^\"\n]*)\"|`([^`\n]*)`")


@dataclass(frozen=True)
class Hints:
    """The constants that a program may be meant to have, and those that it should not."""

    numbers: tuple[int | float, ...] = ()
    texts: tuple[str, ...] = ()
    answers: frozenset[str] = frozenset()
    """The values that failing checks expect, as Python writes them. A program should compute these and not contain them."""

    def only_answers(self, text: str) -> bool:
        """Return whether an edit with this ``text`` writes nothing but the value that a failing check expects."""
        return text.strip() in self.answers


def hints_of(task: Task, failures: Sequence[Failure] = ()) -> Hints:
    """Return the hints in the statement of ``task`` and in the ``failures`` of a program."""
    sources = [task.statement, *(failure.input for failure in failures), *(failure.expected for failure in failures)]
    numbers = _first(_number(text) for source in sources for text in _NUMBER.findall(source))
    texts = _first(text for source in sources for groups in _TEXT.findall(source) if (text := _kept(groups)))
    answers = frozenset(f.expected for f in failures if f.expected_kind == "value") - TRIVIAL
    return Hints(tuple(numbers), tuple(texts), answers)


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text[:MAX_TEXT_LENGTH])


def _kept(groups: Sequence[str]) -> str:
    """Return the one group that matched, or "" if it is too long to be a constant."""
    text = next((group for group in groups if group), "")
    return text if len(text) <= MAX_TEXT_LENGTH else ""


def _first(values: Iterable[T]) -> list[T]:
    """Return the first few values, each once."""
    return list(dict.fromkeys(values))[:MAX_HINTS]
