"""Pairs as token ids. Prompt and completion are encoded apart and joined, so the prompt's ids are those sampling used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.training.pair import Pair

if TYPE_CHECKING:
    from mlx_selfdebug.models.load import Model


@dataclass(frozen=True)
class Example:
    """Token ids of prompt + completion + end of turn; the completion starts at ``start`` (>= 1). ``name`` says whose it is."""

    ids: tuple[int, ...]
    start: int
    name: str = ""

    @property
    def n_supervised(self) -> int:
        return len(self.ids) - self.start


def encode_pair(model: Model, pair: Pair) -> Example:
    """prompt ids + completion ids + end of turn."""
    prompt = model.render([{"role": "user", "content": pair.prompt}], reply_prefix=domain_of(pair.domain).reply_prefix)
    completion = [*model.encode(pair.target), model.tokenizer.eos_token_id]
    return Example((*prompt, *completion), len(prompt), f"{pair.kind} {pair.task_id}")


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
