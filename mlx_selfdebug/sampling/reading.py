"""Read a given program: run the model over it in one pass, as if the program were its own completion of a prompt.

For every token of the program, a reading says how likely the model found it there, and what the model would rather have written.
The prompt's keys and values are computed once and shared, its positions never reach the head, and of each distribution only the
likeliest tokens are kept. The likelihood of any other token at any place can still be asked for, at the price of one dot product.

    >>> reading = read(model, prompt_ids, program_ids)                                  # doctest: +SKIP
    >>> reading.log_likelihood[3], reading.others[3, 0]                                 # doctest: +SKIP
    (-6.2, 400)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mlx_selfdebug.models.backend import mx

import numpy as np
import numpy.typing as npt

from mlx_selfdebug.errors import ModelError, UnreadableError
from mlx_selfdebug.models.activations import exp_here
from mlx_selfdebug.models.attention import quick_attention
from mlx_selfdebug.models.trunk import Parts, parts_of
from mlx_selfdebug.sampling.language_model import DecodableModel
from mlx_selfdebug.sampling.prefixes import Prefixes
from mlx_selfdebug.sampling.sampler import BLOCK

OTHERS = 16
"""The number of likeliest other tokens that are kept for each place."""
HEAD_ROWS = 64
"""The positions that go through the head at a time. With a vocabulary of 150,000 tokens, their logits take 40 MB."""

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Reading:
    """A model's view of a program of n tokens: how likely it finds each token, and what it would rather have written."""

    ids: Ids
    """The tokens of the program, shape (n,)."""
    log_likelihood: Floats
    """The log-likelihood of each token in nats, given all tokens before it, shape (n,)."""
    others: Ids
    """For each place, the likeliest tokens that do not stand there, the likeliest first, shape (n, k)."""
    others_log_likelihood: Floats
    """The log-likelihood of each of ``others`` in nats, shape (n, k)."""
    n_prompt: int
    """The number of tokens of the prompt."""
    _states: _Likelihoods = field(repr=False)

    def __len__(self) -> int:
        return int(self.ids.size)

    @property
    def surprise(self) -> Floats:
        """The number of nats by which the likeliest other token is likelier than each token: shape (n,).

        The value is negative where the token itself is the likeliest.
        """
        best: Floats = self.others_log_likelihood[:, 0]
        return best - self.log_likelihood

    def log_likelihood_of(self, places: Sequence[int], ids: Sequence[int]) -> Floats:
        """Return the log-likelihood of token ``ids[i]`` at place ``places[i]`` of the program, given what stands before it.

        The place after the last token is the program's end. The result has shape (len(places),).
        """
        return self._states.log_likelihood_of(np.asarray(places, np.int64), np.asarray(ids, np.int64))


class _Likelihoods(Protocol):
    def log_likelihood_of(self, places: Ids, ids: Ids) -> Floats: ...


def indifferent_reading(program: Sequence[int], n_prompt: int = 0, nats: float = -1.0, *, n_others: int = 1) -> Reading:
    """Return the reading of a model that finds every token as likely as any other.

    It stands for the reading of a program that no model has read. ``n_others`` is the number of other tokens at each place, 0 or 1.
    """
    n, ids = len(program), np.asarray(program, np.int64)
    # Any token will do that does not stand there.
    others = np.where(ids == 120, 121, 120)[:, None][:, :n_others]
    same = np.full((n, n_others), nats, np.float32)
    return Reading(ids, np.full(n, nats, np.float32), others, same, n_prompt, _Indifferent(nats))


@dataclass(frozen=True)
class _Indifferent:
    nats: float

    def log_likelihood_of(self, places: Ids, ids: Ids) -> Floats:  # noqa: ARG002
        return np.full(places.shape, self.nats, np.float32)


class _States:
    """The data that further likelihoods are computed from.

    These are hidden states (n + 1, size), or logits if trunk and head are not known.
    """

    def __init__(self, parts: Parts | None, states: mx.array, log_total: Floats) -> None:
        self._parts, self._states, self._log_total = parts, states, log_total

    def log_likelihood_of(self, places: Ids, ids: Ids) -> Floats:
        if not places.size:
            return np.zeros(0, np.float32)
        rows = self._states[mx.array(places)].astype(mx.float32)
        if self._parts is None:
            wanted = mx.take_along_axis(rows, mx.array(ids)[:, None], axis=-1)[:, 0]
        else:
            wanted = mx.sum(rows * self._parts.rows(mx.array(ids)).astype(mx.float32), axis=-1)
        return np.array(wanted) - self._log_total[places]


def read(model: DecodableModel, prompt: Sequence[int], program: Sequence[int], *, others: int = OTHERS) -> Reading:
    """Read ``program`` as the completion of ``prompt``, both given as token ids.

    The model must do nothing else meanwhile; ``BatchDecoder.read`` is for a model that also decodes. Raises ModelError if one of
    the two is empty, if together they do not fit the model's context, or if the model's logits are not numbers.
    """
    return Reader(model, Prefixes(model.network, chunk=512, max_bytes=1)).read(
        tuple(prompt), tuple(program), others=others
    )


class Reader:
    """A reader of programs with ``model``, which keeps the keys and values of prompts and programs in ``prefixes``."""

    def __init__(self, model: DecodableModel, prefixes: Prefixes) -> None:
        self._model, self._prefixes = model, prefixes
        self._parts = parts_of(model.network)
        self._forward = model.network if self._parts is None else self._parts.trunk

    def read(
        self, prompt: tuple[int, ...], program: tuple[int, ...], breaks: Sequence[int] = (), *, others: int = OTHERS
    ) -> Reading:
        """Read ``program`` as the completion of ``prompt``, and keep the ``others`` likeliest other tokens for each place.

        ``breaks`` are positions in the prompt up to which other prompts may be the same. The keys and values of prompt and
        program stay with the prefixes, so that a fork may continue from them.
        """
        _require_room(self._model, prompt, program)
        states: list[mx.array] = []

        def through(ids: mx.array, cache: list[Any]) -> None:
            states.append(self._forward(ids, cache=cache)[0])

        self._prefixes.whole(prompt + program, self._breaks(prompt, breaks), through)
        all_states = mx.concatenate(states)
        mx.eval(all_states)
        return self._reading(all_states, program, others, len(prompt))

    def log_likelihood(
        self, prompt: tuple[int, ...], reading: Reading, program: tuple[int, ...], breaks: Sequence[int] = ()
    ) -> float:
        """Return the log-likelihood of ``program`` as the completion of ``prompt``, in nats.

        ``reading`` is the reading of another program under the same prompt. The tokens that both programs begin with are not
        computed again, unless the network has a recurrent state.
        """
        read = tuple(reading.ids.tolist())
        n_same = next(
            (i for i, (a, b) in enumerate(zip(read, program, strict=False)) if a != b), min(len(read), len(program))
        )
        if n_same == len(program):
            return float(reading.log_likelihood[:n_same].sum())
        caches = self._prefixes.beginning(prompt + read, self._breaks(prompt, breaks), len(prompt) + n_same - 1)
        if caches is None:
            return float(self.read(prompt, program, breaks, others=1).log_likelihood.sum())
        tokens = (prompt + program)[len(prompt) + n_same - 1 :]
        with quick_attention(self._model.network):
            states: mx.array = self._forward(mx.array(list(tokens[:-1]))[None], cache=caches)[0]
        own = mx.array(list(tokens[1:]))[:, None]
        after = [
            mx.take_along_axis(logits, own[start : start + HEAD_ROWS], axis=-1)[:, 0] - _log_total(logits)
            for start in range(0, len(tokens) - 1, HEAD_ROWS)
            for logits in [self._head(states[start : start + HEAD_ROWS]).astype(mx.float32)]
        ]
        return float(reading.log_likelihood[:n_same].sum()) + float(np.array(mx.sum(mx.concatenate(after))))

    @staticmethod
    def _breaks(prompt: tuple[int, ...], breaks: Sequence[int]) -> set[int]:
        """Return where the tokens are cut. The prompt's last token goes with the program, whose first token it predicts."""
        return {*breaks, len(prompt) - 1} - {0}

    def _head(self, states: mx.array) -> mx.array:
        return states if self._parts is None else self._parts.head(states)

    def _reading(self, states: mx.array, program: tuple[int, ...], n_others: int, n_prompt: int) -> Reading:
        n, own = len(program), np.asarray([*program, program[-1]], np.int64)
        parts = [
            _distributions(self._head(states[start : start + HEAD_ROWS]), own[start : start + HEAD_ROWS], n_others)
            for start in range(0, n + 1, HEAD_ROWS)
        ]
        own_logits, ids, logits, log_total = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        if not np.isfinite(log_total).all():
            at = int(np.flatnonzero(~np.isfinite(log_total))[0])
            raise ModelError(f"{self._model.name} gave logits that are not numbers at position {at} of a program")
        return Reading(
            ids=own[:n],
            log_likelihood=(own_logits - log_total)[:n],
            others=ids[:n],
            others_log_likelihood=(logits - log_total[:, None])[:n],
            n_prompt=n_prompt,
            _states=_States(self._parts, states, log_total),
        )


def _distributions(logits: mx.array, own: Ids, n_others: int) -> tuple[Floats, Ids, Floats, Floats]:
    """Return what a reading keeps of logits (rows, vocabulary).

    These are the logits (rows,) of the program's ``own`` tokens, the ids and the logits (rows, n_others) of the likeliest other
    tokens, and the logarithm (rows,) of the sum of exponentials.
    """
    logits = logits.astype(mx.float32)
    index = mx.array(own)[:, None]
    own_logits = mx.take_along_axis(logits, index, axis=-1)[:, 0]
    log_total = _log_total(logits)
    ids, likeliest = _likeliest(mx.put_along_axis(logits, index, mx.array(-float("inf")), axis=-1), n_others)
    mx.eval(own_logits, log_total, ids, likeliest)
    return np.array(own_logits), np.array(ids).astype(np.int64), np.array(likeliest), np.array(log_total)


def _log_total(logits: mx.array) -> mx.array:
    """Return the logarithm of the sum of exponentials of each row."""
    top = mx.max(logits, axis=-1, keepdims=True)
    return mx.log(mx.sum(exp_here(logits - top), axis=-1)) + top[:, 0]


def _likeliest(logits: mx.array, n: int) -> tuple[mx.array, mx.array]:
    """Return the ids and the values (rows, n) of the ``n`` largest logits of each row, the largest first.

    The n largest lie in the n blocks with the largest maxima, so a vocabulary of 150,000 tokens is never sorted.
    """
    rows, size = logits.shape
    n = min(n, size - 1)
    spare = -size % BLOCK
    if spare:
        logits = mx.pad(logits, [(0, 0), (0, spare)], constant_values=-float("inf"))
    blocks = logits.reshape(rows, -1, BLOCK)
    n_blocks = min(n, blocks.shape[1])
    chosen = mx.argsort(-mx.max(blocks, axis=-1), axis=-1)[:, :n_blocks]
    ids = (chosen[..., None] * BLOCK + mx.arange(BLOCK, dtype=chosen.dtype)).reshape(rows, -1)
    values = mx.take_along_axis(blocks, chosen[..., None], axis=1).reshape(rows, -1)
    order = mx.argsort(-values, axis=-1)[:, :n]
    return mx.take_along_axis(ids, order, axis=-1), mx.take_along_axis(values, order, axis=-1)


def _require_room(model: DecodableModel, prompt: Sequence[int], program: Sequence[int]) -> None:
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
