"""Read theorems as tasks: from a file of Rocq or Lean with marks, or from records in the form of miniF2F.

In a Rocq file (``.v``), a comment that begins with ``task:`` makes a task of the theorem after it. Its proof in the file is the
reference:

    (* task: Zero is neutral on the right of a sum.
       wrong: intros n. reflexivity.
       pass_rate: 0.25 *)
    Theorem plus_zero : forall n : nat, n + 0 = n.
    Proof. ... Qed.

A Lean file (``.lean``) is marked in the same way:

    /- task: Zero is neutral on the left of a sum.
       wrong: intro n; rfl -/
    theorem zero_plus (n : Nat) : 0 + n = n := by
      ...

Everything before the theorem belongs to the task, except the other marked theorems: imports, definitions, lemmas. A comment may
also hold ``wrong:`` (a script that must fail, which becomes a single line; as often as needed), ``pass_rate:``, ``difficulty:`` and
``axioms:`` (the names of axioms that a proof may use).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mlx_selfdebug.domains import lean, proof
from mlx_selfdebug.domains.proving import proof_checks
from mlx_selfdebug.proving.lean_source import THEOREM
from mlx_selfdebug.tasks.files import stem
from mlx_selfdebug.tasks.sets.lean_files import LEAN
from mlx_selfdebug.tasks.sets.proof_marks import marked_tasks
from mlx_selfdebug.tasks.sets.records import build_tasks, read_records
from mlx_selfdebug.tasks.sets.rocq_files import ROCQ
from mlx_selfdebug.values.task import Task

FOLDER = Path(__file__).parent.parent / "proofs"
LANGUAGES = {".v": ROCQ, ".lean": LEAN}
"""How files with marks are read, by the end of their name."""
_RECORD = {"name": str, "formal_statement": str}
_WORDS = ("informal_prefix", "informal_statement", "informal_stmt")
# What stands in the place of the proof: "Proof. Admitted." and ":= by sorry", or a part of it.
_WITHOUT_PROOF = re.compile(r"\s*(?:\bProof\s*\.\s*)?(?:\bAdmitted\s*\.\s*)?$")
_WITHOUT_LEAN_PROOF = re.compile(r"\s*:=\s*(?:\bby\b\s*)?(?:\bsorry\b\s*)?$")


def proof_tasks(path: Path | None) -> list[Task]:
    """Return the theorems of a file, or those that come with the package.

    Raises TaskError if the file cannot be read, or has problems, which are all listed.
    """
    if path is None:
        return [task for file in sorted(FOLDER.glob("*.v")) for task in marked_tasks(file, ROCQ, source="proofs")]
    language = LANGUAGES.get(path.suffix)
    return marked_tasks(path, language) if language else record_tasks(path)


def record_tasks(path: Path) -> list[Task]:
    """Return the theorems of a file of records in the form of miniF2F, in Rocq or in Lean.

    A record has a ``name`` and a ``formal_statement``. It may have a ``header``, which comes before the statement, and
    ``informal_prefix``, ``informal_statement`` or ``informal_stmt``, which says the same in words. Raises TaskError as
    ``proof_tasks`` does.
    """
    return build_tasks(path, read_records(path, _RECORD), partial(_record_task, stem(path)))


def _record_task(source: str, fields: Mapping[str, Any]) -> Task:
    """Return the task of one record. Raises ValueError if it holds no theorem of that name."""
    statement = fields["formal_statement"]
    is_lean = THEOREM.search(statement) is not None  # Rocq writes this word with a capital letter.
    statement = (_WITHOUT_LEAN_PROOF if is_lean else _WITHOUT_PROOF).sub("", statement)
    name = fields["name"]
    words = next(filter(None, map(fields.get, _WORDS)), "")
    checks = proof_checks(name)
    task = Task(
        f"proofs/{source}/{name}",
        LEAN.domain if is_lean else ROCQ.domain,
        str(words).strip().removeprefix("/--").removesuffix("-/").strip(),
        name,
        f"{fields.get('header') or ''}\n{statement}".strip() + "\n",
        checks,
        checks,
        source=source,
    )
    (lean if is_lean else proof).theorem_of(task)
    return task
