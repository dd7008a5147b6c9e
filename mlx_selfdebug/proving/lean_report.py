"""Write the file that Lean checks, and read what Lean says about it.

The file holds what stands before a theorem, the theorem under a name of ours, ``:= by``, the lines of a script, and at its end the
question which axioms the theorem rests on. Lean's messages say to which line they belong. So a message that answers the question
stands on the last line, and no message about another line is taken for an answer.
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
"""The number of goals that are reported."""
# A goal ends with the line that says what is to be shown. Before it stand the name of its case and the hypotheses, each on one line
# or on several, of which all but the first are indented.
_GOAL = re.compile(
    r"(?:^case [^\n]*\n)?(?:^(?![ ⊢])[^\n:]*[^\s:] :=? [^\n]*\n(?:^ [^\n]*\n)*)*^⊢ [^\n]*(?:\n +[^\n]*)*", re.MULTILINE
)
# Where the proof breaks off, Lean goes on to read what follows it in the file.
_AFTER_PROOF = re.compile(r"unexpected token '(?:set_option|#print)[^']*'")
_UNSOLVED = "unsolved goals"
_TOO_MUCH_MEMORY = "excessive memory consumption"


@dataclass(frozen=True)
class LeanFile:
    """A file for Lean, and what stands on which of its lines."""

    text: str
    name: str
    """The name under which the theorem is stated."""
    by_line: int
    """The line of ``:= by``, from 1. The script begins on the next one."""
    last_line: int
    """The line of the question about axioms."""
    script: tuple[str, ...]
    """The lines of the script."""


@dataclass(frozen=True)
class Message:
    """A message of Lean."""

    severity: str
    """``error``, ``warning`` or ``information``."""
    line: int
    text: str


@dataclass(frozen=True)
class Report:
    """What Lean says about a file."""

    file: LeanFile
    ended: str
    """Why Lean was ended before it was done, or an empty string."""
    exit_code: int | None
    messages: tuple[Message, ...]
    said: str
    """The end of what Lean printed on standard error."""
    wall_s: float

    @classmethod
    def from_answer(cls, file: LeanFile, answer: Mapping[str, Any]) -> Report:
        """Read the answer of the confined process."""
        messages = tuple(Message(str(kind), int(line), str(text)) for kind, line, text in answer.get("messages", ()))
        ended = str(answer["ended"])
        if not ended and any(_TOO_MUCH_MEMORY in each.text for each in messages if each.severity == "error"):
            ended = "memory"
        code = answer.get("exit_code")
        return cls(file, ended, code, messages, str(answer.get("said", "")), float(answer["seconds"]))

    @property
    def errors(self) -> list[Message]:
        """The errors, in the order of their lines."""
        return sorted((each for each in self.messages if each.severity == "error"), key=lambda each: each.line)

    @property
    def errors_of_script(self) -> list[Message]:
        """The errors in the script, followed by the error about the goals that it leaves. Lean reports that error at ``by``."""
        begin, end = self.file.by_line, self.file.by_line + len(self.file.script)
        left = [each for each in self.errors if each.line == begin and each.text.startswith(_UNSOLVED)]
        return [each for each in self.errors if begin < each.line <= end] + left

    @property
    def first_error(self) -> Message | None:
        """The first error of the script, or else any other."""
        return next(iter(self.errors_of_script + self.errors), None)

    @property
    def may_blame_theorem(self) -> bool:
        """Whether something is wrong that may come from the theorem, or from what stands before it, and not from the script."""
        own = self.errors_of_script
        early = [each for each in self.errors if each.line <= self.file.by_line and each not in own]
        return bool(early) or (not own and (bool(self.errors) or self.exit_code != 0))

    def verdict(self, allowed: frozenset[str]) -> CheckedProof:
        """Return whether the theorem is proved by the script, with no axioms but ``allowed`` ones."""
        if self.ended:
            return CheckedProof(self.ended, wall_s=self.wall_s)  # type: ignore[arg-type]
        if error := self.first_error:
            return self._failed(error)
        if self.exit_code != 0:
            return CheckedProof("crashed", message=" ".join(self.said.split()), wall_s=self.wall_s)
        if any("sorry" in each.text for each in self.messages if each.severity == "warning"):
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
        """Return the axioms that Lean names on the last line, or None if it does not name them there."""
        # A theorem that is stated within a namespace has its name before its own.
        answer = re.compile(
            rf"'(?:\S+\.)?{self.file.name}' (?:does not depend on any axioms|depends on axioms: \[([^\[\]]*)\])"
        )
        texts = [
            " ".join(each.text.split())
            for each in self.messages
            if each.severity.startswith("info") and each.line == self.file.last_line
        ]
        match = answer.fullmatch(texts[0]) if len(texts) == 1 else None
        return None if match is None else {name.strip() for name in (match[1] or "").split(",")} - {""}

    def _failed(self, error: Message) -> CheckedProof:
        at = error.line - self.file.by_line
        inside = 0 < at <= len(self.file.script)
        goals = [match[0] for match in _GOAL.finditer(error.text)]
        text = _AFTER_PROOF.sub("unexpected end of the proof", _GOAL.sub("", error.text))
        return CheckedProof(
            message=" ".join(text.split()),
            line=at if inside else 0,
            source=self.file.script[at - 1].strip() if inside else "",
            goals=tuple(goals[:MAX_GOALS]),
            n_goals=len(goals),
            wall_s=self.wall_s,
        )


def lean_file(theorem: Theorem, script: Sequence[str], name: str) -> LeanFile:
    """Return the file in which Lean checks a script for a theorem. Raises ValueError if the statement is no theorem's."""
    match = THEOREM.match(theorem.statement)
    if not match:
        raise ValueError(f"{theorem.statement[:80]!r} is not the statement of a theorem")
    # Only the last part of a name is replaced, since the others say in which namespace the statement is read.
    begin, end = match.start(1) + match[1].rfind(".") + 1, match.end(1)
    statement = theorem.statement[:begin] + name + theorem.statement[end:]
    before = "\n".join([*theorem.beginning, statement]) + "\n"
    # What Lean says of goals that are left has the place of "by", which therefore has a line of its own.
    proof = "\n".join(["  := by", *(f"  {line}" if line else "" for line in script)])
    # Without this setting, the name of an axiom is shortened where its namespace is open.
    question = f"set_option pp.fullNames true\n#print axioms {name}"
    text = f"{before}{proof}\n\n{question}"
    by_line = before.count("\n") + 1
    return LeanFile(text + "\n", name, by_line, text.count("\n") + 1, tuple(script))
