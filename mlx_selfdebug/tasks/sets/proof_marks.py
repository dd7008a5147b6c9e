"""Make tasks of the theorems of a file that are marked by a comment before them, in any language of proofs.

The comment begins with ``task:``. Its keys stand at the beginnings of lines, and a value goes on until the next key.
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
    """What belongs to its task: what stands before it, and the theorem itself."""
    reference: str
    """Its proof, as the text of an answer."""


@dataclass(frozen=True)
class Language:
    """How marked files are written in a language of proofs."""

    domain: str
    """The domain of the tasks."""
    comment: tuple[str, str]
    """The signs that begin and end a comment."""
    comments_of: Callable[[str], Iterable[tuple[int, int]]]
    """Finds where the comments of a text begin and end."""
    proofs_of: Callable[[str, Sequence[int]], Iterator[Proved | None]]
    """Yields the theorem after each of some positions in a text, or None if no theorem with a proof follows."""
    script_of: Callable[[str], str]
    """Makes the text of an answer of tactics."""
    proof_form: str
    """What a proof has, in words."""


@dataclass(frozen=True)
class _Mark:
    """What the comment before a theorem says."""

    begin: int
    """Where the comment begins, as a position in the text."""
    line: int
    fields: dict[str, list[str]] = field(default_factory=dict)
    """The texts of each key, in their order."""


def marked_tasks(path: Path, language: Language, source: str = "") -> list[Task]:
    """Return the marked theorems of a file. ``source`` becomes their source, by default the name of the file.

    Raises TaskError if the file cannot be read, or has problems, which are all listed.
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
    problems += [f"{path}: the theorem {name} is stated more than once" for name in set(names) if names.count(name) > 1]
    raise_problems(path, problems)
    return tasks


def _marks(text: str, language: Language) -> Iterator[_Mark]:
    for begin, end in language.comments_of(text):
        comment = text[begin:end]
        if not comment.startswith(language.comment[0]):
            continue
        comment = comment.removeprefix(language.comment[0]).removesuffix(language.comment[1])
        if comment.lstrip().startswith("task:"):
            mark = _Mark(begin, text.count("\n", 0, begin) + 1)
            parts = _KEY.split(comment)[1:]
            for key, value in zip(parts[::2], parts[1::2], strict=True):
                mark.fields.setdefault(key, []).append(" ".join(value.split()))
            yield mark


def _wrong_values(fields: Mapping[str, list[str]]) -> Iterator[str]:
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
    checks = proof_checks(proof.name)
    axioms = " ".join(fields.get("axioms", [])).replace(",", " ").split()
    return Task(
        f"proofs/{source}/{proof.name}" if source != "proofs" else f"proofs/{proof.name}",
        language.domain,
        fields["task"][0],
        proof.name,
        proof.starter_code,
        checks,
        checks,
        data=json.dumps({"axioms": axioms}) if axioms else "",
        reference=proof.reference,
        wrong=tuple(map(language.script_of, fields.get("wrong", []))),
        source=source,
        difficulty=fields.get("difficulty", [""])[0],
        pass_rate=float(fields["pass_rate"][0]) if "pass_rate" in fields else None,
    )
