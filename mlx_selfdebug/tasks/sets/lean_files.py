"""Find the marked theorems of a Lean file, for ``proof_marks.py``.

>>> list(LEAN.proofs_of("/- task: One is one. -/\\ntheorem one : 1 = 1 := by rfl", [0]))
[Proved(name='one', starter_code='theorem one : 1 = 1\\n', reference='  rfl\\n')]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mlx_selfdebug.domains.lean import indented
from mlx_selfdebug.proving.lean_source import COMMAND, THEOREM, comments_of, parts_of, without_comments
from mlx_selfdebug.tasks.sets.proof_marks import Language, Proved


def _proofs_of(text: str, positions: Sequence[int]) -> Iterator[Proved | None]:
    """Yield the theorem after each position in ``text``, or None if the next code is not a theorem with a proof."""
    code = without_comments(text)  # spaces take the place of comments, so ``positions`` stay valid
    shared = ""  # imports, definitions and unmarked lemmas, which belong to every later task
    end = 0  # the end of the last marked theorem
    for position in positions:
        theorem = THEOREM.search(code, position)
        if theorem is None or code[position : theorem.start()].strip():
            yield None
            continue
        shared += code[end : theorem.start()]
        # A theorem ends where the next command begins, on a line that is not indented.
        next_command = COMMAND.search(code, theorem.end())
        end = next_command.start() if next_command else len(code)
        parts = parts_of(code[theorem.start() : end].rstrip())
        statement, tactics = parts or ("", "")
        script = indented(f"by{tactics}")
        yield Proved(theorem[1], f"{_tidy(shared)}{statement}\n", script) if parts and script else None


def _tidy(code: str) -> str:
    """Return the code before a theorem without the spaces and blank lines that its comments have left.

    If there is any such code, one blank line follows it.
    """
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
