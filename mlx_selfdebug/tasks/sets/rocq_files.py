"""Find the theorems of a Rocq file, for ``proof_marks.py``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mlx_selfdebug.proving.rocq_sentences import Sentence, comments_of, sentences_of
from mlx_selfdebug.tasks.sets.proof_marks import Language, Proved

_NAME = re.compile(r"\w+\s+([^\W\d][\w']*)")
_ENDS = re.compile(r"(?:Qed|Defined|Admitted|Abort)\s*\.")


def _proofs_of(text: str, positions: Sequence[int]) -> Iterator[Proved | None]:
    sentences = sentences_of(text)
    before: list[Sentence] = []
    at = 0
    for position in positions:
        while at < len(sentences) and sentences[at].begin < position:
            before.append(sentences[at])
            at += 1
        end = next((n for n in range(at, len(sentences)) if _ENDS.fullmatch(sentences[n].text)), None)
        name = _NAME.match(sentences[at].text) if at < len(sentences) else None
        if end is None or name is None:
            yield None
            continue
        statement, proof, at = sentences[at].text, sentences[at + 1 : end], end + 1
        starter_code = "\n".join([*(sentence.text for sentence in before), "", statement]).lstrip("\n") + "\n"
        yield Proved(name[1], starter_code, _script(proof))


def _script(proof: list[Sentence]) -> str:
    """Return a proof as the text of an answer. The sentences of one line stay on one line."""
    lines: dict[int, list[str]] = {}
    for sentence in proof:
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
