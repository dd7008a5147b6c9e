"""The domain of proofs in Lean 4: an answer is the tactics after ``:= by``.

A task's ``starter_code`` is Lean source: imports, definitions, and at its end the theorem up to ``:= by``, without these words. The
answer is indented by two spaces.

    >>> LeanDomain().extract("theorem t : 1 + 1 = 2 := by rfl", Task("t", "lean", "", "t")).code
    '  rfl\\n'
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

from mlx_selfdebug.domains.base import Tidied
from mlx_selfdebug.domains.proving import ProvingDomain, axioms_of
from mlx_selfdebug.domains.tidying import without_thoughts_and_markers
from mlx_selfdebug.proving.checker import Checker
from mlx_selfdebug.proving.lean import installation, open_lean
from mlx_selfdebug.proving.lean_script import tactics_of
from mlx_selfdebug.proving.lean_source import COMMAND, THEOREM, parts_of, without_comments
from mlx_selfdebug.proving.script import ScriptError, UnreadableError
from mlx_selfdebug.proving.theorem import Theorem
from mlx_selfdebug.sandbox.isolation import Level
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Outcome

_FENCE = re.compile(r"^[ \t]*```([^\n`]*)$", re.MULTILINE)
_RESTATED = re.compile(r"^(?:@\[[^\]\n]*\]\s*)?(?:protected\s+)?(?:theorem|lemma|example)\b", re.MULTILINE)
# What may stand before a theorem that is stated again.
_BEFORE = re.compile(
    r"(?:\s*(?:--|/-|-/|import|open|set_option|variable|universe|namespace|section)[^\n]*(?:\n|$))*\s*"
)
_BY = re.compile(r"\s*(?::=\s*)?by\b[ \t]*")
_TERM = re.compile(r":=\s*(.+)", re.DOTALL)
# A line with which a tactic is not at its end, and one that goes on with a tactic.
_OPENS = re.compile(r"(?:=>|:=|\b(?:by|with|from|do|at|using|then|else)|[(\[{⟨,|·]|<;>)$")
_GOES_ON = re.compile(r"\||_|·|<;>|[)\]}⟩]|(?:at|with|using|from|by|in)\b")


class LeanDomain(ProvingDomain):
    name = "lean"
    fence = "lean"
    draft = (
        "Prove this theorem in Lean 4, without Mathlib.\n\n{task}\n\nWrite only the proof, which is what follows `:=`: "
        "the word by, and the tactics on the lines after it."
    )
    # Unlike Rocq, Lean itself may come to an end over a proof, as when its stack overflows.
    endings: Mapping[str, Outcome] = {**ProvingDomain.endings, "crashed": "crashed"}

    @property
    def reply_prefix(self) -> str:
        return f"```{self.fence}\nby\n"

    def require_installed(self) -> None:
        """Raise UsageError if Lean 4 is not installed."""
        installation()

    def open_checker(self, level: Level) -> AbstractContextManager[Checker[Any]]:
        return open_lean(level)

    def theorem_of(self, task: Task) -> Theorem:
        return theorem_of(task)

    def extract(self, text: str, task: Task) -> Tidied:
        """Return the tactics, indented by two spaces, without the theorem and the word ``by`` if they were repeated."""
        answer = without_thoughts_and_markers(text)
        code, is_block = _block_or_whole(answer.code)
        script = indented(_without_statement(code.expandtabs(2)))
        return Tidied(script or self.nothing(task), (*answer.steps, "fence") if is_block else answer.steps)

    def nothing(self, task: Task) -> str:  # noqa: ARG002
        return "  skip\n"

    def normalise(self, code: str) -> str:
        """Return the lines of tactics with single spaces after their indentation; the words of ``code`` if it is no script."""
        try:
            lines = [line for line in tactics_of(code) if line]
        except ScriptError:
            return " ".join(code.split())
        return "\n".join(" " * _indentation(line) + " ".join(line.split()) for line in lines)


@lru_cache(maxsize=1024)
def theorem_of(task: Task) -> Theorem:
    """Return the theorem of a task. Raises ValueError if its starter code does not end with the theorem of the entry point."""
    try:
        code = without_comments(task.starter_code).rstrip()
    except UnreadableError as error:
        raise ValueError(f"the starter code of {task.id} cannot be read: {error}") from None
    *_, theorem = [None, *THEOREM.finditer(code)]
    if theorem is None or theorem[1] != task.entry_point or COMMAND.search(code, theorem.end()):
        found = code[theorem.start() :] if theorem else code
        raise ValueError(
            f"the starter code of {task.id} does not end with the theorem {task.entry_point!r}, but with {found[:80]!r}"
        )
    statement = code[theorem.start() :]
    if statement.endswith(":=") or parts_of(statement):
        raise ValueError(f"the starter code of {task.id} ends with a proof; it may go up to := by, without these words")
    return Theorem(task.entry_point, statement, (task.starter_code[: theorem.start()],), axioms_of(task))


def _block_or_whole(text: str) -> tuple[str, bool]:
    """Return the answer before the fence that closes it, or else in the first block, and whether it was in a block."""
    fences = list(_FENCE.finditer(text))
    if not fences:
        return text.rstrip().removesuffix("```"), False
    before = text[: fences[0].start()]
    # The reply begins within a block. So a fence closes this block if it names no language and the others come in pairs.
    if not fences[0][1].strip() and before.strip() and (len(fences) % 2 or before.startswith(" ")):
        return before, False
    end = fences[1].start() if len(fences) > 1 else len(text)
    return text[fences[0].end() : end], True


def _without_statement(code: str) -> str:
    """Return ``code`` from the tactics on, if it states a theorem at its beginning, and up to the next theorem otherwise."""
    theorem = _RESTATED.search(code)
    if theorem is None:
        return code
    if not _BEFORE.fullmatch(code, 0, theorem.start()):
        return code[: theorem.start()]
    code = code[theorem.start() :]
    try:
        parts = parts_of(without_comments(code))
    except UnreadableError:
        return code
    if parts:
        # Comments keep their length, so the proof is as long with them as it is without.
        return "by" + code[len(code) - len(parts[1]) :]
    term = _TERM.search(code)
    return f"exact {term[1]}" if term else code


def indented(code: str) -> str:
    """Return the tactics at the beginning of ``code``, indented by two spaces, or an empty string if there are none."""
    by = _BY.match(code)
    on_same_line = by is not None and not code[by.end() :].startswith("\n")
    lines = (code[by.end() :] if by else code).rstrip().split("\n")
    while lines and not lines[0].strip():
        del lines[0]
    if not lines:
        return ""
    rest = [_indentation(line) for line in lines[1:] if line.strip()]
    if rest and (on_same_line or _has_lost_indentation(lines)):
        lines[0] = " " * min(rest) + lines[0].lstrip()
    begin = _indentation(lines[0])
    for n, line in enumerate(lines[1:], 1):
        if line.strip() and (_indentation(line) < begin or COMMAND.match(line)):
            del lines[n:]
            break
    kept = textwrap.dedent("\n".join(line.rstrip() for line in lines)).strip("\n")
    return textwrap.indent(kept, "  ") + "\n"


def _has_lost_indentation(lines: list[str]) -> bool:
    """Return whether the first line alone is not indented, though the next one is no part of its tactic."""
    following = [line for line in lines[1:] if line.strip()]
    return (
        _indentation(lines[0]) == 0
        and all(_indentation(line) > 0 for line in following)
        and not _OPENS.search(lines[0].rstrip())
        and not _GOES_ON.match(following[0].lstrip())
    )


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
