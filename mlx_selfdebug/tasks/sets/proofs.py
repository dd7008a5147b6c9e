"""Read theorems as tasks: from a Rocq or Lean file whose comments mark them, or from records in the form of miniF2F.

In a Rocq file (``.v``), a comment that begins with ``task:`` marks the theorem after it as a task. The proof in the file becomes
the reference:

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

The imports, definitions and unmarked lemmas above a theorem belong to its task. Other marked theorems do not. A comment may hold
these keys beside ``task:``, which says in words what the theorem states:

- ``wrong:`` is a script that must fail. Its lines are joined into one. The key may be repeated.
- ``axioms:`` has the names of the axioms that a proof may use.
- ``pass_rate:`` and ``difficulty:`` have the meaning that they have in our own task files (``tasks/README.md``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mlx_selfdebug.domains import lean, proof
from mlx_selfdebug.domains.proving import proof_checks
from mlx_selfdebug.proving.lean_source import THEOREM as LEAN_THEOREM
from mlx_selfdebug.tasks.files import stem
from mlx_selfdebug.tasks.sets.lean_files import LEAN
from mlx_selfdebug.tasks.sets.proof_marks import marked_tasks
from mlx_selfdebug.tasks.sets.records import Types, build_tasks, read_records
from mlx_selfdebug.tasks.sets.rocq_files import ROCQ
from mlx_selfdebug.values.task import Task

FOLDER = Path(__file__).parent.parent / "proofs"
LANGUAGES = {".v": ROCQ, ".lean": LEAN}
"""The language of a file with marks, by the suffix of the file's name."""
RECORD_FIELDS: Types = {"name": str, "formal_statement": str}
"""The fields that a record in the form of miniF2F must have."""
_INFORMAL_FIELDS = ("informal_prefix", "informal_statement", "informal_stmt")
"""The fields that may state a record's theorem in words. Versions of miniF2F name this field differently."""
_ROCQ_PLACEHOLDER = re.compile(r"\s*(?:\bProof\s*\.\s*)?(?:\bAdmitted\s*\.\s*)?$")
"""Matches what a record may have in the place of a proof in Rocq: "Proof. Admitted." or a part of it."""
_LEAN_PLACEHOLDER = re.compile(r"\s*:=\s*(?:\bby\b\s*)?(?:\bsorry\b\s*)?$")
"""Matches what a record may have in the place of a proof in Lean: ":= by sorry" or the beginning of it."""


def proof_tasks(path: Path | None) -> list[Task]:
    """Return the tasks of a file, or without a path those that come with the package.

    A file that is neither ``.v`` nor ``.lean`` is read as records. Raises TaskError if the file cannot be read, or with all of its
    problems.
    """
    if path is None:
        return [task for file in sorted(FOLDER.glob("*.v")) for task in marked_tasks(file, ROCQ, source="proofs")]
    language = LANGUAGES.get(path.suffix)
    return marked_tasks(path, language) if language else record_tasks(path)


def record_tasks(path: Path) -> list[Task]:
    """Return the tasks of a file of records in the form of miniF2F, in Rocq or in Lean.

    A record has a ``name`` and a ``formal_statement``, which is the theorem without a proof. It may have a ``header``: code that
    comes before the theorem. It may also state the theorem in words, as ``informal_prefix``, ``informal_statement`` or
    ``informal_stmt``. Raises TaskError as ``proof_tasks`` does.
    """
    return build_tasks(path, read_records(path, RECORD_FIELDS), partial(_record_task, stem(path)))


def _record_task(source: str, fields: Mapping[str, Any]) -> Task:
    """Return the task of one record. Raises ValueError if ``formal_statement`` is not a theorem of the record's name."""
    statement, name = fields["formal_statement"], fields["name"]
    is_lean = LEAN_THEOREM.search(statement) is not None  # Lean writes "theorem", and Rocq "Theorem".
    placeholder = _LEAN_PLACEHOLDER if is_lean else _ROCQ_PLACEHOLDER
    informal = next(filter(None, map(fields.get, _INFORMAL_FIELDS)), "")
    checks = proof_checks(name)
    task = Task(
        id=f"proofs/{source}/{name}",
        domain=LEAN.domain if is_lean else ROCQ.domain,
        statement=str(informal).strip().removeprefix("/--").removesuffix("-/").strip(),
        entry_point=name,
        starter_code=f"{fields.get('header') or ''}\n{placeholder.sub('', statement)}".strip() + "\n",
        public=checks,
        hidden=checks,
        source=source,
    )
    (lean if is_lean else proof).theorem_of(task)  # raises ValueError if the starter code does not end with the theorem
    return task
