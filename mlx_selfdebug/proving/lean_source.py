"""Find the comments and the theorems in Lean source.

>>> statement, proof = parts_of("theorem t : let x := 1; x = 1 := by\\n  rfl")
>>> statement, proof
('theorem t : let x := 1; x = 1', '\\n  rfl')
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlx_selfdebug.proving.script import UnreadableError, end_of_comment, line_of

NAME = r"[^\W\d][\w'!?]*(?:\.[^\W\d][\w'!?]*)*"
"""Matches the name of a theorem. Names in guillemets are not read."""
THEOREM = re.compile(rf"^(?:@\[[^\]\n]*\]\s*)?(?:protected\s+)?theorem\s+({NAME})(?![\w'!?])", re.MULTILINE)
"""Matches the beginning of a theorem, with its name as the group."""
COMMAND = re.compile(
    r"^(?:#|@\[|(?:abbrev|attribute|axiom|class|def|deriving|elab|elab_rules|end|example|export|import|inductive|infixl?|infixr|"
    r"initialize|instance|lemma|local|macro|macro_rules|mutual|namespace|noncomputable|notation|opaque|open|partial|postfix|"
    r"prefix|private|protected|scoped|section|set_option|structure|syntax|theorem|universe|unsafe|variable)\b)",
    re.MULTILINE,
)
"""Matches the beginning of a line with which a command begins."""
_NO_NEWLINE = re.compile(r"[^\n]")
# What is no comment though it may hold the signs of one: a raw string, a string, and a character unless it is the prime of a name.
_QUOTED = re.compile(r'r(#*)".*?"\1|"(?:\\.|[^"\\])*"|(?<![\w\'!?])\'(?:\\[^\n\']+|[^\\\n])\'', re.DOTALL)
_BRACKETS = {"(": 1, "[": 1, "{": 1, "⟨": 1, "⦃": 1, ")": -1, "]": -1, "}": -1, "⟩": -1, "⦄": -1}
_PROOF = re.compile(r":=\s*by\b")


def without_comments(text: str) -> str:
    """Return ``text`` with spaces in the place of its comments. Lines and positions stay the same.

    Raises UnreadableError if a comment or a string does not end.
    """
    parts: list[str] = []
    at = 0
    for begin, end in comments_of(text):
        parts += [text[at:begin], _NO_NEWLINE.sub(" ", text[begin:end])]
        at = end
    return "".join([*parts, text[at:]])


def comments_of(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each outermost comment begins and ends. Raises what ``without_comments`` raises."""
    at = 0
    while at < len(text):
        if text.startswith("--", at):
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
            yield at, end
            at = end
        elif text.startswith("/-", at):
            end = end_of_comment(text, at, "/-", "-/")
            yield at, end
            at = end
        elif text[at] in "r\"'" and (quoted := _QUOTED.match(text, at)):
            at = quoted.end()
        elif text[at] == '"':
            raise UnreadableError("a string does not end", line_of(text, at))
        else:
            at += 1


def parts_of(text: str) -> tuple[str, str] | None:
    """Return a theorem up to ``:= by``, and the tactics after it; None if there is no ``:= by`` outside of brackets.

    ``text`` begins with the theorem and holds no comments.
    """
    depth = 0
    for at, character in enumerate(text):
        depth += _BRACKETS.get(character, 0)
        if character == ":" and depth == 0 and (match := _PROOF.match(text, at)):
            return text[:at].rstrip(), text[match.end() :]
    return None
