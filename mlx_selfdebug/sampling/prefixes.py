"""Prompts computed once: what prompts share up to a break is kept, least recently used first to go.

Where a prompt is cut into pieces depends on the prompt and its breaks alone, never on what is kept: each attempt is computed in the
same pieces whatever ran before it, so its numbers are the same. The last token of a prompt is left to the decode batch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

from mlx_lm.models.cache import ArraysCache, KVCache, RotatingKVCache, make_prompt_cache

Tokens = tuple[int, ...]


class Prefixes:
    """``chunk`` is the most tokens computed at a time, ``most_bytes`` what is kept. ``n_computed`` counts tokens computed."""

    def __init__(self, network: nn.Module, chunk: int, most_bytes: int) -> None:
        self.n_computed = 0
        self._network = network
        self._chunk = chunk
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Tokens, list[Any]] = OrderedDict()
        self._bytes = 0

    def caches(self, prompt: Tokens, breaks: Sequence[int]) -> list[Any]:
        """The caches of ``prompt`` without its last token, one a layer. Not to be written to."""
        ends = [end for end in sorted({*breaks, len(prompt) - 1}) if 0 < end < len(prompt)]
        start, caches = self._longest(prompt, ends)
        for end in ends:
            if end > start:
                caches = self._computed(caches, prompt[start:end])
                self._keep(prompt[:end], caches)
                start = end
        return caches

    def _longest(self, prompt: Tokens, ends: Sequence[int]) -> tuple[int, list[Any]]:
        for end in reversed(ends):
            if prompt[:end] in self._kept:
                self._kept.move_to_end(prompt[:end])
                return end, self._kept[prompt[:end]]
        return 0, self._new()

    def _computed(self, caches: list[Any], tokens: Tokens) -> list[Any]:
        caches = [_copy(cache) for cache in caches]
        for start in range(0, len(tokens), self._chunk):
            self._network(mx.array(tokens[start : start + self._chunk])[None], cache=caches)
            # Only the caches are evaluated, so that the head is never computed.
            mx.eval([cache.state for cache in caches if not cache.empty()])
        self.n_computed += len(tokens)
        for cache in caches:
            _trim(cache)
        mx.eval([cache.state for cache in caches])
        return caches

    def _keep(self, tokens: Tokens, caches: list[Any]) -> None:
        self._kept[tokens] = caches
        self._bytes += _bytes(caches)
        while self._bytes > self._most_bytes and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= _bytes(dropped)

    def _new(self) -> list[Any]:
        # A sliding window is kept whole: the batch's mask says what of it is seen.
        return [KVCache() if isinstance(c, RotatingKVCache) else c for c in make_prompt_cache(self._network)]


def _copy(cache: Any) -> Any:
    """A cache that may be written to. Arrays are shared: a full KVCache makes new ones when it grows, a state is replaced whole."""
    if isinstance(cache, ArraysCache):
        copy = ArraysCache(len(cache.cache))
        copy.cache = list(cache.cache)
        return copy
    copy = KVCache()
    copy.keys, copy.values, copy.offset = cache.keys, cache.values, cache.offset
    return copy


def _trim(cache: Any) -> None:
    """Keep no room after the last token: nothing is then ever written in place."""
    if isinstance(cache, KVCache) and cache.keys is not None:
        cache.keys = mx.contiguous(cache.keys[..., : cache.offset, :])
        cache.values = mx.contiguous(cache.values[..., : cache.offset, :])


def _bytes(caches: list[Any]) -> int:
    return sum(int(cache.nbytes) for cache in caches)
