"""Decode one batch of requests side by side, each row handed out as it ends.

What a batch computes depends on its requests alone: the same list gives the same tokens in any process on the same
machine and libraries, which is what lets a killed run finish with the rows it would have had. Requests that share a prompt
pay its prefill once. Rows that end leave the batch; none join it (a continuous batch is not built yet).
All work is on the calling thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

import numpy as np
from mlx_lm.models.cache import make_prompt_cache

from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.sampling.language_model import DecodableModel
from mlx_selfdebug.sampling.request import Completion, Finish, Request
from mlx_selfdebug.sampling.sampler import Sampler

PREFILL_CHUNK = 512
STOP_TAIL = 12
"""Tokens looked back over for ``stop_text``: more than any stop text of a few characters can span."""


def decode_batch(model: DecodableModel, requests: Sequence[Request]) -> Iterator[Completion]:
    """Decode ``requests`` together and yield each completion as it ends.

    Raises ModelError for an empty prompt, a prompt beyond the model's context, or logits that are not numbers.
    """
    if not requests:
        return
    _refuse(model, requests)
    rows = [_Row(i, r) for i, r in enumerate(requests)]
    cache = _prefill(model.network, [r.prompt for r in requests])
    sampler = Sampler(requests)
    tokens = mx.array([r.prompt[-1] for r in requests])
    position = 0
    while rows:
        logits = model.network(tokens[:, None], cache=cache)[:, -1]
        tokens = sampler.draw(logits, position)
        sane = mx.all(mx.isfinite(mx.max(logits, axis=-1)))
        mx.eval(tokens, sane)
        if not sane.item():
            raise ModelError(f"{model.name} gave logits that are not numbers at position {position} of a completion")
        position += 1
        kept: list[int] = []
        for i, (row, token) in enumerate(zip(rows, np.array(tokens).tolist(), strict=True)):
            completion = row.push(token, model)
            if completion is None:
                kept.append(i)
            else:
                yield completion
        if len(kept) < len(rows):
            rows = [rows[i] for i in kept]
            tokens = _keep(cache, sampler, tokens, kept)


class _Row:
    def __init__(self, index: int, request: Request) -> None:
        self.index = index
        self.request = request
        self.tokens: list[int] = []

    def push(self, token: int, model: DecodableModel) -> Completion | None:
        """Take one token; the completion if it ended with it."""
        self.tokens.append(token)
        stop = self.request.stop_text
        if token in model.eos_ids:
            return self._end(model.decode(self.tokens[:-1]), "stop")
        if stop and stop in model.decode(self.tokens[-STOP_TAIL:]):
            text = model.decode(self.tokens)
            if stop in text:
                return self._end(text[: text.index(stop)], "fence")
        if len(self.tokens) >= self.request.max_tokens:
            return self._end(model.decode(self.tokens), "length")
        return None

    def _end(self, text: str, finish: Finish) -> Completion:
        return Completion(self.index, text, len(self.tokens), finish)


def _refuse(model: DecodableModel, requests: Sequence[Request]) -> None:
    context = int(model.config.get("max_position_embeddings", 1 << 30))
    for request in requests:
        need = len(request.prompt) + request.max_tokens
        if not request.prompt:
            raise ModelError("an empty prompt cannot be completed")
        if need > context:
            raise ModelError(
                f"a prompt of {len(request.prompt)} tokens and {request.max_tokens} to decode exceed the context of "
                f"{model.name}, {context} tokens",
                hint="lower max_tokens or shorten the task",
            )


def _prefill(network: nn.Module, prompts: Sequence[tuple[int, ...]]) -> list[Any]:
    """Caches of the whole batch, each distinct prompt computed once up to its last token."""
    single: dict[tuple[int, ...], list[Any]] = {}
    for prompt in prompts:
        if prompt not in single:
            single[prompt] = _prefill_one(network, prompt)
    stacked = zip(*(single[prompt] for prompt in prompts), strict=True)
    cache = [type(layer[0]).merge(layer) for layer in stacked]
    mx.eval([c.state for c in cache])
    return cache


def _prefill_one(network: nn.Module, prompt: tuple[int, ...]) -> list[Any]:
    cache: list[Any] = make_prompt_cache(network)
    body = prompt[:-1]
    for start in range(0, len(body), PREFILL_CHUNK):
        network(mx.array(body[start : start + PREFILL_CHUNK])[None], cache=cache)
        # Only the caches are evaluated, so that the head is never computed.
        mx.eval([c.state for c in cache])
    return cache


def _keep(cache: list[Any], sampler: Sampler, tokens: mx.array, kept: list[int]) -> mx.array:
    rows = mx.array(kept, dtype=mx.int32)
    if not kept:
        return tokens
    for layer in cache:
        layer.filter(rows)
    sampler.keep(rows)
    return tokens[rows]
