"""Find the theorems of a Lean file, for ``proof_marks.py``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mlx_selfdebug.domains.lean import indented
from mlx_selfdebug.proving.lean_source import COMMAND, THEOREM, comments_of, parts_of, without_comments
from mlx_selfdebug.tasks.sets.proof_marks import Language, Proved


def _proofs_of(text: str, positions: Sequence[int]) -> Iterator[Proved | None]:
    code = without_comments(text)
    before = ""
    at = 0
    for position in positions:
        theorem = THEOREM.search(code, position)
        if theorem is None or code[position : theorem.start()].strip():
            yield None
            continue
        # A theorem ends where the next command begins, on a line that is not indented.
        following = COMMAND.search(code, theorem.end())
        end = following.start() if following else len(code)
        before, at = before + code[at : theorem.start()], end
        parts = parts_of(code[theorem.start() : end].rstrip())
        script = indented("by" + parts[1]) if parts else ""
        yield Proved(theorem[1], _tidy(before) + parts[0] + "\n", script) if parts and script else None


def _tidy(code: str) -> str:
    """Return what stands before a theorem without the blanks that comments have left."""
    lines = "\n".join(line.rstrip() for line in code.split("\n")).strip("\n")
    return re.sub(r"\n{3,}", "\n\n", lines) + "\n\n" if lines else ""


LEAN = Language(
    domain="lean",
    comment=("/-", "-/"),
    comments_of=comments_of,
    proofs_of=_proofs_of,
    script_of=indented,
    proof_form="begins with := by",
)
"""How theorems are marked in Lean files."""
