"""What a task offers to an edit: the numbers and texts of its statement and of the facts, and the answers that prove nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Failure

T = TypeVar("T")
MOST = 8
"""Numbers and texts that are kept of a task."""
MOST_TEXT = 16
"""Characters of a text that may be a constant of a program."""
TRIVIAL = frozenset({"True", "False", "None", "0", "1", "-1", "2", "''", "[]", "()", "{}"})
"""Expected values that a right program may well have as a constant."""

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.])")
_TEXT = re.compile(r"'([^'\n]*)'|\"([^\"\n]*)\"|`([^`\n]*)`")


@dataclass(frozen=True)
class Hints:
    """``numbers`` and ``texts`` that a constant of the program may be meant to be; ``answers`` are the values that failing checks
    expect, as Python writes them, which a program must compute and not contain."""

    numbers: tuple[int | float, ...] = ()
    texts: tuple[str, ...] = ()
    answers: frozenset[str] = frozenset()

    def only_answers(self, text: str) -> bool:
        """Say whether an edit writes nothing but the value that a failing check expects."""
        return text.strip() in self.answers


def hints_of(task: Task, failures: Sequence[Failure] = ()) -> Hints:
    """Return the hints of ``task``, and of what its checks said of a program."""
    said = [task.statement, *(failure.input for failure in failures), *(failure.expected for failure in failures)]
    numbers = _first(_number(text) for part in said for text in _NUMBER.findall(part))
    texts = _first(text for part in said for found in _TEXT.findall(part) if (text := _kept(found)))
    answers = frozenset(f.expected for f in failures if f.expected_kind == "value") - TRIVIAL
    return Hints(tuple(numbers), tuple(texts), answers)


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text[:MOST_TEXT])


def _kept(found: Sequence[str]) -> str:
    """Return the one group that matched, or nothing if it is too long to be a constant."""
    text = next((group for group in found if group), "")
    return text if len(text) <= MOST_TEXT else ""


def _first(values: Iterable[T]) -> list[T]:
    """Return the first few values, each once."""
    return list(dict.fromkeys(values))[:MOST]
