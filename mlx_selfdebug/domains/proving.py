"""Define what the domains of proofs share: how a proof is judged, and what a prompt says of a proof that was not accepted.

A task's ``starter_code`` holds imports and definitions, and ends with the theorem without a proof. The theorem's name is the entry
point. If a proof may use axioms, ``data`` names them as JSON: ``{"axioms": ["classic"]}``.

A proof is accepted or it is not, so the public checks and the hidden ones are the same. A model is told the checker's message and
the goals that were left. Evaluations of proofs have to be read like those of mathematics (``mathematics.py``): every way to go on
after a failure stops as soon as the checker accepts a proof.

``proof.py`` and ``lean.py`` define the two domains, and the package ``proving`` runs the checkers.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any

from mlx_selfdebug.domains.base import Runner
from mlx_selfdebug.domains.futures import derived, not_run
from mlx_selfdebug.domains.prompted import NO_VALUE, Prompted, got_text
from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.proving.checker import Checker
from mlx_selfdebug.proving.script import ScriptError
from mlx_selfdebug.proving.theorem import CheckedProof, Theorem
from mlx_selfdebug.sandbox.executed import Executed
from mlx_selfdebug.sandbox.isolation import Level
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import ErrorFact, Failure, Outcome, Verdict

_TOKEN = re.compile(r"[^\W\d][\w']*|\d+|[^\w\s]")
"""Matches a name, a number, or one other character."""


class ProvingDomain(Prompted):
    """The base class of the domains of proofs. A subclass takes proofs out of replies, and opens the checker of its language."""

    again = "Write the proof again so that it is accepted."
    tested = "This proof was checked:\n\n{code}\n\n{facts}"
    hidden = "A proof of it was checked.\n\n{facts}"
    endings: Mapping[str, Outcome] = {"timed_out": "timeout_wall", "memory": "memory", "output": "output_limit"}
    """The outcome by ``CheckedProof.ending``, for the endings that a proof can cause. Others are the checker's own failures."""

    @abstractmethod
    def open_checker(self, level: Level) -> AbstractContextManager[Checker[Any]]:
        """Open the checker. It stays open until the test runner is closed."""

    @abstractmethod
    def theorem_of(self, task: Task) -> Theorem:
        """Return the theorem of a task. Raises ValueError if the starter code does not end with the theorem of the entry point."""

    def task_text(self, task: Task, *, public_checks: bool) -> str:  # noqa: ARG002
        return f"{task.statement.strip()}\n\n```{self.fence}\n{task.starter_code.strip()}\n```".strip()

    def failure_text(self, failure: Failure, verdict: Verdict, task: Task) -> str:  # noqa: ARG002
        """Return the checker's message, with the place at which it stopped and the goals that were left there."""
        if failure.error is None:
            return f"The proof was not accepted: {NO_VALUE.get(verdict.outcome, verdict.outcome)}."
        where = f" at `{failure.error.source}`" if failure.error.source else ""
        text = f"The proof was not accepted{where}: {failure.error.message}"
        goals = got_text(failure)
        return f"{text}\n\nGoals left at that point:\n\n{goals}" if goals else text

    def judge(self, code: str, task: Task, checks: Checks, runner: Runner) -> Future[Any]:  # noqa: ARG002
        """Start to check the script ``code``, and return the future of the verdict. A script that is refused is not run.

        If the runner traces (see ``Manner``), the future holds an empty ``Executed`` instead, since a script has no lines that run.
        Raises UsageError if the checker is not installed or the task's theorem cannot be read, and SandboxError if the checker
        cannot be confined.
        """
        checker = runner.kept(self.name, self.open_checker)
        try:
            theorem = self.theorem_of(task)
        except ValueError as error:
            raise UsageError(str(error)) from None
        try:
            checked = checker.check(theorem, code, runner.manner.wall_s)
        except ScriptError as error:
            fact = ErrorFact("ScriptError", str(error), error.line, error.source)
            return not_run("load_error", fact, runner, checker.isolation, 1)
        if runner.manner.traced:
            return derived(checked, lambda _: Executed())
        return derived(checked, lambda proof: self._verdict(proof, checker.isolation))

    def tokens(self, code: str) -> Sequence[str]:
        return _TOKEN.findall(code)

    def _verdict(self, proof: CheckedProof, isolation: str) -> Verdict:
        """Return the verdict on a proof. A proof has a single check, whose ``got`` are the goals that were left."""
        if proof.proved:
            return Verdict("passed", (), 1, 1, proof.wall_s, isolation=isolation)
        if proof.ending:
            outcome = self.endings.get(proof.ending, "infrastructure")
            return Verdict(outcome, (Failure(""),), 0, 1, proof.wall_s, isolation=isolation)
        goals = "\n\n".join(proof.goals)
        if proof.n_goals > len(proof.goals):
            goals += f"\n\nand {proof.n_goals - len(proof.goals)} more"
        fact = ErrorFact("Error", proof.message, proof.line, proof.source)
        # Without a source, no part of the script is to blame. The script may have ended while goals were left, for example.
        outcome = "raised" if proof.source else "failed"
        failure = Failure("", got=repr(goals) if goals else "", error=fact)
        return Verdict(outcome, (failure,), 0, 1, proof.wall_s, isolation=isolation)


def proof_checks(name: str) -> Checks:
    """Return checks that the theorem of this name is proved. The domain never runs them: its checker decides."""
    return Checks.from_asserts([f"assert proved({name!r})"])


def axioms_of(task: Task) -> frozenset[str]:
    """Return the axioms that a proof of a task may use."""
    return frozenset(json.loads(task.data or "{}").get("axioms", []))
