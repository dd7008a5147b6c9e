"""Find the comments and the theorems in Lean source, for the scripts of models and for files of tasks.

This is no parser of Lean. It knows comments, strings, brackets and the words with which theorems and other commands begin.

>>> statement, proof = parts_of("theorem t : let x := 1; x = 1 := by\\n  rfl")
>>> statement, proof
('theorem t : let x := 1; x = 1', '\\n  rfl')
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlx_selfdebug.proving.script import UnreadableError, end_of_comment, line_of

NAME = r"[^\W\d][\w'!?]*(?:\.[^\W\d][\w'!?]*)*"
"""Matches the name of a theorem, such as ``Nat.add_comm'``. Names in guillemets are not matched."""
THEOREM = re.compile(rf"^(?:@\[[^\]\n]*\]\s*)?(?:protected\s+)?theorem\s+({NAME})(?![\w'!?])", re.MULTILINE)
"""Matches the beginning of a theorem up to its name, such as ``@[simp] theorem add_zero``. The name is the only group."""
COMMAND = re.compile(
    r"^(?:#|@\[|(?:abbrev|attribute|axiom|class|def|deriving|elab|elab_rules|end|example|export|import|inductive|infixl?|infixr|"
    r"initialize|instance|lemma|local|macro|macro_rules|mutual|namespace|noncomputable|notation|opaque|open|partial|postfix|"
    r"prefix|private|protected|scoped|section|set_option|structure|syntax|theorem|universe|unsafe|variable)\b)",
    re.MULTILINE,
)
"""Matches the beginning of a command, which has to be the beginning of a line."""
_NO_NEWLINE = re.compile(r"[^\n]")
# What may hold the signs of a comment and is none: a raw string (r#"..."#), a string, or a character ('-'). The prime in a name
# such as h' does not begin a character.
_QUOTED = re.compile(r'r(#*)".*?"\1|"(?:\\.|[^"\\])*"|(?<![\w\'!?])\'(?:\\[^\n\']+|[^\\\n])\'', re.DOTALL)
# By how much each bracket changes the depth of nesting.
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
    """Yield the positions at which each comment begins and ends. A comment within another is part of that one.

    Raises UnreadableError if a comment or a string does not end.
    """
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
    """Return the statement of a theorem, which ends before ``:= by``, and the text after that.

    Return None if there is no ``:= by`` outside of brackets. ``text`` must begin with the theorem and hold no comments.
    """
    depth = 0
    for at, character in enumerate(text):
        depth += _BRACKETS.get(character, 0)
        if character == ":" and depth == 0 and (match := _PROOF.match(text, at)):
            return text[:at].rstrip(), text[match.end() :]
    return None
