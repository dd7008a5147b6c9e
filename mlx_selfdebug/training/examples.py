"""Encode pairs as token ids, with a weight for each token of the completion.

Prompt and completion are encoded separately and then joined, so that the prompt has the same ids as in sampling.

The target of a repair repeats most of the failed code. With a ``copied_weight`` below 1, the tokens that are copied count less than
those that change the code. For a failed ``return a - b`` and the target ``return a + b``, only ``+`` has the full weight.
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
    """A pair as token ids, with the weights of its completion in the loss."""

    ids: tuple[int, ...]
    """The tokens of the prompt, the completion and the end of turn."""
    start: int
    """The position in ``ids`` at which the completion begins, at least 1."""
    name: str = ""
    """The pair's kind and task, for messages."""
    weights: tuple[float, ...] = ()
    """The weight of each token from ``start`` on; empty if all weigh 1.

    A token of weight 0 is not supervised, and one of negative weight is made less likely. Pairs only ever give weights from 0 to 1;
    negative ones are for rewards.
    """
    base_prompt: tuple[int, ...] = ()
    """The tokens of the prompt of the task alone, on which the base is read in order to imitate it; empty if it is not imitated."""

    @property
    def completion(self) -> tuple[int, ...]:
        """The tokens of the completion and the end of turn."""
        return self.ids[self.start :]

    @property
    def n_supervised(self) -> int:
        """The number of completion tokens whose weight is not 0."""
        return sum(weight != 0 for weight in self.weights) if self.weights else len(self.ids) - self.start

    @property
    def total_weight(self) -> float:
        """The sum of the weights' magnitudes. A summed loss divided by it is the weighted mean."""
        return sum(map(abs, self.weights)) if self.weights else float(len(self.ids) - self.start)


def encode_pair(
    model: Model, pair: Pair, failed: str = "", copied_weight: float = 1.0, *, distilled: bool = False
) -> Example:
    """Return ``pair`` as token ids.

    Args:
        model: the model whose tokenizer and chat template are used.
        pair: the pair.
        failed: the failed code that a repair or bug pair shows; "" for other pairs.
        copied_weight: the weight of the target's tokens that are copied from ``failed``. All other tokens weigh 1.
        distilled: whether the example also has the prompt of the task alone, on which the base is imitated.
    """
    domain = domain_of(pair.domain)
    prompt = model.render([{"role": "user", "content": pair.prompt}], reply_prefix=domain.reply_prefix)
    end = model.tokenizer.eos_token_id
    completion = [*model.encode(pair.target), end]
    weights: tuple[float, ...] = ()
    if failed and copied_weight != 1.0:
        weights = change_weights([*model.encode(domain.completion(failed)), end], completion, copied_weight)
        # A target that changes nothing has no tokens to stress, so all of its tokens weigh 1.
        weights = weights if 1.0 in weights else ()
    base_prompt: list[int] = []
    if distilled and pair.task_prompt:
        base_prompt = model.render([{"role": "user", "content": pair.task_prompt}], reply_prefix=domain.reply_prefix)
    return Example(
        (*prompt, *completion), len(prompt), f"{pair.kind} {pair.task_id}", weights, base_prompt=tuple(base_prompt)
    )


def change_weights(failed: list[int], target: list[int], copied_weight: float) -> tuple[float, ...]:
    """Return a weight for each token of ``target``: ``copied_weight`` if it is copied from ``failed``, and 1 if it is a change.

    The two are aligned by the fewest insertions, deletions and replacements of tokens. A deletion has no token of its own in
    ``target``, so the token of ``target`` that follows the deletion counts as the change.
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
    codes: Mapping[str, str] | None = None,
    copied_weight: float = 1.0,
    *,
    distilled: bool = False,
) -> tuple[list[Example], list[Pair]]:
    """Return the examples of ``pairs``, and the pairs that are left out because they are longer than ``max_length`` tokens.

    ``codes`` maps the ids of attempts to their code. The failed code of a repair or bug pair is looked up there. For
    ``copied_weight`` and ``distilled`` see ``encode_pair``.
    """
    kept, left_out = [], []
    for pair in pairs:
        # The failed attempt is the first of those that a repair or bug pair was made from.
        has_failed = pair.kind in ("repair", "bug") and len(pair.attempts) > 0
        failed = (codes or {}).get(pair.attempts[0], "") if has_failed else ""
        example = encode_pair(model, pair, failed, copied_weight, distilled=distilled)
        if len(example.ids) <= max_length:
            kept.append(example)
        else:
            left_out.append(pair)
    return kept, left_out
