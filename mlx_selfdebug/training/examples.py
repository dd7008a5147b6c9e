"""Pairs as token ids. Prompt and completion are encoded apart and joined, so the prompt's ids are those sampling used."""

from __future__ import annotations

from collections.abc import Iterable

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.training.loss import Example
from mlx_selfdebug.training.pair import Pair


def encode_pair(model: Model, pair: Pair) -> Example:
    """prompt ids + completion ids + end of turn."""
    prompt = model.render([{"role": "user", "content": pair.prompt}], reply_prefix=domain_of(pair.domain).reply_prefix)
    completion = [*model.encode(pair.target), model.tokenizer.eos_token_id]
    return Example((*prompt, *completion), len(prompt))


def encode_pairs(model: Model, pairs: Iterable[Pair], max_length: int) -> tuple[list[Example], list[Pair]]:
    """The examples, and the pairs left out because they are longer than ``max_length`` tokens."""
    kept, left_out = [], []
    for pair in pairs:
        example = encode_pair(model, pair)
        if len(example.ids) <= max_length:
            kept.append(example)
        else:
            left_out.append(pair)
    return kept, left_out
