"""Define the domain of proofs in Lean 4: an answer is the tactics after ``:= by``.

A task's ``starter_code`` is Lean source: imports, definitions, and at its end the theorem without ``:= by``. An answer is indented
by two spaces. A reply may repeat the theorem and ``by``, and may have lost some of its indentation:

    >>> LeanDomain().extract("theorem t : 1 + 1 = 2 := by rfl", Task("t", "lean", "", "t")).code
    '  rfl\\n'
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from itertools import takewhile
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
"""Matches a line that is a fence. The group is the language that it names, or empty."""
_THEOREM = re.compile(r"^(?:@\[[^\]\n]*\]\s*)?(?:protected\s+)?(?:theorem|lemma|example)\b", re.MULTILINE)
"""Matches the beginning of a theorem that a reply states, with its attributes."""
_PREAMBLE = re.compile(
    r"(?:\s*(?:--|/-|-/|import|open|set_option|variable|universe|namespace|section)[^\n]*(?:\n|$))*\s*"
)
"""Matches comments and commands such as ``import``, which a reply may hold before it repeats the theorem."""
_BY = re.compile(r"\s*(?::=\s*)?by\b[ \t]*")
_TERM = re.compile(r":=\s*(.+)", re.DOTALL)
"""Matches a proof that is a term, as in ``theorem t : 1 = 1 := rfl``. The group is the term."""
_ENDS_UNFINISHED = re.compile(r"(?:=>|:=|\b(?:by|with|from|do|at|using|then|else)|[(\[{⟨,|·]|<;>)$")
"""Matches the end of a line whose tactic goes on in the next line, such as ``induction n with``."""
_CONTINUES = re.compile(r"\||_|·|<;>|[)\]}⟩]|(?:at|with|using|from|by|in)\b")
"""Matches the beginning of a line that continues the tactic of the line before it, such as ``| zero => simp``."""


class LeanDomain(ProvingDomain):
    """The domain of proofs in Lean 4."""

    name = "lean"
    fence = "lean"
    draft = (
        "Prove this theorem in Lean 4, without Mathlib.\n\n{task}\n\nWrite only the proof, which is what follows `:=`: "
        "the word by, and the tactics on the lines after it."
    )
    # Unlike Rocq, Lean may crash over a proof, for example by a stack overflow.
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
        """Return the tactics, indented by two spaces. The theorem and the word ``by`` are left out if the reply repeats them."""
        answer = without_thoughts_and_markers(text)
        code, is_own_block = _block_or_whole(answer.code)
        script = indented(_without_statement(code.expandtabs(2)))
        return Tidied(script or self.nothing(task), (*answer.steps, "fence") if is_own_block else answer.steps)

    def nothing(self, task: Task) -> str:  # noqa: ARG002
        return "  skip\n"

    def normalise(self, code: str) -> str:
        """Return the lines of tactics with single spaces after their indentation. If ``code`` is no script, return its words."""
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
    theorems = list(THEOREM.finditer(code))
    theorem = theorems[-1] if theorems else None
    if theorem is None or theorem[1] != task.entry_point or COMMAND.search(code, theorem.end()):
        end = code[theorem.start() :] if theorem else code
        raise ValueError(
            f"the starter code of {task.id} does not end with the theorem {task.entry_point!r}, but with {end[:80]!r}"
        )
    statement = code[theorem.start() :]
    if statement.endswith(":=") or parts_of(statement):
        raise ValueError(f"the starter code of {task.id} ends with a proof; it may go up to := by, without these words")
    return Theorem(task.entry_point, statement, (task.starter_code[: theorem.start()],), axioms_of(task))


def _block_or_whole(text: str) -> tuple[str, bool]:
    """Return the code of a reply, and whether it stands in a block that the reply itself has opened."""
    fences = list(_FENCE.finditer(text))
    if not fences:
        return text.rstrip().removesuffix("```"), False
    before = text[: fences[0].start()]
    names_language = bool(fences[0][1].strip())
    # The prompt has opened a block. The first fence closes it if code comes before the fence. If prose comes before it, the fence
    # opens another block: it may name a language, the fences come in pairs, and the text before it is not indented.
    if not names_language and before.strip() and (len(fences) % 2 or before.startswith(" ")):
        return before, False
    end = fences[1].start() if len(fences) > 1 else len(text)
    return text[fences[0].end() : end], True


def _without_statement(code: str) -> str:
    """Return the proof in ``code``, without the theorem that may come before it and without other theorems after it.

    The proof begins with ``by`` if ``code`` repeats the theorem. A proof that is a term becomes the tactic ``exact``.
    """
    theorem = _THEOREM.search(code)
    if theorem is None:
        return code
    if not _PREAMBLE.fullmatch(code, 0, theorem.start()):
        return code[: theorem.start()]  # The tactics come first, and the reply has gone on with another theorem.
    code = code[theorem.start() :]
    try:
        parts = parts_of(without_comments(code))
    except UnreadableError:
        return code
    if parts:
        # ``without_comments`` puts spaces in the place of comments, so the tactics have the same length in ``code``.
        _, tactics = parts
        return "by" + code[len(code) - len(tactics) :]
    term = _TERM.search(code)
    return f"exact {term[1]}" if term else code


def indented(code: str) -> str:
    r"""Return the tactics at the beginning of ``code``, indented by two spaces, or an empty string if there are none.

    They end before the first line that is indented less than they are, or that begins another command.

    >>> indented("by skip\n   rfl\n#print axioms t")
    '  skip\n  rfl\n'
    """
    by = _BY.match(code)
    begins_beside_by = by is not None and not code[by.end() :].startswith("\n")
    lines = (code[by.end() :] if by else code).rstrip().split("\n")
    while lines and not lines[0].strip():
        del lines[0]
    if not lines:
        return ""
    following = [_indentation(line) for line in lines[1:] if line.strip()]
    if begins_beside_by:
        following = list(takewhile(bool, following))  # a line that is not indented comes after the proof
    if following and (begins_beside_by or _first_has_lost_indentation(lines)):
        lines[0] = " " * min(following) + lines[0].lstrip()
    indentation = _indentation(lines[0])
    for n, line in enumerate(lines[1:], 1):
        if line.strip() and (_indentation(line) < indentation or COMMAND.match(line)):
            del lines[n:]
            break
    tactics = textwrap.dedent("\n".join(line.rstrip() for line in lines)).strip("\n")
    return textwrap.indent(tactics, "  ") + "\n"


def _first_has_lost_indentation(lines: list[str]) -> bool:
    r"""Return whether the first line lacks the indentation of the others, as in ``skip\n  rfl``.

    In ``induction n with\n  | zero => rfl`` it lacks nothing, since the second line continues the tactic of the first.
    """
    following = [line for line in lines[1:] if line.strip()]
    return (
        _indentation(lines[0]) == 0
        and all(_indentation(line) > 0 for line in following)
        and not _ENDS_UNFINISHED.search(lines[0].rstrip())
        and not _CONTINUES.match(following[0].lstrip())
    )


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
