"""Check one proof after another with Rocq: the server that runs in a confined process of the Rocq checker.

Here are a request to check a proof and the answer if the second tactic fails. ``at`` is the index of the failing sentence: -1 for
the beginning, 0 for the statement, and from 1 on the tactics, which ``Qed.`` follows.

    {"id": 1, "do": "check", "name": "goal_6f1c", "beginning": ["Require Import Lia."], "wall_s": 10.0,
     "statement": "Theorem goal_6f1c : forall n, n + 0 = n.", "tactics": ["intros n.", "reflexivity."]}
    {"id": 1, "seconds": 0.01, "ended": "", "at": 2, "message": "Unable to unify ...", "goals": ["n : nat\\n==..."], "n_goals": 1}

If Rocq accepts all sentences, ``at`` is null, and these fields take the place of the last three:

    "open": [], "admitted": false, "assumptions": "Closed under the global context"

The request ``{"id": 2, "do": "version"}`` is answered with the fields ``version`` and ``protocol``.

The imports and definitions before a theorem are its *beginning*. A process of Rocq that has read a beginning goes back to that
point after each proof, which takes milliseconds. To start a new one takes a third of a second. Processes for the last few
different beginnings are kept.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections import OrderedDict
from typing import Any, NoReturn

from .rocq_ide import Ended, Failed, Ide
from .serving import MAX_TEXT, serve

MAX_PROCESSES = 2
"""The maximum number of processes of Rocq. Each of them has read a different beginning."""
MAX_CHECKS = 2000
"""The number of proofs after which a process is replaced. It keeps some memory for each proof."""
BEGINNING_S = 60.0
"""Seconds that Rocq may take to read a beginning."""
NOTHING = "Closed under the global context"
"""What ``Print Assumptions`` prints about a theorem that rests on no axioms."""
MAX_GOALS = 4
"""The maximum number of open goals that are reported."""

# The command "Print Assumptions" says on which axioms a proof rests. For a proof by ``lia`` it takes half a second, since Rocq goes
# through every lemma that the proof uses. So it is given only if there can be an axiom at all (see ``_may_assume``).
SEARCH = "Search [is:Axiom | is:Parameter | is:Conjecture | is:Primitive | is:Context | is:Variable]."
"""The command that lists everything that the loaded libraries assume without a proof."""
SEALED = "ssrunder.Under_rel."
"""The beginning of some names that the search finds although nothing is assumed.

This module of Rocq's own is sealed by a module type, so Rocq shows its content as parameters.
"""
# The words with which a beginning itself can assume something. Most of them have harmless uses as well, which cost only time.
ASSUMING = re.compile(
    r"\b(?:Axioms?|Parameters?|Conjectures?|Hypothes[ie]s|Variables?|Context|Admitted|Primitive|Declare|Module|Section|Set|"
    r"Unset|admit|give_up)\b|#\["
)


def main() -> NoReturn:
    """Answer requests until the channel is closed. The two arguments of the command line are those of ``Server``."""
    server = Server(sys.argv[1], int(sys.argv[2]))
    serve(server.answer)
    server.end()
    os._exit(0)


class Server:
    """A server that keeps processes of ``program``, which is ``coqidetop``. Each process may map ``memory_bytes``."""

    def __init__(self, program: str, memory_bytes: int) -> None:
        self._program, self._memory_bytes = program, memory_bytes
        self._ready: OrderedDict[tuple[str, ...], ReadyProcess] = OrderedDict()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to one request: the version of Rocq, or the result of a proof."""
        began = time.monotonic()
        result = self._version() if request["do"] == "version" else self._check(request)
        return {"id": request["id"], "seconds": time.monotonic() - began, **result}

    def end(self) -> None:
        """End all processes."""
        for ready in self._ready.values():
            ready.ide.end()

    def _version(self) -> dict[str, Any]:
        try:
            version, protocol = self._process(()).ide.version()
        except Ended as ended:
            return {"ended": str(ended)}
        return {"version": version, "protocol": protocol}

    def _check(self, request: dict[str, Any]) -> dict[str, Any]:
        """Check a proof, and leave the process in the state that follows the beginning."""
        beginning = tuple(request["beginning"])
        try:
            ready = self._process(beginning)
        except Ended as ended:
            return {"ended": str(ended), "at": -1}
        except Failed as failed:
            return {"ended": "", "at": -1, "message": str(failed)[:MAX_TEXT], "goals": []}
        try:
            ready.ide.deadline = time.monotonic() + request["wall_s"]
            result = ready.check([request["statement"], *request["tactics"], "Qed."], request["name"])
            ready.ide.deadline = time.monotonic() + BEGINNING_S
            ready.ide.go_back(ready.state)
        except Ended as ended:
            self._ready.pop(beginning).ide.end()
            return {"ended": str(ended)}
        if ready.checks >= MAX_CHECKS:
            self._ready.pop(beginning).ide.end()
        return {"ended": "", **result}

    def _process(self, beginning: tuple[str, ...]) -> ReadyProcess:
        """Return a process that has read ``beginning``. Raises Ended or Failed if the beginning cannot be read."""
        if beginning not in self._ready:
            while len(self._ready) >= MAX_PROCESSES:
                self._ready.popitem(last=False)[1].ide.end()
            ide = Ide(self._program, self._memory_bytes)
            try:
                self._ready[beginning] = ReadyProcess(ide, beginning)
            except (Ended, Failed):
                ide.end()
                raise
        self._ready.move_to_end(beginning)
        return self._ready[beginning]


class ReadyProcess:
    """A process of Rocq that has read a beginning. Raises Ended or Failed if the beginning cannot be read."""

    def __init__(self, ide: Ide, beginning: tuple[str, ...]) -> None:
        self.ide = ide
        self.checks = 0
        """The number of proofs that the process has checked."""
        ide.deadline = time.monotonic() + BEGINNING_S
        self.state = ide.initial()
        """The number of the state that follows the beginning, to which the process goes back after each proof."""
        for sentence in beginning:
            self.state = ide.add(sentence, self.state)
            ide.goals()
        self._may_rest_on_axioms = self._may_assume(beginning)

    def check(self, sentences: list[str], name: str) -> dict[str, Any]:
        """Execute the statement of the theorem ``name``, its tactics and ``Qed.``, and return what the answer says about them.

        The goals in the answer are those in focus before the sentence that failed.
        """
        self.checks += 1
        self.ide.has_admitted = False
        states = [self.state]
        unparsed: Failed | None = None
        for sentence in sentences:
            try:
                states.append(self.ide.add(sentence, states[-1]))
            except Failed as failed:
                unparsed = failed
                break
        try:
            goals = self.ide.goals()
        except Failed as failed:
            # A sentence that was executed has failed. It comes before one that cannot be parsed, so it is the first to fail.
            # ``states[i]`` is the state before the sentence with the index i.
            at = states.index(failed.state) if failed.state in states else len(states) - 1
            self.ide.go_back(states[at])
            return _failure(at, str(failed), self.ide.goals())
        if unparsed:
            return _failure(len(states) - 1, str(unparsed), goals)
        admitted = self.ide.has_admitted
        # ``Check`` is quick, and fails as ``Print Assumptions`` would if there is no theorem of this name.
        question = "Print Assumptions" if self._may_rest_on_axioms else "Check"
        try:
            printed = self._output_of(f"{question} {name}.", states[-1])
        except Failed as failed:
            return _failure(len(states) - 1, str(failed), None)
        assumptions = printed if self._may_rest_on_axioms else NOTHING
        return {"at": None, "open": self.ide.open_proofs(), "admitted": admitted, "assumptions": assumptions}

    def _may_assume(self, beginning: tuple[str, ...]) -> bool:
        """Return whether the beginning, or a library that is loaded now, may assume something without a proof."""
        if any(ASSUMING.search(sentence) for sentence in beginning):
            return True
        assumed = re.findall(r"^([\w.']+):", self._output_of(SEARCH, self.state), re.MULTILINE)
        self.ide.go_back(self.state)
        return not all(name.startswith(SEALED) for name in assumed)

    def _output_of(self, command: str, state: int) -> str:
        """Return what Rocq prints when it executes a command after ``state``. Raises Failed if the command fails."""
        state = self.ide.add(command, state)
        self.ide.goals()
        return "\n".join(self.ide.messages.get(state, ()))


def _failure(at: int, message: str, goals: list[str] | None) -> dict[str, Any]:
    """Return the fields of the answer about the sentence that failed. ``goals`` is None outside of a proof."""
    goals = goals or []
    reported = [goal[:MAX_TEXT] for goal in goals[:MAX_GOALS]]
    return {"at": at, "message": message[:MAX_TEXT], "goals": reported, "n_goals": len(goals)}
