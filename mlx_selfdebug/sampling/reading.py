"""Read a given program: run the model over it in one pass, as if the program were its own completion of a prompt.

For every token of the program, a reading says how likely the model found it at its place, and which other tokens the model would
rather have written. The prompt's keys and values are computed once and shared, its positions never reach the head, and only the
likeliest tokens of each distribution are kept. The likelihood of any other token at any place can still be computed, by one dot
product.

    >>> reading = read(model, prompt_ids, program_ids)                                  # doctest: +SKIP
    >>> reading.log_likelihood[3], reading.others[3, 0]                                 # doctest: +SKIP
    (-6.2, 400)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from mlx_selfdebug.models.backend import mx

import numpy as np
import numpy.typing as npt

from mlx_selfdebug.errors import ModelError, UnreadableError
from mlx_selfdebug.models.activations import exp_here
from mlx_selfdebug.models.attention import quick_attention
from mlx_selfdebug.models.trunk import Parts, parts_of
from mlx_selfdebug.sampling.decodable import DecodableModel
from mlx_selfdebug.sampling.prefixes import LayerCache, Prefixes
from mlx_selfdebug.sampling.sampler import BLOCK

OTHERS = 16
"""The number of likeliest other tokens that are kept for each place."""
HEAD_ROWS = 64
"""The number of positions that go through the head at a time. With a vocabulary of 150,000 tokens, their logits take 40 MB."""

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Reading:
    """What a model says about a program of n tokens: how likely each token is, and which tokens would be likelier."""

    ids: Ids
    """The tokens of the program, of shape (n,)."""
    log_likelihood: Floats
    """The log-likelihood of each token in nats, given the prompt and all tokens before it, of shape (n,)."""
    others: Ids
    """For each place, the k likeliest tokens other than the program's own, the likeliest first: shape (n, k)."""
    others_log_likelihood: Floats
    """The log-likelihood of each of ``others`` in nats, of shape (n, k)."""
    n_prompt: int
    """The number of tokens of the prompt."""
    _likelihoods: _Likelihoods = field(repr=False)
    """Computes the likelihood of any other token."""

    def __len__(self) -> int:
        return int(self.ids.size)

    @property
    def surprise(self) -> Floats:
        """The nats by which the likeliest other token at each place is likelier than the program's token: shape (n,).

        The value is negative where the program's token is the likeliest.
        """
        likeliest: Floats = self.others_log_likelihood[:, 0]
        return likeliest - self.log_likelihood

    def log_likelihood_of(self, places: Sequence[int], ids: Sequence[int]) -> Floats:
        """Return the log-likelihood in nats of token ``ids[i]`` at place ``places[i]`` of the program, for each i.

        The token follows the prompt and the program's tokens before the place. Places count from 0. Place n, after the last token,
        is the end of the program. The result has shape (len(places),).
        """
        return self._likelihoods.log_likelihood_of(np.asarray(places, np.int64), np.asarray(ids, np.int64))


class _Likelihoods(Protocol):
    """The source of the likelihoods of arbitrary tokens."""

    def log_likelihood_of(self, places: Ids, ids: Ids) -> Floats:
        """Return the log-likelihood in nats of each of ``ids`` at the place of the same index; see :class:`Reading`."""


def indifferent_reading(program: Sequence[int], n_prompt: int = 0, nats: float = -1.0, *, n_others: int = 1) -> Reading:
    """Return the reading of a model that finds every token as likely as any other.

    It replaces a real reading where no model has read the program.

    Args:
        program: the token ids of the program.
        n_prompt: the number of tokens of the prompt.
        nats: the log-likelihood of every token.
        n_others: the number of other tokens at each place, 0 or 1.
    """
    n, ids = len(program), np.asarray(program, np.int64)
    # Any id serves as the other token if it is not the program's own. In ScriptedModel, these ids spell "x" and "y".
    others = np.where(ids == 120, 121, 120)[:, None][:, :n_others]
    others_log_likelihood = np.full((n, n_others), nats, np.float32)
    return Reading(ids, np.full(n, nats, np.float32), others, others_log_likelihood, n_prompt, _Indifferent(nats))


@dataclass(frozen=True)
class _Indifferent:
    """Likelihoods that are the same for every token at every place."""

    nats: float

    def log_likelihood_of(self, places: Ids, ids: Ids) -> Floats:  # noqa: ARG002
        return np.full(places.shape, self.nats, np.float32)


class _States:
    """The hidden states of a reading, from which the likelihood of any token is computed.

    Args:
        parts: the network's trunk and head, or None if they are not known.
        states: the hidden states, of shape (n + 1, size). Without ``parts`` they are the logits, of shape (n + 1, vocabulary).
        log_total: the logarithm of the sum of the exponentiated logits of each place, of shape (n + 1,).
    """

    def __init__(self, parts: Parts | None, states: mx.array, log_total: Floats) -> None:
        self._parts, self._states, self._log_total = parts, states, log_total

    def log_likelihood_of(self, places: Ids, ids: Ids) -> Floats:
        """Return the log-likelihoods, with one dot product for each token."""
        if not places.size:
            return np.zeros(0, np.float32)
        states = self._states[mx.array(places)].astype(mx.float32)
        if self._parts is None:
            logits = mx.take_along_axis(states, mx.array(ids)[:, None], axis=-1)[:, 0]
        else:
            logits = mx.sum(states * self._parts.rows(mx.array(ids)).astype(mx.float32), axis=-1)
        return np.array(logits) - self._log_total[places]


def read(model: DecodableModel, prompt: Sequence[int], program: Sequence[int], *, others: int = OTHERS) -> Reading:
    """Read ``program`` as the completion of ``prompt``, and keep the ``others`` likeliest other tokens for each place.

    Both are token ids. The model must do nothing else meanwhile; use ``BatchDecoder.read`` for a model that also decodes.

    Raises:
        UnreadableError: the prompt or the program is empty, or together they do not fit the model's context.
        ModelError: the model's logits are not numbers.
    """
    reader = Reader(model, Prefixes(model.network, chunk=512, max_bytes=1))
    return reader.read(tuple(prompt), tuple(program), others=others)


class Reader:
    """A reader of programs that keeps the keys and values of prompts and programs in ``prefixes``."""

    def __init__(self, model: DecodableModel, prefixes: Prefixes) -> None:
        self._model, self._prefixes = model, prefixes
        self._parts = parts_of(model.network)
        self._forward = model.network if self._parts is None else self._parts.trunk

    def read(
        self, prompt: tuple[int, ...], program: tuple[int, ...], breaks: Sequence[int] = (), *, others: int = OTHERS
    ) -> Reading:
        """Read ``program`` as the completion of ``prompt``, as :func:`read` does.

        ``breaks`` are positions in the prompt up to which other prompts may be the same. The keys and values of prompt and
        program stay with the prefixes, so that a fork may continue from them.
        """
        _require_room(self._model, prompt, program)
        pieces: list[mx.array] = []

        def forward(ids: mx.array, cache: list[LayerCache]) -> None:
            pieces.append(self._forward(ids, cache=cache)[0])

        self._prefixes.whole(prompt + program, self._cuts(prompt, breaks), forward)
        states = mx.concatenate(pieces)
        mx.eval(states)
        return self._reading(states, program, others, len(prompt))

    def log_likelihood(
        self, prompt: tuple[int, ...], reading: Reading, program: tuple[int, ...], breaks: Sequence[int] = ()
    ) -> float:
        """Return the log-likelihood of ``program`` as the completion of ``prompt``, in nats.

        ``reading`` is the reading of another program under the same prompt. The tokens that both programs begin with are not
        computed again, unless the network has a recurrent state.
        """
        read_ids = tuple(reading.ids.tolist())
        n_same = _n_same(read_ids, program)
        same_nats = float(reading.log_likelihood[:n_same].sum())
        if n_same == len(program):
            return same_nats
        # The token before the first different one is computed again, because its output predicts the different one.
        n_cached = len(prompt) + n_same - 1
        caches = self._prefixes.beginning(prompt + read_ids, self._cuts(prompt, breaks), n_cached)
        if caches is None:
            return float(self.read(prompt, program, breaks, others=1).log_likelihood.sum())
        tokens = (prompt + program)[n_cached:]
        with quick_attention(self._model.network):
            states: mx.array = self._forward(mx.array(list(tokens[:-1]))[None], cache=caches)[0]
        own = mx.array(list(tokens[1:]))[:, None]
        nats = []
        for start in range(0, len(tokens) - 1, HEAD_ROWS):
            logits = self._head(states[start : start + HEAD_ROWS]).astype(mx.float32)
            own_logits = mx.take_along_axis(logits, own[start : start + HEAD_ROWS], axis=-1)[:, 0]
            nats.append(own_logits - _log_total(logits))
        return same_nats + float(np.array(mx.sum(mx.concatenate(nats))))

    @staticmethod
    def _cuts(prompt: tuple[int, ...], breaks: Sequence[int]) -> set[int]:
        """Return the positions at which prompt and program are cut into pieces that are computed one after the other.

        The last token of the prompt belongs to the program's piece, because its output predicts the program's first token.
        """
        return {*(end for end in breaks if end < len(prompt)), len(prompt) - 1} - {0}

    def _head(self, states: mx.array) -> mx.array:
        """Return the logits of hidden states. If the network's parts are not known, the states are logits already."""
        return states if self._parts is None else self._parts.head(states)

    def _reading(self, states: mx.array, program: tuple[int, ...], n_others: int, n_prompt: int) -> Reading:
        """Return the reading of ``program``, where ``states`` predict its tokens and what would follow them."""
        # The last row, after the program's end, is only needed for its log_total. Its own token may be any.
        n, own = len(program), np.asarray([*program, program[-1]], np.int64)
        distributions = [
            _distributions(self._head(states[start : start + HEAD_ROWS]), own[start : start + HEAD_ROWS], n_others)
            for start in range(0, n + 1, HEAD_ROWS)
        ]
        own_logits, others, others_logits, log_total = (
            np.concatenate(arrays) for arrays in zip(*distributions, strict=True)
        )
        if not np.isfinite(log_total).all():
            position = int(np.flatnonzero(~np.isfinite(log_total))[0])
            raise ModelError(f"{self._model.name} gave logits that are not numbers at position {position} of a program")
        return Reading(
            ids=own[:n],
            log_likelihood=(own_logits - log_total)[:n],
            others=others[:n],
            others_log_likelihood=(others_logits - log_total[:, None])[:n],
            n_prompt=n_prompt,
            _likelihoods=_States(self._parts, states, log_total),
        )


class _Distributions(NamedTuple):
    """What a reading keeps of the logits of several positions."""

    own_logits: Floats
    """The logits of the program's own tokens, of shape (rows,)."""
    others: Ids
    """The ids of the likeliest other tokens, of shape (rows, k)."""
    others_logits: Floats
    """The logits of ``others``, of shape (rows, k)."""
    log_total: Floats
    """The logarithm of the sum of the exponentiated logits, of shape (rows,)."""


def _distributions(logits: mx.array, own: Ids, n_others: int) -> _Distributions:
    """Return what a reading keeps of ``logits`` (rows, vocabulary), where the program's tokens are ``own`` (rows,)."""
    logits = logits.astype(mx.float32)
    index = mx.array(own)[:, None]
    own_logits = mx.take_along_axis(logits, index, axis=-1)[:, 0]
    log_total = _log_total(logits)
    without_own = mx.put_along_axis(logits, index, mx.array(-float("inf")), axis=-1)
    others, others_logits = _likeliest(without_own, n_others)
    mx.eval(own_logits, log_total, others, others_logits)
    return _Distributions(
        np.array(own_logits), np.array(others).astype(np.int64), np.array(others_logits), np.array(log_total)
    )


def _log_total(logits: mx.array) -> mx.array:
    """Return the logarithm of the sum of the exponentiated logits of each row."""
    highest = mx.max(logits, axis=-1, keepdims=True)
    return mx.log(mx.sum(exp_here(logits - highest), axis=-1)) + highest[:, 0]


def _likeliest(logits: mx.array, n: int) -> tuple[mx.array, mx.array]:
    """Return the ids and the values of the ``n`` largest logits of each row, the largest first: shape (rows, n) each.

    The n largest are in the n blocks with the largest maxima. So only the maxima and these blocks are sorted, and never a whole
    vocabulary of 150,000 tokens.
    """
    rows, size = logits.shape
    n = min(n, size - 1)
    missing = -size % BLOCK
    if missing:
        logits = mx.pad(logits, [(0, 0), (0, missing)], constant_values=-float("inf"))
    blocks = logits.reshape(rows, -1, BLOCK)
    n_blocks = min(n, blocks.shape[1])
    chosen = mx.argsort(-mx.max(blocks, axis=-1), axis=-1)[:, :n_blocks]
    ids = (chosen[..., None] * BLOCK + mx.arange(BLOCK, dtype=chosen.dtype)).reshape(rows, -1)
    values = mx.take_along_axis(blocks, chosen[..., None], axis=1).reshape(rows, -1)
    order = mx.argsort(-values, axis=-1)[:, :n]
    return mx.take_along_axis(ids, order, axis=-1), mx.take_along_axis(values, order, axis=-1)


def _n_same(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """Return the number of tokens that both programs begin with."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))


def _require_room(model: DecodableModel, prompt: Sequence[int], program: Sequence[int]) -> None:
    """Raise UnreadableError if prompt or program is empty, or if together they do not fit the model's context."""
    if not prompt:
        raise UnreadableError("a program cannot be read without a prompt")
    if not program:
        raise UnreadableError("an empty program cannot be read")
    if len(prompt) + len(program) > model.context:
        raise UnreadableError(
            f"a prompt of {len(prompt):,} tokens and a program of {len(program):,} exceed the context of {model.name}, "
            f"{model.context:,} tokens",
            hint="shorten the task or the program",
        )
