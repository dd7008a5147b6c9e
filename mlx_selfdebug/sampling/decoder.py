"""Decode requests in one batch: they come at any time, take a row when one is free, and leave it when they end.

The tokens of a request depend on its own prompt, seed and settings. They do not depend on what shares the batch or on when the
request came, up to the numerics of the batch's shape; the README beside this file says how far that holds on which backend. All
work is done on the calling thread.

A greedy request that is alone in the batch gets the rows that would be idle: they check a guess of its next tokens, which is looked
up in its prompt (``lookup.py``). A step then decodes one token, and as many more as were guessed right.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from mlx_selfdebug.models.backend import mx

import numpy as np
import numpy.typing as npt

from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.models.load import Model, loaded_bytes
from mlx_selfdebug.sampling.language_model import DecodableModel, DecodingCounts
from mlx_selfdebug.sampling.lookup import guess
from mlx_selfdebug.sampling.prefixes import Prefixes
from mlx_selfdebug.sampling.reading import Reader, Reading
from mlx_selfdebug.sampling.request import Completion, Request
from mlx_selfdebug.sampling.sampler import Sampler
from mlx_selfdebug.sampling.slots import Slots
from mlx_selfdebug.sampling.stopping import Stopping
from mlx_selfdebug.sampling.width import plan_decoding

ROWS_CPU = 16
"""On the CPU, the number of rows of a batch is a multiple of this, idle rows included.

With OpenBLAS's kernel, a step of 16 rows takes two thirds to four fifths of the time of a step of 12
(``benchmarks/decode_step.py``). Below 12 rows OpenBLAS uses another kernel, whose sums differ in the last digit.
"""


def open_batch_decoder(
    model: Model,
    *,
    budget_bytes: int,
    max_rows: int,
    max_row_tokens: int,
    reserved_bytes: int = 0,
    guesses: int | None = None,
) -> BatchDecoder:
    """Return a decoder with the widest batch that the budget allows.

    ``guesses`` is that of :class:`BatchDecoder`, and the other parameters are those of
    :func:`mlx_selfdebug.sampling.language_model.open_decoder`. Raises BudgetError if not even one row fits.
    """
    budget = {"budget_bytes": budget_bytes, "reserved_bytes": reserved_bytes}
    plan = plan_decoding(
        model.network, model.name, loaded_bytes(model), **budget, max_rows=max_rows, max_row_tokens=max_row_tokens
    )
    mx.set_cache_limit(plan.cache_bytes)
    return BatchDecoder(model, plan.width, chunk=plan.chunk, prefix_bytes=plan.prefix_bytes, guesses=guesses)


@dataclass
class _Row:
    ticket: int
    request: Request
    tokens: list[int] = field(default_factory=list)
    n_right: int | None = None
    """The number of tokens that were guessed right the last time, or None if none were guessed yet."""

    def guess(self, most: int, free: int) -> list[int]:
        """Return tokens that may come next: at most ``most``, and no more than ``max_tokens`` leaves room for.

        After a guess that was wrong early, at most ``free`` are guessed, or about twice as many as were right.
        """
        request, room = self.request, self.request.max_tokens - len(self.tokens) - 1
        hoped = most if self.n_right is None else max(free, 2 * self.n_right + 2)
        return guess([*request.prompt, *request.given, *self.tokens], min(most, room, hoped), request.read)


class BatchDecoder:
    """A decoder that keeps at most ``width`` requests in one batch, one row for each.

    ``chunk`` and ``prefix_bytes`` are those of :class:`Prefixes`. With ``ahead``, a step is computed before the tokens of the
    step before it are looked at. That keeps a GPU busy, and costs one wasted step of a row for every row that ends. By default
    it is done everywhere but on the CPU.

    ``guesses`` is the largest number of tokens that are guessed at a time for a greedy request that is alone. By default it is the
    number of rows that a step has idle anyway: 15 on the CPU and none elsewhere. With 0, no tokens are guessed. Nothing is guessed
    for a network with a recurrent state. A step is not computed ahead where guesses are possible.

    >>> decoder.submit(Request((1, 2, 3), max_tokens=16))  # doctest: +SKIP
    >>> while decoder.active or decoder.waiting: decoder.step()  # doctest: +SKIP
    """

    def __init__(
        self,
        model: DecodableModel,
        width: int,
        *,
        chunk: int = 512,
        prefix_bytes: int = 256 * 10**6,
        ahead: bool | None = None,
        guesses: int | None = None,
    ) -> None:
        on_cpu = model.device == "cpu"
        self.counts = DecodingCounts()
        self.width = self._limit = width
        self.shares_cores = on_cpu
        self._model = model
        self._multiple = ROWS_CPU if on_cpu else 1
        self.min_rows = min(self._multiple, width)
        self._ahead = not on_cpu if ahead is None else ahead
        self._guesses = self.min_rows - 1 if guesses is None else guesses
        self._additive = on_cpu
        self._stopping = Stopping(model)
        self._prefixes = Prefixes(model.network, chunk, prefix_bytes)
        self._reader = Reader(model, self._prefixes)
        self._queue: deque[_Row] = deque()
        self._next_ticket = 0
        self._open(self.min_rows)

    def _open(self, width: int) -> None:
        self._slots = Slots(self._model.network, width, additive_mask=self._additive)
        self._sampler = Sampler(width)
        self._rows: list[_Row | None] = [None] * width
        self._last = np.zeros(width, np.int64)
        self._launched: _Step | None = None

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def active(self) -> int:
        return sum(row is not None for row in self._rows)

    def limit(self, width: int) -> None:
        width = max(1, min(width, self.width))
        if width < self._limit:
            mx.clear_cache()
        self._limit = width

    def submit(self, request: Request) -> int:
        """Queue a request and return its ticket.

        Raises ModelError for an empty prompt, for one that leaves no room for ``max_tokens`` in the model's context, and for
        a request whose ``read`` does not begin with the tokens to continue from.
        """
        self._refuse(request)
        row = _Row(self._next_ticket, request)
        self._next_ticket += 1
        self.counts.prompt_tokens += len(request.prompt) + len(request.given)
        self._queue.append(row)
        return row.ticket

    def read(self, prompt: tuple[int, ...], program: tuple[int, ...], breaks: Sequence[int] = ()) -> Reading:
        """Read ``program`` as the completion of ``prompt``, between two steps, and keep its keys and values for forks of it.

        Raises ModelError if one of the two is empty, if together they do not fit the context, or if the model's logits are
        not numbers.
        """
        self.counts.read_tokens += len(program)
        return self._reader.read(prompt, program, breaks)

    def log_likelihood(
        self, prompt: tuple[int, ...], reading: Reading, program: tuple[int, ...], breaks: Sequence[int] = ()
    ) -> float:
        """Return the log-likelihood of ``program`` in nats, given the ``reading`` of another program; see :class:`Reader`."""
        return self._reader.log_likelihood(prompt, reading, program, breaks)

    def step(self) -> list[Completion]:
        """Decode one more token for every row, or several for a row that is alone, and return the completions that ended.

        Raises ModelError if the logits of a row are not numbers.
        """
        begin = time.perf_counter()
        if self._launched is None:
            self._resize()
        self._admit()
        admitted = time.perf_counter()
        self.counts.prefill_s += admitted - begin
        if not self.active:
            return []
        alone = None if self._launched else self._alone()
        guessed = [] if alone is None else self._guess(alone)
        completions = self._plain_step() if alone is None or not guessed else self._guessed_step(alone, guessed)
        self.counts.decode_s += time.perf_counter() - admitted
        return completions

    def _plain_step(self) -> list[Completion]:
        step = self._launched or self._launch(None)
        # A step computed ahead would have the wrong shape after a resize, and would be of no use at the end. A guess has to know
        # the last token.
        go_ahead = self._ahead and not self._should_resize() and self._alone() is None
        self._launched = self._launch(step) if go_ahead else None
        return self._read(step)

    def _alone(self) -> int | None:
        """Return the row whose next tokens may be guessed: the only active one, if it is greedy. Otherwise return None."""
        active = [i for i, row in enumerate(self._rows) if row]
        if not self._guesses or len(active) != 1 or not self._slots.take_runs:
            return None
        row = self._rows[active[0]]
        return None if row is None or row.request.temperature else active[0]

    def _guess(self, i: int) -> list[int]:
        row = self._rows[i]
        return row.guess(self._guesses, self.min_rows - 1) if row else []

    def _guessed_step(self, i: int, guessed: list[int]) -> list[Completion]:
        """Decode one token for row ``i``, which is alone, and as many more as were ``guessed`` right.

        The step has at least as many tokens as one without a guess has rows, so that the same kernels compute it.
        """
        n_tokens = 1 + len(guessed)
        n_idle = max(0, self.min_rows - n_tokens)
        self._slots.begin_run(i, n_tokens, n_idle)
        logits = self._logits(mx.array([int(self._last[i]), *guessed, *[0] * n_idle]))
        drawn, sane = mx.argmax(logits, axis=-1), mx.isfinite(mx.max(logits, axis=-1))
        self.counts.row_steps += n_tokens + n_idle
        mx.eval(drawn, sane, self._slots.state)
        tokens = np.array(drawn)[:n_tokens].astype(np.int64)
        n_right = next((k for k, token in enumerate(guessed) if token != tokens[k]), len(guessed))
        self._slots.end_run(i, n_right + 1)
        return self._take_run(i, tokens[: n_right + 1], np.array(sane), len(guessed))

    def _take_run(
        self, i: int, tokens: npt.NDArray[np.int64], sane: npt.NDArray[np.bool_], n_guessed: int
    ) -> list[Completion]:
        """Add ``tokens`` to row ``i``, up to the one that ends it. All but the last were guessed."""
        row = self._rows[i]
        assert row is not None
        n_before, row.n_right = len(row.tokens), len(tokens) - 1
        may_end, completions = self._stopping.may_end(tokens, [row.request]), list[Completion]()
        for token, is_sane, may in zip(tokens, sane, may_end, strict=False):
            self._require_sane(row, sane=bool(is_sane))
            completions += self._take(i, row, int(token), may_end=bool(may))
            if completions:
                break
        n_taken = len(row.tokens) - n_before
        self.counts.decoded_tokens += n_taken
        self.counts.guessed_tokens += n_guessed
        self.counts.accepted_tokens += min(n_taken, len(tokens) - 1)
        return completions

    def _admit(self) -> None:
        free = [i for i, row in enumerate(self._rows) if row is None]
        room = self._limit - self.active
        for i in free[: max(0, room)]:
            if not self._queue:
                return
            row = self._queue.popleft()
            tokens = row.request.prompt + row.request.given
            before = self._prefixes.n_computed
            self._slots.load(i, self._prefixes.of(row.request), len(tokens) - 1)
            self.counts.prefilled_tokens += self._prefixes.n_computed - before
            self._sampler.set(i, row.request)
            self._rows[i] = row
            self._last[i] = tokens[-1]

    def _launch(self, before: _Step | None) -> _Step:
        """Begin to compute one token per row.

        If the tokens of the step ``before`` have not been read yet, the new ones continue from them nevertheless.
        """
        tokens = mx.array(self._last)
        drawn = np.array([len(row.tokens) if row else 0 for row in self._rows], np.int32)
        if before is not None:
            same = np.array([row is not None and row is old for row, old in zip(self._rows, before.rows, strict=True)])
            tokens = mx.where(mx.array(same), before.tokens.astype(tokens.dtype), tokens)
            drawn += same
        self._slots.begin_step()
        logits = self._logits(tokens)
        rows = list(self._rows)
        step = _Step(rows, self._sampler.draw(logits, mx.array(drawn)), mx.isfinite(mx.max(logits, axis=-1)))
        self._slots.end_step([i for i, row in enumerate(rows) if row])
        self.counts.row_steps += len(rows)
        mx.async_eval(step.tokens, step.sane, self._slots.state)  # type: ignore[no-untyped-call]
        return step

    def _logits(self, tokens: mx.array) -> mx.array:
        """Return the logits (tokens, vocabulary) of the step that the slots have begun."""
        self.counts.steps += 1
        logits: mx.array = self._model.network(tokens[:, None], cache=self._slots.layers)[:, -1]
        return logits

    def _read(self, step: _Step) -> list[Completion]:
        tokens, sane = np.array(step.tokens).astype(np.int64), np.array(step.sane)
        live = [(i, row) for i, row in enumerate(step.rows) if row is not None and row is self._rows[i]]
        for i, row in live:
            self._require_sane(row, sane=bool(sane[i]))
        self.counts.decoded_tokens += len(live)
        may_end = self._stopping.may_end(tokens, [row.request for row in self._rows if row])
        completions = []
        for i, row in live:
            completions += self._take(i, row, int(tokens[i]), may_end=bool(may_end[i]))
        return completions

    def _require_sane(self, row: _Row, *, sane: bool) -> None:
        if not sane:
            raise ModelError(
                f"{self._model.name} gave logits that are not numbers at position {len(row.tokens)} of a completion"
            )

    def _take(self, i: int, row: _Row, token: int, *, may_end: bool) -> list[Completion]:
        """Add ``token`` to row ``i``, and return its completion if it ends with it."""
        row.tokens.append(token)
        self._last[i] = token
        if not may_end and len(row.tokens) < row.request.max_tokens:
            return []
        ended = self._stopping.ended(row.tokens, row.request)
        if not ended:
            return []
        self._leave(i)
        return [Completion(row.ticket, ended[0], len(row.tokens), ended[1], tuple(row.tokens))]

    def _leave(self, i: int) -> None:
        self._rows[i] = None
        self._slots.clear(i)
        self._sampler.clear(i)

    def _wanted(self) -> int:
        """Return the number of rows to have: enough for the work, rounded up where idle rows cost nothing, at least the minimum."""
        work = max(self.active, min(self._limit, self.active + self.waiting))
        whole = -(-work // self._multiple) * self._multiple
        return max(self.min_rows, work, min(self._limit, whole))

    def _should_resize(self) -> bool:
        """Return whether there is work for more rows, or a quarter of the rows would be idle."""
        wanted, have = self._wanted(), len(self._rows)
        return wanted > have or (wanted < have and (wanted <= 3 * have // 4 or wanted == self.min_rows))

    def _resize(self) -> None:
        if not self._should_resize():
            return
        wanted = self._wanted()
        kept = [i for i, row in enumerate(self._rows) if row]
        if not kept:
            self._open(wanted)
            return
        self._slots.keep(kept, wanted)
        self._sampler.keep(kept, wanted)
        self._last = np.concatenate([self._last[kept], np.zeros(wanted - len(kept), np.int64)])
        self._rows = [*(self._rows[i] for i in kept), *[None] * (wanted - len(kept))]

    def _refuse(self, request: Request) -> None:
        context, tokens = self._model.context, request.prompt + request.given
        if not request.prompt:
            raise ModelError("an empty prompt cannot be completed")
        if len(tokens) + request.max_tokens > context:
            given = f", {len(request.given)} given" if request.given else ""
            raise ModelError(
                f"a prompt of {len(request.prompt)} tokens{given} and {request.max_tokens} to decode exceed the context of "
                f"{self._model.name}, {context} tokens",
                hint="lower max_tokens or shorten the task",
            )
        if request.read and request.read[: len(tokens) - 1] != tokens[:-1]:
            raise ModelError(
                "a completion can go on only from what was read: `read` must begin with the prompt and all given tokens but"
                " the last"
            )


@dataclass(frozen=True, eq=False)
class _Step:
    """A step that is being computed."""

    rows: list[_Row | None]
    tokens: mx.array
    """The token that was drawn for each row, shape (rows,)."""
    sane: mx.array
    """Whether the logits of each row are numbers, shape (rows,)."""
