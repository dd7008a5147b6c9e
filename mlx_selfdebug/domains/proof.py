"""The domain of proofs: a theorem is stated, an answer is a proof script, and a proof checker judges it.

A task's ``starter_code`` is Rocq source: imports and definitions, and at its end the theorem, named by the entry point. The answer
is what follows it, from ``Proof.`` to ``Qed.``. ``data`` holds, as JSON, the axioms that a proof may use, if there are any:
``{"axioms": ["classic"]}``.

    >>> answer = "  intros n.\\n  reflexivity.\\nQed.\\n"
    >>> ProofDomain().extract(answer, Task("t", "proof", "", "add_zero")).code
    'Proof.\\n  intros n.\\n  reflexivity.\\nQed.\\n'

A proof is accepted or it is not, so the public checks and the hidden ones are the same. A model is told the checker's message and
the goals that were left. An arm that stops at its first accepted proof has learned from the checker that it is right. Compare such
an arm with the blind arm, for which the same holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from concurrent.futures import Future
from functools import lru_cache
from typing import Any

from mlx_selfdebug.domains.base import Runner, Tidied
from mlx_selfdebug.domains.futures import derived, not_run
from mlx_selfdebug.domains.prompted import NO_VALUE, Prompted, got_text
from mlx_selfdebug.domains.tidying import fenced_or_whole
from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.proving.rocq import installation, open_rocq
from mlx_selfdebug.proving.rocq_script import tactics_of
from mlx_selfdebug.proving.rocq_sentences import sentences_of
from mlx_selfdebug.proving.script import ScriptError
from mlx_selfdebug.proving.theorem import CheckedProof, Theorem
from mlx_selfdebug.sandbox.executed import Executed
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import ErrorFact, Failure, Outcome, Verdict

INCOMPLETE = "incomplete proof"
"""What Rocq says, among other words, if goals are left at ``Qed.``"""
_ENDINGS: dict[str, Outcome] = {"timed_out": "timeout_wall", "memory": "memory", "output": "output_limit"}
_BEGIN = re.compile(r"\bProof\b[^.]*\.(?=\s|$)")
_END = re.compile(r"(?:\s|^)(?:Qed|Defined)\s*\.(?=\s|$)")
_STATES = re.compile(r"\s*(?:Theorem|Lemma|Fact|Remark|Corollary|Proposition|Property|Example|Goal)\b")
_TOKEN = re.compile(r"[^\W\d][\w']*|\d+|[^\w\s]")


class ProofDomain(Prompted):
    name = "proof"
    fence = "coq"
    draft = "Prove this theorem in Coq.\n\n{task}\n\nWrite only the proof, from Proof. to Qed., with simple tactics."
    again = "Write the proof again so that it is accepted."
    tested = "This proof was checked:\n\n{code}\n\n{facts}"
    hidden = "A proof of it was checked.\n\n{facts}"

    @property
    def reply_prefix(self) -> str:
        return f"```{self.fence}\nProof.\n"

    def require_installed(self) -> None:
        """Raise UsageError if Rocq is not installed."""
        installation()

    def task_text(self, task: Task, *, public_checks: bool) -> str:  # noqa: ARG002
        return f"{task.statement.strip()}\n\n```{self.fence}\n{task.starter_code.strip()}\n```".strip()

    def failure_text(self, failure: Failure, verdict: Verdict, task: Task) -> str:  # noqa: ARG002
        """Return the checker's message, with the sentence at which it stopped and the goals that were left there."""
        if failure.error is None:
            return f"The proof was not accepted: {NO_VALUE.get(verdict.outcome, verdict.outcome)}."
        where = f" at `{failure.error.source}`" if failure.error.source else ""
        text = f"The proof was not accepted{where}: {failure.error.message}"
        goals = got_text(failure)
        return f"{text}\n\nGoals left at that point:\n\n{goals}" if goals else text

    def extract(self, text: str, task: Task) -> Tidied:
        """Return the script from ``Proof.`` to ``Qed.``, without the theorem if it was repeated before it."""
        before_fence = text.partition("\n```")[0]
        tidied = fenced_or_whole(f"Proof.\n{before_fence if _END.search(before_fence) else text}")
        begins = list(_BEGIN.finditer(tidied.code))
        body = tidied.code[begins[-1].end() :] if begins else _without_statement(tidied.code)
        end = _END.search(body)
        body = (body[: end.start()] if end else body).strip("\n").rstrip()
        return Tidied(f"Proof.\n{body}\nQed.\n" if body else self.nothing(task), tidied.steps)

    def completion(self, code: str) -> str:
        return super().completion(code.removeprefix("Proof.\n"))

    def judge(self, code: str, task: Task, checks: Checks, runner: Runner) -> Future[Any]:  # noqa: ARG002
        """Have Rocq check the script ``code``.

        Raises UsageError if Rocq is not installed or cannot read the theorem, SandboxError if it cannot be confined.
        """
        rocq = runner.kept("rocq", open_rocq)
        try:
            theorem = theorem_of(task)
        except ValueError as error:
            raise UsageError(str(error)) from None
        try:
            checked = rocq.check(theorem, code, runner.manner.wall_s)
        except ScriptError as error:
            fact = ErrorFact("ScriptError", str(error), error.line, error.source)
            return not_run("load_error", fact, runner, rocq.isolation, 1)
        if runner.manner.traced:  # A script has no lines that run.
            return derived(checked, lambda _: Executed())
        return derived(checked, lambda proof: _verdict(proof, rocq.isolation))

    def nothing(self, task: Task) -> str:  # noqa: ARG002
        return "Proof.\nQed.\n"

    def normalise(self, code: str) -> str:
        """Return the tactics, each with single spaces; the words of ``code`` if it is no script."""
        try:
            return "\n".join(" ".join(sentence.text.split()) for sentence in tactics_of(code))
        except ScriptError:
            return " ".join(code.split())

    def tokens(self, code: str) -> Sequence[str]:
        return _TOKEN.findall(code)


def proof_checks(name: str) -> Checks:
    """Return the checks of a theorem, which say that it is proved."""
    return Checks.from_asserts([f"assert proved({name!r})"])


@lru_cache(maxsize=1024)
def theorem_of(task: Task) -> Theorem:
    """Return the theorem of a task. Raises ValueError if its starter code does not end with the theorem of the entry point."""
    try:
        *beginning, statement = [sentence.text for sentence in sentences_of(task.starter_code)]
    except ValueError as error:  # There is no sentence, or they cannot be read.
        raise ValueError(f"the starter code of {task.id} does not end with a theorem: {error}") from None
    words = statement.replace(":", " ").split()
    if not _STATES.match(statement) or len(words) < 2 or words[1] != task.entry_point:
        raise ValueError(
            f"the starter code of {task.id} does not end with the theorem {task.entry_point!r}, but with {statement[:80]!r}"
        )
    axioms = json.loads(task.data or "{}").get("axioms", [])
    return Theorem(task.entry_point, statement, tuple(beginning), frozenset(axioms))


def _without_statement(code: str) -> str:
    """Return ``code`` without the theorem, if it begins with one."""
    end = re.search(r"\.(?=\s|$)", code)
    return code[end.end() :] if end and _STATES.match(code) else code


def _verdict(proof: CheckedProof, isolation: str) -> Verdict:
    if proof.proved:
        return Verdict("passed", (), 1, 1, proof.wall_s, isolation=isolation)
    if proof.ending:
        outcome = _ENDINGS.get(proof.ending, "infrastructure")
        return Verdict(outcome, (Failure(""),), 0, 1, proof.wall_s, isolation=isolation)
    goals = "\n\n".join(proof.goals)
    if proof.n_goals > len(proof.goals):
        goals += f"\n\nand {proof.n_goals - len(proof.goals)} more"
    fact = ErrorFact("Error", proof.message, proof.line, proof.source)
    outcome = "raised" if proof.source else "failed"
    failure = Failure("", got=repr(goals) if goals else "", error=fact)
    return Verdict(outcome, (failure,), 0, 1, proof.wall_s, isolation=isolation)
