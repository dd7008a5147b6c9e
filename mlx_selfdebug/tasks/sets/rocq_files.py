"""Find the marked theorems of a Rocq file, for ``proof_marks.py``.

>>> text = "(* task: One is one. *) Theorem one : 1 = 1. Proof. reflexivity. Qed."
>>> list(ROCQ.proofs_of(text, [0]))
[Proved(name='one', starter_code='Theorem one : 1 = 1.\\n', reference='  reflexivity.\\nQed.\\n')]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mlx_selfdebug.domains.proof import THEOREM, THEOREM_NAME
from mlx_selfdebug.proving.rocq_sentences import Sentence, comments_of, sentences_of
from mlx_selfdebug.tasks.sets.proof_marks import Language, Proved

_LAST_SENTENCE = re.compile(r"(Qed|Defined|Admitted|Abort)\s*\.")
"""Matches the sentence that ends a proof or gives it up."""


def _proofs_of(text: str, positions: Sequence[int]) -> Iterator[Proved | None]:
    """Yield the theorem after each position in ``text``, or None if no theorem with a complete proof follows."""
    sentences = sentences_of(text)
    shared: list[Sentence] = []  # imports, definitions and unmarked lemmas, which belong to every later task
    current = 0  # the index of the first sentence that is neither shared nor a part of a marked theorem
    for position in positions:
        while current < len(sentences) and sentences[current].begin < position:
            shared.append(sentences[current])
            current += 1
        proof = _proof_after(sentences[current:])
        if proof is None:
            yield None
            continue
        statement = sentences[current].text
        current += 1 + len(proof)
        beginning = "\n".join(sentence.text for sentence in shared)
        yield Proved(_name_of(statement), f"{beginning}\n\n{statement}\n".lstrip("\n"), _script(proof))


def _proof_after(sentences: Sequence[Sentence]) -> list[Sentence] | None:
    """Return the proof of the theorem that the first sentence states, from the next sentence to ``Qed.`` or ``Defined.``.

    Returns None if the first sentence states no theorem, or if the proof does not end or is given up.
    """
    if not sentences or not THEOREM.match(sentences[0].text) or not _name_of(sentences[0].text):
        return None
    for n, sentence in enumerate(sentences):
        last = _LAST_SENTENCE.fullmatch(sentence.text)
        if last:
            return list(sentences[1 : n + 1]) if last[1] in ("Qed", "Defined") else None
    return None


def _name_of(statement: str) -> str:
    """Return the name of a theorem, or an empty string if it has none."""
    name = THEOREM_NAME.match(statement)
    return name[1] if name else ""


def _script(proof: Sequence[Sentence]) -> str:
    """Return a proof as the text of an answer, which ends with ``Qed.``. The sentences of one line stay on one line."""
    lines: dict[int, list[str]] = {}
    for sentence in proof[:-1]:
        if sentence.text != "Proof.":
            lines.setdefault(sentence.line, []).append(sentence.text)
    return "".join([*(f"  {' '.join(texts)}\n" for texts in lines.values()), "Qed.\n"])


ROCQ = Language(
    domain="proof",
    comment=("(*", "*)"),
    comments_of=comments_of,
    proofs_of=_proofs_of,
    script_of=lambda tactics: f"  {tactics}\nQed.\n",
    proof_form="ends with Qed.",
)
"""How theorems are marked in Rocq files."""
