"""Define the domain of proofs in Rocq: an answer is a proof script.

A task's ``starter_code`` is Rocq source: imports and definitions, and at its end the theorem without a proof. The prompt ends with
``Proof.``, and the model goes on from there. The answer is the text that follows, up to ``Qed.``.

    >>> answer = "  intros n.\\n  reflexivity.\\nQed.\\n"
    >>> ProofDomain().extract(answer, Task("t", "proof", "", "add_zero")).code
    '  intros n.\\n  reflexivity.\\nQed.\\n'
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

from mlx_selfdebug.domains.base import Tidied
from mlx_selfdebug.domains.proving import ProvingDomain, axioms_of
from mlx_selfdebug.domains.tidying import fenced_or_whole
from mlx_selfdebug.proving.checker import Checker
from mlx_selfdebug.proving.rocq import installation, open_rocq
from mlx_selfdebug.proving.rocq_script import tactics_of
from mlx_selfdebug.proving.rocq_sentences import sentences_of
from mlx_selfdebug.proving.script import ScriptError
from mlx_selfdebug.proving.theorem import Theorem
from mlx_selfdebug.sandbox.isolation import Level
from mlx_selfdebug.values.task import Task

EXAMPLES = """\
Theorem two_and_two : 2 + 2 = 4.
Proof.
  reflexivity.
Qed.

Theorem first_of_two : forall P Q : Prop, P -> Q -> P.
Proof.
  intros P Q HP HQ.
  exact HP.
Qed.

Theorem last_of_three : forall P Q R : Prop, P /\\ Q /\\ R -> R.
Proof.
  intros P Q R H.
  destruct H as [HP [HQ HR]].
  exact HR.
Qed.

Theorem choose_negb : forall a b : bool, (if a then negb b else negb b) = negb b.
Proof.
  intros a b.
  destruct a; reflexivity.
Qed.

Theorem plus_one : forall n : nat, n + 1 = S n.
Proof.
  intros n.
  induction n as [| n IH].
  - reflexivity.
  - simpl. rewrite IH. reflexivity.
Qed.
"""
"""Theorems with proofs that every prompt shows. Without them, a small model answers in prose, as in a textbook.

Each shows one of the most common methods: computation, the use of a hypothesis, the destruction of a conjunction, a case analysis,
and an induction, in this order. None of the theorems is in the set ``proofs``.
"""
THEOREM = re.compile(r"\s*(?:Theorem|Lemma|Fact|Remark|Corollary|Proposition|Property|Example|Goal)\b")
"""Matches the keyword with which Rocq states a theorem."""
THEOREM_NAME = re.compile(r"\s*\w+\s+([^\W\d][\w']*)")
"""Matches the first words of a theorem, such as ``Lemma add_zero'``. The group is the theorem's name."""
_PROOF_BEGIN = re.compile(r"\bProof(?:\s+(?:using|with)\b[^.]*)?\s*\.(?=\s|$)")
"""Matches the sentence ``Proof.``, also with ``using`` or ``with``, as in ``Proof using H.``."""
_PROOF_END = re.compile(r"(?:\s|^)(?:Qed|Defined)\s*\.(?=\s|$)")
"""Matches the sentence that ends a proof."""


class ProofDomain(ProvingDomain):
    """The domain of proofs in Rocq."""

    name = "proof"
    fence = "coq"
    draft = (
        f"These are theorems with their proofs in Coq:\n\n```coq\n{EXAMPLES}```\n\n"
        "Prove the next theorem in the same way.\n\n{task}"
    )

    @property
    def reply_prefix(self) -> str:
        return f"```{self.fence}\nProof.\n"

    def require_installed(self) -> None:
        """Raise UsageError if Rocq is not installed."""
        installation()

    def open_checker(self, level: Level) -> AbstractContextManager[Checker[Any]]:
        return open_rocq(level)

    def theorem_of(self, task: Task) -> Theorem:
        return theorem_of(task)

    def extract(self, text: str, task: Task) -> Tidied:
        """Return the script from the first tactic to ``Qed.``.

        A model may repeat the theorem and ``Proof.`` before the tactics. Both are left out then.
        """
        # The reply continues the block that ``reply_prefix`` has opened. If the proof ends before the first closing fence, what
        # follows the fence is no answer. Otherwise the model may have written prose and then a block of its own.
        first_block = text.partition("\n```")[0]
        reply = first_block if _PROOF_END.search(first_block) else text
        tidied = fenced_or_whole(f"Proof.\n{reply}")
        tactics = _tactics(tidied.code)
        return Tidied(f"{tactics}\nQed.\n" if tactics else self.nothing(task), tidied.steps)

    def nothing(self, task: Task) -> str:  # noqa: ARG002
        """Return the script without a tactic."""
        return "Qed.\n"

    def normalise(self, code: str) -> str:
        """Return the sentences of the script, one per line and with single spaces. If ``code`` is no script, return its words."""
        try:
            return "\n".join(" ".join(sentence.text.split()) for sentence in tactics_of(code))
        except ScriptError:
            return " ".join(code.split())


@lru_cache(maxsize=1024)
def theorem_of(task: Task) -> Theorem:
    """Return the theorem of a task. Raises ValueError if its starter code does not end with the theorem of the entry point."""
    try:
        *beginning, statement = [sentence.text for sentence in sentences_of(task.starter_code)]
    except ValueError as error:  # The starter code has no sentence, or cannot be split into sentences.
        raise ValueError(f"the starter code of {task.id} does not end with a theorem: {error}") from None
    name = THEOREM_NAME.match(statement)
    if not THEOREM.match(statement) or name is None or name[1] != task.entry_point:
        raise ValueError(
            f"the starter code of {task.id} does not end with the theorem {task.entry_point!r}, but with {statement[:80]!r}"
        )
    return Theorem(task.entry_point, statement, tuple(beginning), axioms_of(task))


def _tactics(code: str) -> str:
    """Return the tactics of the first proof in ``code``, which end before ``Qed.`` or at the end of ``code``.

    They begin after the last ``Proof.`` before that, because a model may repeat the theorem with a ``Proof.`` of its own.
    """
    end = _PROOF_END.search(code)
    proof = code[: end.start()] if end else code
    begins = list(_PROOF_BEGIN.finditer(proof))
    tactics = proof[begins[-1].end() :] if begins else _without_statement(proof)
    return tactics.strip("\n").rstrip()


def _without_statement(code: str) -> str:
    """Return ``code`` without its first sentence if that states a theorem, and otherwise ``code`` itself."""
    end = re.search(r"\.(?=\s|$)", code)
    return code[end.end() :] if end and THEOREM.match(code) else code
