"""Check proofs with Rocq, which used to be called Coq.

    with open_rocq() as rocq:
        rocq.check(Theorem("t", "Theorem t : 1 + 1 = 2."), "reflexivity.").result().proved

A theorem counts as proved if all of this holds:

- Rocq accepts the sentences of the script between the statement of the theorem and ``Qed.``, both of which are added here.
- No proof is open after that.
- Rocq says that the proof rests on no axioms except those that the theorem allows.
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
from mlx_selfdebug.proving.checker import GRACE_S, Checker, Installation, ServerSetup, output_of, random_name
from mlx_selfdebug.proving.rocq_script import tactics_of
from mlx_selfdebug.proving.rocq_sentences import Sentence
from mlx_selfdebug.proving.servers.rocq import NOTHING
from mlx_selfdebug.proving.theorem import CheckedProof, Theorem
from mlx_selfdebug.sandbox.isolation import Level

PROGRAMS = ("coqidetop.opt", "coqidetop")
"""The names of the program that speaks the protocol of Rocq's editors."""
INSTALL = "apt install coq, or brew install rocq"
OLDEST_PROTOCOL = "20210506"
"""The protocol of Coq 8.15. Before it, the call that adds a sentence had another form."""
MEMORY_BYTES = 1 << 30
"""Bytes of memory that each process of Rocq may map."""
_SERVER_PROCESSES = 16
"""The number of processes and threads that the server and its processes of Rocq may have at one time."""
# The name of an axiom that "Print Assumptions" lists. It begins a line, as in "classic : forall P : Prop, P \/ ~ P".
_AXIOM = re.compile(r"^([\w.']+)\s+:", re.MULTILINE)
# The beginning of some messages, such as "(in proof goal_6f1c): ". It names the theorem by its random name.
_IN_PROOF = re.compile(r"^\s*\(in proof [\w']+\):\s*")
# The first line of a hypothesis, such as "n, m : nat", or an indented line that continues one.
_HYPOTHESIS = re.compile(r"[\w', ]+ :=? |\s")


@cache
def installation() -> Installation:
    """Return where Rocq is installed. Raises UsageError if it is not on the path, or does not say where its library is."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise UsageError(f"Rocq is not installed: there is no {PROGRAMS[-1]} on the path", hint=INSTALL)
    # coqidetop itself has no option -config. Its compiler coqc has, and belongs to the same installation.
    compiler = shutil.which("coqc") or program
    printed = output_of([compiler, "-config"], INSTALL)
    settings = dict(re.findall(r"^(\w+)=(.*)$", printed, re.MULTILINE))
    folders = [settings[name] for name in ("COQLIB", "COQCORELIB") if settings.get(name)]
    if not folders:
        raise UsageError(
            f"{compiler} -config does not say where the library of Rocq is: {printed[:200]!r}", hint=INSTALL
        )
    # Rocq finds its plugins with ocamlfind. This reads its own configuration, and the descriptions of packages in the folder that
    # holds Rocq's folders.
    ocamlfind = settings.get("OCAMLFIND", "")
    configuration = (
        output_of([ocamlfind, "printconf", "conf"], INSTALL).strip() if os.access(ocamlfind, os.X_OK) else ""
    )
    readable = (*folders, *(os.path.join(folder, os.pardir) for folder in folders), configuration)
    paths = (os.path.realpath(path) for path in readable if path and os.path.exists(path))
    return Installation(os.path.realpath(program), tuple(dict.fromkeys(paths)))


class Rocq(Checker[list[Sentence]]):
    """A checker of proofs that uses Rocq. Open one with ``open_rocq``."""

    name = "Rocq"

    def _server_setup(self) -> ServerSetup:
        rocq = installation()
        return ServerSetup(
            server="rocq",
            arguments=(rocq.program, str(MEMORY_BYTES)),
            installation=rocq,
            # The server keeps two processes of Rocq, and itself needs little. The rest is a margin.
            memory_bytes=4 * MEMORY_BYTES,
            processes=_SERVER_PROCESSES,
        )

    def _require_usable(self) -> str:
        answer = self._ask({"do": "version"}, GRACE_S)
        version, protocol = str(answer.get("version", "")), str(answer.get("protocol", ""))
        program = self._setup.installation.program
        if not version:
            raise SandboxError(f"{program} does not start: {answer.get('ended') or answer}")
        if protocol < OLDEST_PROTOCOL:  # protocols are numbered by their dates, so they compare as text
            raise UsageError(f"{program} is of version {version}; 8.15 or later is needed", hint=INSTALL)
        return version

    def _parse(self, script: str) -> list[Sentence]:
        return tactics_of(script)

    def _check(self, theorem: Theorem, script: list[Sentence], wall_s: float) -> CheckedProof:
        name = random_name()
        request = {
            "do": "check",
            "name": name,
            "beginning": theorem.beginning,
            "statement": _stated_as(name, theorem),
            "tactics": [sentence.text for sentence in script],
            "wall_s": wall_s,
        }
        return _verdict(self._ask(request, wall_s + GRACE_S), theorem, script)


@contextmanager
def open_rocq(level: Level = "full", workers: int | None = None) -> Iterator[Rocq]:
    """Open a checker and yield it. It is closed when the block ends.

    It has ``workers`` processes, by default as many as there are processors. Raises UsageError if Rocq is not installed or too
    old, and SandboxError if its processes are isolated less well than ``level``.
    """
    rocq = Rocq(level, workers)
    try:
        yield rocq
    finally:
        rocq.close()


def _stated_as(name: str, theorem: Theorem) -> str:
    """Return the statement of a theorem under another name."""
    # A prime belongs to a name, so the name may end at no word boundary, as in "Theorem add_zero' : forall n, n + 0 = n."
    own_name = rf"^(\w+\s+){re.escape(theorem.name)}(?![\w'])"
    return re.sub(own_name, rf"\g<1>{name}", theorem.statement)


def _verdict(answer: dict[str, Any], theorem: Theorem, tactics: list[Sentence]) -> CheckedProof:
    """Return the verdict in an answer of the confined process, whose form ``servers/rocq.py`` describes.

    Raises UsageError if Rocq cannot read the theorem itself.
    """
    wall_s = float(answer["seconds"])
    if answer["ended"]:
        return CheckedProof(answer["ended"], wall_s=wall_s)
    # The index of the sentence that failed: -1 for the imports and definitions, 0 for the statement, and from 1 on the tactics,
    # which "Qed." follows.
    failed = answer["at"]
    if failed is None:
        return _verdict_on_accepted(answer, theorem, wall_s)
    message = _without_environment(str(answer["message"]))
    if failed < 1:
        raise UsageError(f"Rocq cannot read the theorem {theorem.name}: {message}")
    line, source = (tactics[failed - 1].line, tactics[failed - 1].text) if failed <= len(tactics) else (0, "")
    goals = tuple(map(str, answer["goals"]))
    return CheckedProof(
        message=message, line=line, source=source, goals=goals, n_goals=answer["n_goals"], wall_s=wall_s
    )


def _without_environment(message: str) -> str:
    """Return a message as a single line, without the hypotheses with which it may begin. The goals show these as well."""
    lines = _IN_PROOF.sub("", message).splitlines()
    if lines and lines[0] == "In environment":
        del lines[0]
        while len(lines) > 1 and _HYPOTHESIS.match(lines[0]):
            del lines[0]
    return " ".join(" ".join(lines).split())


def _verdict_on_accepted(answer: dict[str, Any], theorem: Theorem, wall_s: float) -> CheckedProof:
    """Return the verdict on a proof whose sentences Rocq has all accepted.

    It still fails if it is not finished, or rests on something that may not be assumed.
    """
    assumptions = str(answer["assumptions"])
    if answer["open"]:
        return CheckedProof(message="the proof is not finished", wall_s=wall_s)
    if answer["admitted"]:
        return CheckedProof(message="the proof rests on something that was not proved", wall_s=wall_s)
    if assumptions == NOTHING:
        return CheckedProof(proved=True, wall_s=wall_s)
    # If the text lists no axiom in a form that is known here, the text itself stands for one, which no theorem allows.
    used = set(_AXIOM.findall(assumptions)) or {assumptions[:200]}
    if refused := sorted(used - theorem.axioms):
        return CheckedProof(message=f"the proof rests on {', '.join(refused)}, which may not be assumed", wall_s=wall_s)
    return CheckedProof(proved=True, wall_s=wall_s)
