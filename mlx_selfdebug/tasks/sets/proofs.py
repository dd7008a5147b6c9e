"""Read theorems as tasks: from a Rocq file with marks, or from records in the form of miniF2F.

In a Rocq file, a comment that begins with ``task:`` makes a task of the theorem after it. Its proof in the file is the reference:

    (* task: Zero is neutral on the right of a sum.
       wrong: intros n. reflexivity.
       pass_rate: 0.25 *)
    Theorem plus_zero : forall n : nat, n + 0 = n.
    Proof. ... Qed.

Everything before the theorem belongs to the task, except the other marked theorems: imports, definitions, lemmas. A comment may
also hold ``wrong:`` (a script that must fail; as often as needed), ``pass_rate:``, ``difficulty:`` and ``axioms:`` (the names of
axioms that a proof may use).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mlx_selfdebug.domains.proof import proof_checks, theorem_of
from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.proving.rocq_sentences import Sentence, comments_of, sentences_of
from mlx_selfdebug.proving.script import UnreadableError
from mlx_selfdebug.tasks.files import stem
from mlx_selfdebug.tasks.sets.records import build_tasks, raise_problems, read_records
from mlx_selfdebug.values.task import Task

FOLDER = Path(__file__).parent.parent / "proofs"
_KEYS = ("task", "wrong", "pass_rate", "difficulty", "axioms")
_KEY = re.compile(rf"^\s*({'|'.join(_KEYS)}):", re.MULTILINE)
_NAME = re.compile(r"\w+\s+([^\W\d][\w']*)")
_ENDS = re.compile(r"(?:Qed|Defined|Admitted|Abort)\s*\.")
_RECORD = {"name": str, "formal_statement": str}
_WORDS = ("informal_prefix", "informal_statement", "informal_stmt")
# What stands in the place of the proof: "Proof. Admitted."
_WITHOUT_PROOF = re.compile(r"\s*(?:\bProof\s*\.\s*)?(?:\bAdmitted\s*\.\s*)?$")
_DIFFICULTIES = ("easy", "medium", "hard")


@dataclass
class _Mark:
    """What the comment before a theorem says."""

    begin: int
    """Where the comment begins, as a position in the text."""
    line: int
    fields: dict[str, list[str]] = field(default_factory=dict)
    """The texts of each key, in their order."""


def proof_tasks(path: Path | None) -> list[Task]:
    """Return the theorems of a file, or those that come with the package.

    Raises TaskError if the file cannot be read, or has problems, which are all listed.
    """
    if path is None:
        return [task for file in sorted(FOLDER.glob("*.v")) for task in rocq_tasks(file, source="proofs")]
    return rocq_tasks(path) if path.suffix == ".v" else record_tasks(path)


def rocq_tasks(path: Path, *, source: str = "") -> list[Task]:
    """Return the marked theorems of a Rocq file. ``source`` becomes their source, by default the name of the file.

    Raises TaskError as ``proof_tasks`` does.
    """
    try:
        text = path.read_text(encoding="utf-8")
        marks, sentences = list(_marks(text)), sentences_of(text)
    except OSError as error:
        raise TaskError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TaskError(f"{path} is not a text in UTF-8: {error}") from error
    except UnreadableError as error:
        raise TaskError(f"{path}:{error.line}: {error}") from None
    if not marks:
        raise TaskError(
            f"{path}: no theorem is marked as a task",
            hint="write a comment before it: (* task: what it says, in words *)",
        )
    problems: list[str] = []
    tasks = list(_tasks(path, source or path.stem, marks, sentences, problems))
    names = [task.entry_point for task in tasks]
    problems += [f"{path}: the theorem {name} is stated more than once" for name in set(names) if names.count(name) > 1]
    raise_problems(path, problems)
    return tasks


def _marks(text: str) -> Iterator[_Mark]:
    for begin, end in comments_of(text):
        comment = text[begin + 2 : end - 2]
        if comment.lstrip().startswith("task:"):
            mark = _Mark(begin, text.count("\n", 0, begin) + 1)
            parts = _KEY.split(comment)[1:]
            for key, value in zip(parts[::2], parts[1::2], strict=True):
                mark.fields.setdefault(key, []).append(" ".join(value.split()))
            yield mark


def _tasks(
    path: Path, source: str, marks: list[_Mark], sentences: list[Sentence], problems: list[str]
) -> Iterator[Task]:
    """Yield the task of each mark, and add what is wrong to ``problems``."""
    before: list[Sentence] = []
    at = 0
    for mark in marks:
        while at < len(sentences) and sentences[at].begin < mark.begin:
            before.append(sentences[at])
            at += 1
        end = next((n for n in range(at, len(sentences)) if _ENDS.fullmatch(sentences[n].text)), None)
        name = _NAME.match(sentences[at].text) if at < len(sentences) else None
        if end is None or name is None:
            problems.append(f"{path}:{mark.line}: no theorem with a proof follows, which ends with Qed.")
            continue
        statement, proof, at = sentences[at], sentences[at + 1 : end], end + 1
        problems += [f"{path}:{mark.line}: {problem}" for problem in _wrong_values(mark.fields)]
        if not problems:
            yield _task(source, mark.fields, before, statement, proof, name[1])


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


def _task(
    source: str,
    fields: Mapping[str, list[str]],
    before: list[Sentence],
    statement: Sentence,
    proof: list[Sentence],
    name: str,
) -> Task:
    checks = proof_checks(name)
    axioms = " ".join(fields.get("axioms", [])).replace(",", " ").split()
    return Task(
        f"proofs/{source}/{name}" if source != "proofs" else f"proofs/{name}",
        "proof",
        fields["task"][0],
        name,
        "\n".join([*(sentence.text for sentence in before), "", statement.text]).lstrip("\n") + "\n",
        checks,
        checks,
        data=json.dumps({"axioms": axioms}) if axioms else "",
        reference=_script(proof),
        wrong=tuple(f"Proof.\n  {script}\nQed.\n" for script in fields.get("wrong", [])),
        source=source,
        difficulty=fields.get("difficulty", [""])[0],
        pass_rate=float(fields["pass_rate"][0]) if "pass_rate" in fields else None,
    )


def _script(proof: list[Sentence]) -> str:
    """Return a proof as the text of an answer. The sentences of one line stay on one line."""
    lines: dict[int, list[str]] = {}
    for sentence in proof:
        if sentence.text != "Proof.":
            lines.setdefault(sentence.line, []).append(sentence.text)
    return "".join(["Proof.\n", *(f"  {' '.join(texts)}\n" for texts in lines.values()), "Qed.\n"])


def record_tasks(path: Path) -> list[Task]:
    """Return the theorems of a file of records in the form of miniF2F, if they are in Rocq.

    A record has a ``name`` and a ``formal_statement``. It may have a ``header``, which comes before the statement, and
    ``informal_prefix``, ``informal_statement`` or ``informal_stmt``, which says the same in words. Raises TaskError as
    ``proof_tasks`` does.
    """
    return build_tasks(path, read_records(path, _RECORD), partial(_record_task, stem(path)))


def _record_task(source: str, fields: Mapping[str, Any]) -> Task:
    """Return the task of one record. Raises ValueError if it holds no theorem in Rocq of that name."""
    text = f"{fields.get('header') or ''}\n{_WITHOUT_PROOF.sub('', fields['formal_statement'])}".strip()
    if re.search(r":=\s*(?:by\b.*)?$", text):
        raise ValueError("formal_statement is in Lean; only theorems in Rocq can be checked")
    name = fields["name"]
    words = next(filter(None, map(fields.get, _WORDS)), "")
    checks = proof_checks(name)
    task = Task(
        f"proofs/{source}/{name}",
        "proof",
        str(words).strip().removeprefix("/--").removesuffix("-/").strip(),
        name,
        text + "\n",
        checks,
        checks,
        source=source,
    )
    theorem_of(task)
    return task
