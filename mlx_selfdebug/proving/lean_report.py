"""Write the file that Lean checks, and derive the verdict from Lean's messages about it.

The file holds the imports and definitions of a theorem, the theorem under a random name, ``:= by``, and the lines of the script.
On its last line, it asks Lean on which axioms the theorem rests:

    theorem goal_6f1c8e0d2b7a4935 (a b : Nat) : a + b = b + a
      := by
      exact Nat.add_comm a b

    set_option pp.fullNames true
    #print axioms goal_6f1c8e0d2b7a4935

Lean names the line of the file to which each of its messages belongs. Only a message about the last line is taken for the answer,
so nothing that the script makes Lean print can pass for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlx_selfdebug.proving.lean_source import THEOREM
from mlx_selfdebug.proving.theorem import CheckedProof, Theorem

AXIOMS = frozenset({"propext", "Classical.choice", "Quot.sound"})
"""The axioms of Lean itself, on which a proof may always rest."""
UNPROVED = "the proof rests on something that was not proved"
MAX_GOALS = 4
"""The maximum number of open goals that are reported."""
# A goal in a message of Lean, such as these three lines. The name of the case and the hypotheses may be missing. A hypothesis or
# the conclusion, which follows the sign ⊢, may go on in indented lines.
#
#     case succ
#     a b : Nat
#     ⊢ a + 1 + b = b + (a + 1)
_GOAL = re.compile(
    r"(?:^case [^\n]*\n)?(?:^(?![ ⊢])[^\n:]*[^\s:] :=? [^\n]*\n(?:^ [^\n]*\n)*)*^⊢ [^\n]*(?:\n +[^\n]*)*", re.MULTILINE
)
# If the script breaks off within a term, Lean reads on, and complains about the line that follows the script in the file. Whoever
# wrote the script does not know that line, so the message is replaced.
_AFTER_PROOF = re.compile(r"unexpected token '(?:set_option|#print)[^']*'")
_UNSOLVED = "unsolved goals"
_TOO_MUCH_MEMORY = "excessive memory consumption"


@dataclass(frozen=True)
class LeanFile:
    """A file for Lean, with the numbers of the lines that its messages are compared with."""

    text: str
    """The content of the file."""
    name: str
    """The name under which the theorem is stated."""
    by_line: int
    """The number of the line with ``:= by``, from 1. The script begins on the next line."""
    last_line: int
    """The number of the line that asks for the axioms."""
    script: tuple[str, ...]
    """The lines of the script, without the indentation that they have in the file."""


@dataclass(frozen=True)
class Message:
    """A message of Lean."""

    severity: str
    """``error``, ``warning`` or ``information``."""
    line: int
    """The number of the line of the file to which the message belongs, from 1."""
    text: str


@dataclass(frozen=True)
class Report:
    """The result of running Lean on a file."""

    file: LeanFile
    ended: str
    """Why Lean was ended before it was done (see ``theorem.Ending``), or an empty string."""
    exit_code: int | None
    """The exit code, or the negative number of the signal that ended Lean, or None if it was never started."""
    messages: tuple[Message, ...]
    stderr: str
    """The end of what Lean printed on standard error."""
    wall_s: float
    """The time that Lean took, in seconds."""

    @classmethod
    def from_answer(cls, file: LeanFile, answer: Mapping[str, Any]) -> Report:
        """Return the report in an answer of the confined process (see ``servers/lean.py``)."""
        messages = tuple(Message(str(kind), int(line), str(text)) for kind, line, text in answer.get("messages", ()))
        ended = str(answer["ended"])
        if not ended and any(_TOO_MUCH_MEMORY in message.text for message in messages if message.severity == "error"):
            ended = "memory"
        code = answer.get("exit_code")
        return cls(file, ended, code, messages, str(answer.get("said", "")), float(answer["seconds"]))

    @property
    def errors(self) -> list[Message]:
        """The errors, in the order of their lines."""
        return sorted(
            (message for message in self.messages if message.severity == "error"), key=lambda message: message.line
        )

    @property
    def errors_of_script(self) -> list[Message]:
        """The errors that the script made, in the order of their lines.

        If the script leaves goals open, Lean reports that on the line with ``:= by``. This error comes last.
        """
        begin, end = self.file.by_line, self.file.by_line + len(self.file.script)
        open_goals = [
            message for message in self.errors if message.line == begin and message.text.startswith(_UNSOLVED)
        ]
        return [message for message in self.errors if begin < message.line <= end] + open_goals

    @property
    def first_error(self) -> Message | None:
        """The first error that the script made, or the first of all errors if it made none, or None."""
        return next(iter(self.errors_of_script + self.errors), None)

    @property
    def may_blame_theorem(self) -> bool:
        """Whether there is a failure that may be due to the theorem, or to the imports and definitions before it."""
        from_script = self.errors_of_script
        before_script = [
            message for message in self.errors if message.line <= self.file.by_line and message not in from_script
        ]
        is_unexplained = not from_script and (bool(self.errors) or self.exit_code != 0)
        return bool(before_script) or is_unexplained

    def verdict(self, allowed: frozenset[str]) -> CheckedProof:
        """Return the verdict on the proof, which may rest on no axioms other than ``allowed``."""
        if self.ended:
            return CheckedProof(self.ended, wall_s=self.wall_s)  # type: ignore[arg-type]
        if error := self.first_error:
            return self._failed(error)
        if self.exit_code != 0:
            return CheckedProof("crashed", message=" ".join(self.stderr.split()), wall_s=self.wall_s)
        if any("sorry" in message.text for message in self.messages if message.severity == "warning"):
            return CheckedProof(message=UNPROVED, wall_s=self.wall_s)
        used = self._axioms()
        if used and "sorryAx" in used:
            return CheckedProof(message=UNPROVED, wall_s=self.wall_s)
        if used is None:
            return CheckedProof(message="Lean does not say what the proof rests on", wall_s=self.wall_s)
        if refused := sorted(used - allowed):
            message = f"the proof rests on {', '.join(refused)}, which may not be assumed"
            return CheckedProof(message=message, wall_s=self.wall_s)
        return CheckedProof(proved=True, wall_s=self.wall_s)

    def _axioms(self) -> set[str] | None:
        """Return the axioms that Lean's answer on the last line names, or None unless there is exactly one answer.

        The answer is ``'goal_6f1c' does not depend on any axioms`` or ``'goal_6f1c' depends on axioms: [propext, Quot.sound]``.
        """
        # If the theorem is stated within a namespace, Lean puts the name of the namespace before its name.
        answer = re.compile(
            rf"'(?:\S+\.)?{self.file.name}' (?:does not depend on any axioms|depends on axioms: \[([^\[\]]*)\])"
        )
        texts = [
            " ".join(message.text.split())
            for message in self.messages
            if message.severity.startswith("info") and message.line == self.file.last_line
        ]
        match = answer.fullmatch(texts[0]) if len(texts) == 1 else None
        return None if match is None else {name.strip() for name in (match[1] or "").split(",")} - {""}

    def _failed(self, error: Message) -> CheckedProof:
        """Return the verdict on a proof that failed with this error."""
        line = error.line - self.file.by_line  # in the script, from 1
        is_in_script = 0 < line <= len(self.file.script)
        goals = [match[0] for match in _GOAL.finditer(error.text)]
        text = _AFTER_PROOF.sub("unexpected end of the proof", _GOAL.sub("", error.text))
        return CheckedProof(
            message=" ".join(text.split()),
            line=line if is_in_script else 0,
            source=self.file.script[line - 1].strip() if is_in_script else "",
            goals=tuple(goals[:MAX_GOALS]),
            n_goals=len(goals),
            wall_s=self.wall_s,
        )


def lean_file(theorem: Theorem, script: Sequence[str], name: str) -> LeanFile:
    """Return the file in which Lean checks the lines of a script as the proof of a theorem, which is stated as ``name``.

    Raises ValueError if the statement does not begin as a theorem does.
    """
    match = THEOREM.match(theorem.statement)
    if not match:
        raise ValueError(f"{theorem.statement[:80]!r} is not the statement of a theorem")
    # Only the last part of the theorem's name is replaced. The parts before it say in which namespace the statement is read.
    begin, end = match.start(1) + match[1].rfind(".") + 1, match.end(1)
    statement = theorem.statement[:begin] + name + theorem.statement[end:]
    before = "\n".join([*theorem.beginning, statement]) + "\n"
    # Lean reports open goals at the place of "by". That has a line of its own, so that they are not taken for errors of the
    # theorem.
    proof = "\n".join(["  := by", *(f"  {line}" if line else "" for line in script)])
    # Without this setting, Lean would shorten the name of an axiom whose namespace is open.
    question = f"set_option pp.fullNames true\n#print axioms {name}"
    text = f"{before}{proof}\n\n{question}"
    by_line = before.count("\n") + 1
    return LeanFile(text + "\n", name, by_line, text.count("\n") + 1, tuple(script))
