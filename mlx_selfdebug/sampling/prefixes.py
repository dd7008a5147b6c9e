"""Compute prompts once: keep the caches of what prompts share up to a break, and drop the least recently used ones first.

Where tokens are cut into pieces depends only on the tokens and their breaks, never on what is kept. Each attempt is therefore
computed in the same pieces, and with the same numbers, whatever ran before it. The last token of a request is left to the decode
batch.

A fork goes on from the middle of a program that was read. The keys and values of a position do not depend on what comes after it,
so the fork's beginning is taken from those of the whole reading. A recurrent state holds only the end of what went in. Where a
network has one, the beginnings that the forks need are computed, each on top of the one before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

from mlx_lm.models.cache import ArraysCache, KVCache, RotatingKVCache, make_prompt_cache

from mlx_selfdebug.models.attention import quick_attention
from mlx_selfdebug.sampling.request import Request

Tokens = tuple[int, ...]
Forward = Callable[..., object]
"""A function that takes ids (1, length) and ``cache``, the caches to add to, one per layer."""
_Key = tuple[Tokens, Tokens]
"""The tokens, and where they were cut into pieces: the same tokens in other pieces give other numbers in the last digits."""


class Prefixes:
    """The caches of prompts and programs, computed when they are first needed and then kept.

    At most ``chunk`` tokens are computed at a time, and at most ``max_bytes`` are kept. ``n_computed`` counts the tokens that
    were computed.
    """

    def __init__(self, network: nn.Module, chunk: int, max_bytes: int) -> None:
        self.n_computed = 0
        self._network = network
        self._chunk = chunk
        self._max_bytes = max_bytes
        self._kept: OrderedDict[_Key, list[Any]] = OrderedDict()
        self._bytes = 0
        self._recurrent = any(isinstance(cache, ArraysCache) for cache in self._new())

    def of(self, request: Request) -> list[Any]:
        """Return caches of at least all tokens of ``request`` but the last one. They must not be written to."""
        tokens, breaks = request.prompt + request.given, set(request.breaks)
        if request.given:
            breaks.add(len(request.prompt) - 1)
        if request.read and not self._recurrent:
            return self.whole(request.read, breaks)
        if request.read:
            breaks |= set(request.read_breaks)
        return self.caches(tokens, breaks)

    def caches(self, prompt: Tokens, breaks: Iterable[int]) -> list[Any]:
        """Return the caches of ``prompt`` without its last token, one per layer. They must not be written to."""
        return self._up_to(len(prompt) - 1, prompt, breaks)

    def whole(self, tokens: Tokens, breaks: Iterable[int], through: Forward | None = None) -> list[Any]:
        """Return the caches of all of ``tokens``, including the last one. They must not be written to.

        If ``through`` is given, the tokens after the last break go through it, in pieces of at most ``chunk`` tokens, even if
        their caches are kept already. A caller that reads these tokens can thus see what comes out of the network, and still
        leaves their caches here.
        """
        return self._up_to(len(tokens), tokens, breaks, through)

    def beginning(self, tokens: Tokens, breaks: Iterable[int], n: int) -> list[Any] | None:
        """Return caches of the first ``n`` of ``tokens`` that may be written to, cut from the caches of all of them.

        Returns None for a network with a recurrent state, which cannot be cut back.
        """
        if self._recurrent:
            return None
        caches = [_copy(cache) for cache in self.whole(tokens, breaks)]
        for cache in caches:
            cache.keys, cache.values, cache.offset = cache.keys[..., :n, :], cache.values[..., :n, :], n
        return caches

    def _up_to(self, last: int, tokens: Tokens, breaks: Iterable[int], through: Forward | None = None) -> list[Any]:
        ends = [end for end in sorted({*breaks, last}) if 0 < end <= last]
        known = ends[:-1] if through else ends
        n_done, caches = self._longest(tokens, known)
        start = ends[n_done - 1] if n_done else 0
        for i in range(n_done, len(ends)):
            forward = through if through and ends[i] == last else self._network
            caches = self._computed(caches, tokens[start : ends[i]], forward)
            self._keep((tokens[: ends[i]], tuple(ends[: i + 1])), caches)
            start = ends[i]
        return caches

    def _longest(self, tokens: Tokens, ends: list[int]) -> tuple[int, list[Any]]:
        """Return how many of the pieces that end at ``ends`` are kept, counted from the first, and their caches."""
        for n in range(len(ends), 0, -1):
            key = tokens[: ends[n - 1]], tuple(ends[:n])
            if key in self._kept:
                self._kept.move_to_end(key)
                return n, self._kept[key]
        return 0, self._new()

    def _computed(self, caches: list[Any], tokens: Tokens, forward: Forward) -> list[Any]:
        caches = [_copy(cache) for cache in caches]
        with quick_attention(self._network):
            for start in range(0, len(tokens), self._chunk):
                forward(mx.array(tokens[start : start + self._chunk])[None], cache=caches)
                # Only the caches are evaluated, so that the head is never computed.
                mx.eval([cache.state for cache in caches if not cache.empty()])
        self.n_computed += len(tokens)
        for cache in caches:
            _trim(cache)
        mx.eval([cache.state for cache in caches])
        return caches

    def _keep(self, key: _Key, caches: list[Any]) -> None:
        self._bytes -= _bytes(self._kept.pop(key, []))
        self._kept[key] = caches
        self._bytes += _bytes(caches)
        while self._bytes > self._max_bytes and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= _bytes(dropped)

    def _new(self) -> list[Any]:
        # A layer with a sliding window keeps all of its keys: the batch's mask says which of them are seen.
        return [KVCache() if isinstance(c, RotatingKVCache) else c for c in make_prompt_cache(self._network)]


def _copy(cache: Any) -> Any:
    """Return a copy of ``cache`` that may be written to.

    The two can share their arrays, because a full KVCache makes new ones when it grows, and a state is replaced as a whole.
    """
    if isinstance(cache, ArraysCache):
        copy = ArraysCache(len(cache.cache))
        copy.cache = list(cache.cache)
        return copy
    copy = KVCache()
    copy.keys, copy.values, copy.offset = cache.keys, cache.values, cache.offset
    return copy


def _trim(cache: Any) -> None:
    """Cut off the room after the last token, so that nothing is ever written in place."""
    if isinstance(cache, KVCache) and cache.keys is not None:
        cache.keys = mx.contiguous(cache.keys[..., : cache.offset, :])
        cache.values = mx.contiguous(cache.values[..., : cache.offset, :])


def _bytes(caches: list[Any]) -> int:
    return sum(int(cache.nbytes) for cache in caches)
