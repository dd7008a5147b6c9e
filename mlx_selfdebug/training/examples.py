"""Pairs as token ids, with a weight for each token of the completion.

Prompt and completion are encoded apart and joined, so the prompt's ids are those that sampling used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rapidfuzz.distance import Levenshtein

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.values.pair import Pair

if TYPE_CHECKING:
    from mlx_selfdebug.models.load import Model


@dataclass(frozen=True)
class Example:
    """Token ids of prompt, completion and end of turn; the completion begins at ``start`` (at least 1).

    ``weights`` has the weight of each token from ``start`` on in the loss: 1 where nothing else is said, 0 for a token that is not
    supervised, below 0 for one that is to become less likely. Empty: all of them are 1. ``name`` says whose example it is.
    """

    ids: tuple[int, ...]
    start: int
    name: str = ""
    weights: tuple[float, ...] = ()

    @property
    def n_supervised(self) -> int:
        """Tokens of the completion that have a weight."""
        return sum(weight != 0 for weight in self.weights) if self.weights else len(self.ids) - self.start

    @property
    def total_weight(self) -> float:
        """What the example's summed loss is to be divided by for a mean: the sum of its weights' magnitudes."""
        return sum(map(abs, self.weights)) if self.weights else float(len(self.ids) - self.start)


def encode_pair(model: Model, pair: Pair, failed: str = "", copied_weight: float = 1.0) -> Example:
    """Return the example of ``pair``: prompt ids, completion ids, end of turn.

    ``failed`` is the failed code that a repair or bug pair shows: tokens of the target that are copied from it weigh
    ``copied_weight``, and those that change it 1.
    """
    domain = domain_of(pair.domain)
    prompt = model.render([{"role": "user", "content": pair.prompt}], reply_prefix=domain.reply_prefix)
    end = model.tokenizer.eos_token_id
    completion = [*model.encode(pair.target), end]
    weights: tuple[float, ...] = ()
    if failed and copied_weight != 1.0:
        weights = change_weights([*model.encode(domain.completion(failed)), end], completion, copied_weight)
        # A target that only copies what was shown is learned like any other.
        weights = weights if 1.0 in weights else ()
    return Example((*prompt, *completion), len(prompt), f"{pair.kind} {pair.task_id}", weights)


def change_weights(failed: list[int], target: list[int], copied_weight: float) -> tuple[float, ...]:
    """Return a weight for each token of ``target``: 1 where it differs from ``failed``, ``copied_weight`` where it is copied.

    The two are aligned by the fewest insertions, deletions and replacements of tokens. Where tokens of ``failed`` are left out, the
    token that follows instead of them is the change.
    """
    weights = [copied_weight] * len(target)
    for edit in Levenshtein.opcodes(failed, target):
        if edit.tag == "delete":
            weights[min(edit.dest_start, len(target) - 1)] = 1.0
        elif edit.tag != "equal":
            weights[edit.dest_start : edit.dest_end] = [1.0] * (edit.dest_end - edit.dest_start)
    return tuple(weights)


def encode_pairs(
    model: Model,
    pairs: Iterable[Pair],
    max_length: int,
    failed: Mapping[str, str] | None = None,
    copied_weight: float = 1.0,
) -> tuple[list[Example], list[Pair]]:
    """Return the examples, and the pairs left out because they are longer than ``max_length`` tokens.

    ``failed`` has codes by the ids of their attempts; the failed attempt of a repair or bug pair is looked up there.
    """
    kept, left_out = [], []
    for pair in pairs:
        shown = (failed or {}).get(pair.attempts[0], "") if pair.kind in ("repair", "bug") and pair.attempts else ""
        example = encode_pair(model, pair, shown, copied_weight)
        if len(example.ids) <= max_length:
            kept.append(example)
        else:
            left_out.append(pair)
    return kept, left_out
