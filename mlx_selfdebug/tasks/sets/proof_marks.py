"""Make a task of each theorem of a file that a comment before it marks. A ``Language`` says how such a file is read.

A marking comment begins with ``task:``. Each of its keys stands at the beginning of a line, and a value goes on until the next key:

    (* task: Zero is neutral on the right of a sum,
       for natural numbers.
       pass_rate: 0.25 *)

``proofs.py`` beside this module documents the keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlx_selfdebug.domains.proving import proof_checks
from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.proving.script import UnreadableError
from mlx_selfdebug.tasks.sets.records import raise_problems
from mlx_selfdebug.values.task import Task

_KEYS = ("task", "wrong", "pass_rate", "difficulty", "axioms")
_KEY = re.compile(rf"^\s*({'|'.join(_KEYS)}):", re.MULTILINE)
_DIFFICULTIES = ("easy", "medium", "hard")


@dataclass(frozen=True)
class Proved:
    """A theorem of a file, with its proof."""

    name: str
    starter_code: str
    """The imports, definitions and unmarked lemmas above the theorem, and then the theorem without its proof."""
    reference: str
    """The proof, in the form of an answer."""


@dataclass(frozen=True)
class Language:
    """A language of proofs, and how its marked files are read."""

    domain: str
    """The name of the domain that judges the tasks, such as "lean"."""
    comment: tuple[str, str]
    """The signs that begin and end a comment which marks a theorem, such as "/-" and "-/"."""
    comments_of: Callable[[str], Iterable[tuple[int, int]]]
    """Returns where each comment of a text begins and ends."""
    proofs_of: Callable[[str, Sequence[int]], Iterator[Proved | None]]
    """Takes a text and the positions of its marking comments. Yields the theorem that follows each of them, or None.

    None means that something else follows, or a theorem whose proof is missing or incomplete.
    """
    script_of: Callable[[str], str]
    """Returns the answer that consists of the given tactics, such as those after ``wrong:``."""
    proof_form: str
    """How a proof is recognised, as the end of the sentence "no theorem with a proof follows, which ..."."""


@dataclass(frozen=True)
class _Mark:
    """A comment that marks a theorem."""

    begin: int
    """Where the comment begins, as a position in the text."""
    line: int
    """The number of the line on which the comment begins, from 1."""
    fields: dict[str, list[str]] = field(default_factory=dict)
    """The values of each key, in their order. Only ``wrong`` may have several."""


def marked_tasks(path: Path, language: Language, source: str = "") -> list[Task]:
    """Return a task for each marked theorem of a file. ``source`` is the source of the tasks, by default the name of the file.

    Raises TaskError if the file cannot be read or marks no theorem. If marks have problems, the error lists all of them.
    """
    try:
        text = path.read_text(encoding="utf-8")
        marks = list(_marks(text, language))
        proofs = list(language.proofs_of(text, [mark.begin for mark in marks]))
    except OSError as error:
        raise TaskError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TaskError(f"{path} is not a text in UTF-8: {error}") from error
    except UnreadableError as error:
        raise TaskError(f"{path}:{error.line}: {error}") from None
    if not marks:
        begin, end = language.comment
        raise TaskError(
            f"{path}: no theorem is marked as a task",
            hint=f"write a comment before it: {begin} task: what it says, in words {end}",
        )
    problems: list[str] = []
    tasks: list[Task] = []
    for mark, proof in zip(marks, proofs, strict=True):
        if proof is None:
            problems.append(f"{path}:{mark.line}: no theorem with a proof follows, which {language.proof_form}")
            continue
        problems += [f"{path}:{mark.line}: {problem}" for problem in _wrong_values(mark.fields)]
        if not problems:
            tasks.append(_task(source or path.stem, language, mark.fields, proof))
    names = [task.entry_point for task in tasks]
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    problems += [f"{path}: the theorem {name} is stated more than once" for name in repeated]
    raise_problems(path, problems)
    return tasks


def _marks(text: str, language: Language) -> Iterator[_Mark]:
    """Yield the comments of a text that mark a theorem."""
    opening, closing = language.comment
    for begin, end in language.comments_of(text):
        comment = text[begin:end]
        if not comment.startswith(opening):
            continue  # Lean has comments of one line too, which mark nothing.
        comment = comment.removeprefix(opening).removesuffix(closing)
        if comment.lstrip().startswith("task:"):
            mark = _Mark(begin, text.count("\n", 0, begin) + 1)
            # The parts are the text before the first key, which is blank, and then keys and values in turn.
            _, *parts = _KEY.split(comment)
            for key, value in zip(parts[::2], parts[1::2], strict=True):
                mark.fields.setdefault(key, []).append(" ".join(value.split()))
            yield mark


def _wrong_values(fields: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield what is wrong with the values of a mark, each as a phrase for an error."""
    for key in ("task", "pass_rate", "difficulty", "axioms"):
        if len(fields.get(key, [])) > 1:
            yield f"{key} is given more than once"
    difficulty = fields.get("difficulty", ["easy"])[0]
    if difficulty not in _DIFFICULTIES:
        yield f"difficulty is {difficulty!r}; it may be {', '.join(_DIFFICULTIES)}"
    rate = fields.get("pass_rate", ["0"])[0]
    if not re.fullmatch(r"0(\.\d+)?|1(\.0+)?", rate):
        yield f"pass_rate is {rate!r}; it must be a number from 0 to 1"


def _task(source: str, language: Language, fields: Mapping[str, list[str]], proof: Proved) -> Task:
    """Return the task of a marked theorem. ``fields`` are the values of its mark, in which nothing is wrong."""
    checks = proof_checks(proof.name)
    axioms = " ".join(fields.get("axioms", [])).replace(",", " ").split()
    return Task(
        id=f"proofs/{source}/{proof.name}" if source != "proofs" else f"proofs/{proof.name}",
        domain=language.domain,
        statement=fields["task"][0],
        entry_point=proof.name,
        starter_code=proof.starter_code,
        public=checks,
        hidden=checks,
        data=json.dumps({"axioms": axioms}) if axioms else "",
        reference=proof.reference,
        wrong=tuple(map(language.script_of, fields.get("wrong", []))),
        source=source,
        difficulty=fields.get("difficulty", [""])[0],
        pass_rate=float(fields["pass_rate"][0]) if "pass_rate" in fields else None,
    )
