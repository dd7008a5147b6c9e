"""Check proofs with Rocq, one after another, and answer in lines of JSON: the process that stays.

A process of Rocq that has read the imports and definitions before a theorem goes back to that point after each proof, which takes
milliseconds where its start takes a third of a second. Processes for the last few different beginnings are kept.
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
"""The largest number of processes of Rocq. Each has read another beginning."""
MAX_CHECKS = 2000
"""The number of proofs after which a process is replaced, since it keeps a little memory for each."""
BEGINNING_S = 60.0
"""Seconds that reading the imports and definitions may take."""
NOTHING = "Closed under the global context"
"""What Rocq says of a theorem that rests on no axioms."""
MAX_GOALS = 4
"""The number of goals that are reported."""
# Rocq takes half a second to find the assumptions of a proof by ``lia``, since it goes through all lemmas that this rests on. Where
# nothing is assumed anywhere, there is nothing to be found. These kinds of things are assumed in libraries,
SEARCH = "Search [is:Axiom | is:Parameter | is:Conjecture | is:Primitive | is:Context | is:Variable]."
# except in this module of Rocq's own, which only looks so since it is sealed,
SEALED = "ssrunder.Under_rel."
# and a beginning can assume something only with one of these words. Most also stand for harmless things, and merely cost time.
ASSUMING = re.compile(
    r"\b(?:Axioms?|Parameters?|Conjectures?|Hypothes[ie]s|Variables?|Context|Admitted|Primitive|Declare|Module|Section|Set|Unset|admit|give_up)\b|#\["
)


def main() -> NoReturn:
    """Answer requests until the channel is closed."""
    server = Server(sys.argv[1], int(sys.argv[2]))
    serve(server.answer)
    server.end()
    os._exit(0)


class Server:
    """The processes of Rocq."""

    def __init__(self, program: str, memory_bytes: int) -> None:
        self._program, self._memory_bytes = program, memory_bytes
        self._ready: OrderedDict[tuple[str, ...], Ready] = OrderedDict()

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
            ready = self._process(())
            version, protocol = ready.ide.version()
        except Ended as ended:
            return {"ended": str(ended)}
        return {"version": version, "protocol": protocol}

    def _check(self, request: dict[str, Any]) -> dict[str, Any]:
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

    def _process(self, beginning: tuple[str, ...]) -> Ready:
        """Return a process that has read ``beginning``. Raises Ended or Failed if it cannot be read."""
        if beginning not in self._ready:
            while len(self._ready) >= MAX_PROCESSES:
                self._ready.popitem(last=False)[1].ide.end()
            ide = Ide(self._program, self._memory_bytes)
            try:
                self._ready[beginning] = Ready(ide, beginning)
            except (Ended, Failed):
                ide.end()
                raise
        self._ready.move_to_end(beginning)
        return self._ready[beginning]


class Ready:
    """A process of Rocq, and the state to which it goes back."""

    def __init__(self, ide: Ide, beginning: tuple[str, ...]) -> None:
        self.ide = ide
        self.checks = 0
        ide.deadline = time.monotonic() + BEGINNING_S
        self.state = ide.initial()
        for sentence in beginning:
            self.state = ide.add(sentence, self.state)
            ide.goals()
        self._assumes = self._may_assume(beginning)

    def check(self, sentences: list[str], name: str) -> dict[str, Any]:
        """Execute the sentences of a theorem's statement, of its proof and ``Qed.``, and return what came of them.

        ``at`` is the index of the sentence that failed, or None. ``goals`` are those in focus before it.
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
            # An error before the sentence that cannot be parsed is the first one.
            at = states.index(failed.state) if failed.state in states else len(states) - 1
            self.ide.go_back(states[at])
            return self._failed(at, str(failed), self.ide.goals())
        if unparsed:
            return self._failed(len(states) - 1, str(unparsed), goals)
        admitted = self.ide.has_admitted
        try:
            assumptions = self._said(f"{'Print Assumptions' if self._assumes else 'Check'} {name}.", states[-1])
        except Failed as failed:  # There is no theorem of this name.
            return self._failed(len(states) - 1, str(failed), None)
        assumptions = assumptions if self._assumes else NOTHING
        return {"at": None, "open": self.ide.open_proofs(), "admitted": admitted, "assumptions": assumptions}

    def _failed(self, at: int, message: str, goals: list[str] | None) -> dict[str, Any]:
        shown = [goal[:MAX_TEXT] for goal in (goals or [])[:MAX_GOALS]]
        return {"at": at, "message": message[:MAX_TEXT], "goals": shown, "n_goals": len(goals or [])}

    def _may_assume(self, beginning: tuple[str, ...]) -> bool:
        """Return whether a proof after this beginning could rest on an axiom."""
        if any(ASSUMING.search(sentence) for sentence in beginning):
            return True
        assumed = re.findall(r"^([\w.']+):", self._said(SEARCH, self.state), re.MULTILINE)
        self.ide.go_back(self.state)
        return not all(name.startswith(SEALED) for name in assumed)

    def _said(self, command: str, state: int) -> str:
        """Return what Rocq prints when it executes a command after ``state``."""
        state = self.ide.add(command, state)
        self.ide.goals()
        return "\n".join(self.ide.messages.get(state, ()))
