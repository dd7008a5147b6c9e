"""Compute each prompt once: keep its cache up to each of its breaks for other prompts that begin in the same way.

A break is a position up to which other prompts may be the same. Tokens are computed in pieces that end at the breaks, and the cache
after each piece is kept. The least recently used caches are dropped first:

    prefixes.caches((1, 2, 3, 4, 5), breaks=[2])    # computes 1 2 and then 3 4; the last token is left to the decode batch
    prefixes.caches((1, 2, 7, 8), breaks=[2])       # takes over 1 2, and computes 7

The pieces depend only on the tokens and their breaks, never on what is kept. Each attempt is therefore computed in the same pieces,
and with the same numbers, whatever ran before it.

A fork continues from the middle of a program that was read. The keys and values of a position do not depend on what comes after
it, so the fork takes over the keys and values of its beginning from the reading of the whole program. This is impossible for a
recurrent state, which exists only for the end of what was computed. With such a network, the beginnings that the forks need are
computed anew, each on top of the one before.
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
"""Token ids."""
LayerCache = Any
"""mlx-lm's cache of one layer: a ``KVCache``, or an ``ArraysCache`` for a recurrent state."""
Forward = Callable[..., object]
"""A function that takes ids of shape (1, length) and, as ``cache``, the caches to add to, one per layer."""
_Key = tuple[Tokens, tuple[int, ...]]
"""Tokens, and the positions where their pieces end. The same tokens in other pieces give other numbers in the last digits."""


class Prefixes:
    """The caches of prompts and programs, computed when they are first needed and then kept.

    Args:
        network: the network that computes them.
        chunk: the maximum number of tokens that are computed at a time.
        max_bytes: the maximum number of bytes of caches that are kept. The latest cache is kept in any case.
    """

    def __init__(self, network: nn.Module, chunk: int, max_bytes: int) -> None:
        self.n_computed = 0
        """The number of tokens that were computed so far."""
        self._network = network
        self._chunk = chunk
        self._max_bytes = max_bytes
        self._kept: OrderedDict[_Key, list[LayerCache]] = OrderedDict()
        """The caches of all layers, the ones that were used last at the end."""
        self._bytes = 0
        """The bytes of the caches that are kept."""
        self._is_recurrent = any(isinstance(cache, ArraysCache) for cache in self._new())

    def for_request(self, request: Request) -> list[LayerCache]:
        """Return caches that hold at least all tokens of ``request`` but the last one. They must not be written to."""
        breaks = {end for end in request.breaks if end < len(request.prompt)}
        if request.given:
            breaks.add(len(request.prompt) - 1)  # The reading of a program is cut there too (``Reader``).
        if request.read and not self._is_recurrent:
            return self.whole(request.read, breaks)
        if request.read:
            breaks |= set(request.read_breaks)
        return self.caches(request.prompt + request.given, breaks)

    def caches(self, prompt: Tokens, breaks: Iterable[int]) -> list[LayerCache]:
        """Return the caches of ``prompt`` without its last token, one per layer. They must not be written to."""
        return self._up_to(len(prompt) - 1, prompt, breaks)

    def whole(self, tokens: Tokens, breaks: Iterable[int], forward: Forward | None = None) -> list[LayerCache]:
        """Return the caches of all of ``tokens``, including the last one. They must not be written to.

        If ``forward`` is given, it computes the tokens after the last break instead of the network, at most ``chunk`` tokens at a
        time, even if their caches are kept already. In this way a caller can look at what the network returns for these tokens,
        and still leaves their caches here.
        """
        return self._up_to(len(tokens), tokens, breaks, forward)

    def beginning(self, tokens: Tokens, breaks: Iterable[int], n: int) -> list[LayerCache] | None:
        """Return caches of the first ``n`` of ``tokens``, cut from the caches of all of them. They may be written to.

        Returns None for a network with a recurrent state, which cannot be cut back.
        """
        if self._is_recurrent:
            return None
        caches = [_copy(cache) for cache in self.whole(tokens, breaks)]
        for cache in caches:
            cache.keys, cache.values, cache.offset = cache.keys[..., :n, :], cache.values[..., :n, :], n
        return caches

    def _up_to(
        self, last: int, tokens: Tokens, breaks: Iterable[int], forward: Forward | None = None
    ) -> list[LayerCache]:
        """Return the caches of ``tokens[:last]``, which are cut at the breaks. For ``forward`` see :meth:`whole`."""
        ends = [end for end in sorted({*breaks, last}) if 0 < end <= last]
        n_kept, caches = self._longest_kept(tokens, ends[:-1] if forward else ends)
        start = ends[n_kept - 1] if n_kept else 0
        for i in range(n_kept, len(ends)):
            compute = forward if forward and ends[i] == last else self._network
            caches = self._extended(caches, tokens[start : ends[i]], compute)
            self._keep((tokens[: ends[i]], tuple(ends[: i + 1])), caches)
            start = ends[i]
        return caches

    def _longest_kept(self, tokens: Tokens, ends: list[int]) -> tuple[int, list[LayerCache]]:
        """Return how many of the pieces that end at ``ends`` are kept, counted from the first, and the caches of these pieces."""
        for n in range(len(ends), 0, -1):
            key = tokens[: ends[n - 1]], tuple(ends[:n])
            if key in self._kept:
                self._kept.move_to_end(key)
                return n, self._kept[key]
        return 0, self._new()

    def _extended(self, caches: list[LayerCache], tokens: Tokens, forward: Forward) -> list[LayerCache]:
        """Return copies of ``caches`` to which ``forward`` has added ``tokens``."""
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

    def _keep(self, key: _Key, caches: list[LayerCache]) -> None:
        """Keep ``caches``, and drop as many of the least recently used ones as it takes to stay within ``max_bytes``."""
        self._bytes -= _bytes(self._kept.pop(key, []))
        self._kept[key] = caches
        self._bytes += _bytes(caches)
        while self._bytes > self._max_bytes and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= _bytes(dropped)

    def _new(self) -> list[LayerCache]:
        """Return empty caches."""
        # A layer with a sliding window keeps all of its keys. The decode batch's mask hides those outside the window.
        caches = make_prompt_cache(self._network)
        return [KVCache() if isinstance(cache, RotatingKVCache) else cache for cache in caches]


def _copy(cache: LayerCache) -> LayerCache:
    """Return a copy of ``cache`` that may be written to.

    The two can share their arrays, because a KVCache without spare room makes new arrays when it grows, and a recurrent state is
    replaced as a whole.
    """
    if isinstance(cache, ArraysCache):
        copy = ArraysCache(len(cache.cache))
        copy.cache = list(cache.cache)
        return copy
    copy = KVCache()
    copy.keys, copy.values, copy.offset = cache.keys, cache.values, cache.offset
    return copy


def _trim(cache: LayerCache) -> None:
    """Cut off the spare room after the last token, so that arrays that several caches share are never written to."""
    if isinstance(cache, KVCache) and cache.keys is not None:
        cache.keys = mx.contiguous(cache.keys[..., : cache.offset, :])
        cache.values = mx.contiguous(cache.values[..., : cache.offset, :])


def _bytes(caches: list[LayerCache]) -> int:
    """Return the number of bytes of the caches of all layers."""
    return sum(int(cache.nbytes) for cache in caches)
