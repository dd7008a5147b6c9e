"""Check proofs with Rocq, which used to be called Coq.

    with open_rocq() as rocq:
        rocq.check(Theorem("t", "Theorem t : 1 + 1 = 2."), "reflexivity.").result().proved

A theorem counts as proved if Rocq accepts the script between our statement and our ``Qed.``, if no proof is open after it, and if
Rocq says that the proof rests on no axioms but those that are allowed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from mlx_selfdebug.errors import SandboxError, UsageError
from mlx_selfdebug.proving.checker import GRACE_S, Checker, Installation, Served, new_name, printed
from mlx_selfdebug.proving.rocq_script import tactics_of
from mlx_selfdebug.proving.rocq_sentences import Sentence
from mlx_selfdebug.proving.servers.rocq import NOTHING
from mlx_selfdebug.proving.theorem import CheckedProof, Theorem
from mlx_selfdebug.sandbox.isolation import Level

PROGRAMS = ("coqidetop.opt", "coqidetop")
"""The names of the program that speaks the protocol of Rocq's editors."""
INSTALL = "apt install coq, or brew install rocq"
OLDEST_PROTOCOL = "20210506"
"""The protocol of Coq 8.15, the first in which a sentence is added as it is here."""
MEMORY_BYTES = 1 << 30
"""Bytes of memory that each process of Rocq may map."""
# Below the line "Axioms:", the lines of each axiom begin with its name and its type: "classic : forall ...".
_AXIOM = re.compile(r"^([\w.']+)\s+:", re.MULTILINE)
_IN_PROOF = re.compile(r"^\s*\(in proof [\w']+\):\s*")
# The first line of a hypothesis, or a line that goes on with it.
_HYPOTHESIS = re.compile(r"[\w', ]+ :=? |\s")


@cache
def installation() -> Installation:
    """Return where Rocq is installed. Raises UsageError if it is not on the path, or does not say where its library is."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise UsageError(f"Rocq is not installed: there is no {PROGRAMS[-1]} on the path", hint=INSTALL)
    # All its programs share their options; coqidetop itself has no -config.
    compiler = shutil.which("coqc") or program
    said = printed([compiler, "-config"], INSTALL)
    settings = dict(re.findall(r"^(\w+)=(.*)$", said, re.MULTILINE))
    folders = [settings[name] for name in ("COQLIB", "COQCORELIB") if settings.get(name)]
    if not folders:
        raise UsageError(f"{compiler} -config does not say where the library of Rocq is: {said[:200]!r}", hint=INSTALL)
    # Plugins are found by findlib, which reads its configuration and the descriptions beside Rocq's own.
    finder = settings.get("OCAMLFIND", "")
    configuration = printed([finder, "printconf", "conf"], INSTALL).strip() if os.access(finder, os.X_OK) else ""
    shown = (*folders, *(os.path.join(folder, os.pardir) for folder in folders), configuration)
    paths = (os.path.realpath(path) for path in shown if path and os.path.exists(path))
    return Installation(os.path.realpath(program), tuple(dict.fromkeys(paths)))


class Rocq(Checker[list[Sentence]]):
    """A checker that asks Rocq. ``open_rocq`` makes one."""

    name = "Rocq"

    def _find(self) -> Served:
        where = installation()
        return Served("rocq", (where.program, str(MEMORY_BYTES)), where, memory_bytes=4 * MEMORY_BYTES, processes=16)

    def _examine(self) -> str:
        answer = self._ask({"do": "version"}, GRACE_S)
        version, protocol = str(answer.get("version", "")), str(answer.get("protocol", ""))
        program = self._served.installation.program
        if not version:
            raise SandboxError(f"{program} does not start: {answer.get('ended') or answer}")
        if protocol < OLDEST_PROTOCOL:
            raise UsageError(f"{program} is of version {version}; 8.15 or later is needed", hint=INSTALL)
        return version

    def _read(self, script: str) -> list[Sentence]:
        return tactics_of(script)

    def _check(self, theorem: Theorem, script: list[Sentence], wall_s: float) -> CheckedProof:
        name = new_name()
        request = {
            "do": "check",
            "name": name,
            "beginning": theorem.beginning,
            "statement": re.sub(rf"^(\w+\s+){re.escape(theorem.name)}\b", rf"\g<1>{name}", theorem.statement),
            "tactics": [sentence.text for sentence in script],
            "wall_s": wall_s,
        }
        return _checked(self._ask(request, wall_s + GRACE_S), theorem, script)


@contextmanager
def open_rocq(level: Level = "full", workers: int | None = None) -> Iterator[Rocq]:
    """Give a checker until the block ends, with as many processes as processors unless ``workers`` says otherwise.

    Raises UsageError if Rocq is not installed or too old, and SandboxError if its processes are isolated less well than ``level``.
    """
    rocq = Rocq(level, workers)
    try:
        yield rocq
    finally:
        rocq.close()


def _checked(answer: dict[str, Any], theorem: Theorem, tactics: list[Sentence]) -> CheckedProof:
    """Read the answer of the confined process. Raises UsageError if it says that the theorem itself cannot be read."""
    wall_s = float(answer["seconds"])
    if answer["ended"]:
        return CheckedProof(answer["ended"], wall_s=wall_s)
    at = answer["at"]
    if at is None:
        return _unless_assumed(answer, theorem, wall_s)
    message = _without_environment(str(answer["message"]))
    if at < 1:
        raise UsageError(f"Rocq cannot read the theorem {theorem.name}: {message}")
    line, source = (tactics[at - 1].line, tactics[at - 1].text) if at <= len(tactics) else (0, "")
    goals = tuple(map(str, answer["goals"]))
    return CheckedProof(
        message=message, line=line, source=source, goals=goals, n_goals=answer["n_goals"], wall_s=wall_s
    )


def _without_environment(message: str) -> str:
    """Return a message on one line, without the hypotheses that it may begin with, since the goals show them."""
    lines = _IN_PROOF.sub("", message).splitlines()
    if lines and lines[0] == "In environment":
        del lines[0]
        while len(lines) > 1 and _HYPOTHESIS.match(lines[0]):
            del lines[0]
    return " ".join(" ".join(lines).split())


def _unless_assumed(answer: dict[str, Any], theorem: Theorem, wall_s: float) -> CheckedProof:
    """Return that the theorem is proved, unless its proof is not finished or uses axioms that are not allowed."""
    said = str(answer["assumptions"])
    if answer["open"]:
        return CheckedProof(message="the proof is not finished", wall_s=wall_s)
    if answer["admitted"]:
        return CheckedProof(message="the proof rests on something that was not proved", wall_s=wall_s)
    used = set() if said == NOTHING else set(_AXIOM.findall(said)) or {said[:200]}
    if refused := sorted(used - theorem.axioms):
        return CheckedProof(message=f"the proof rests on {', '.join(refused)}, which may not be assumed", wall_s=wall_s)
    return CheckedProof(proved=True, wall_s=wall_s)
