"""Decode requests in one batch: a request may come at any time, takes a row when one is free, and leaves it when it ends.

    decoder = open_batch_decoder(model, budget_bytes=6 * 10**9, max_rows=32, max_row_tokens=600)
    decoder.submit(Request(prompt, max_tokens=100))
    while decoder.active or decoder.waiting:
        for completion in decoder.step():
            print(completion.ticket, completion.text)

The tokens of a request depend on its own prompt, seed and settings. They do not depend on what shares the batch or on when the
request came, except for the rounding that comes with the shape of the batch; the README beside this file says how far that holds
on which backend. All work is done on the calling thread.

A greedy request that is alone in the batch also uses the rows that would be idle: they check a guess of its next tokens, which is
looked up in its prompt (``lookup.py``). A step then decodes one token, and as many more as were guessed right.
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
from mlx_selfdebug.sampling.decodable import DecodableModel, DecodingCounts
from mlx_selfdebug.sampling.lookup import guess
from mlx_selfdebug.sampling.prefixes import Prefixes
from mlx_selfdebug.sampling.reading import Reader, Reading
from mlx_selfdebug.sampling.request import Completion, Request
from mlx_selfdebug.sampling.sampler import Sampler
from mlx_selfdebug.sampling.slots import Slots
from mlx_selfdebug.sampling.stopping import Stopping
from mlx_selfdebug.sampling.width import plan_decoding

ROWS_CPU = 16
"""On the CPU, a batch has a multiple of 16 rows, idle rows included, if its maximum width allows it.

With OpenBLAS's kernel, a step of 16 rows takes two thirds to four fifths of the time of a step of 12 rows
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

    ``guesses`` is described at :class:`BatchDecoder`, and the other parameters at
    :func:`mlx_selfdebug.sampling.language_model.open_decoder`. Raises BudgetError if not even one row fits.
    """
    plan = plan_decoding(
        model.network,
        model.name,
        loaded_bytes(model),
        budget_bytes=budget_bytes,
        max_rows=max_rows,
        max_row_tokens=max_row_tokens,
        reserved_bytes=reserved_bytes,
    )
    mx.set_cache_limit(plan.cache_bytes)
    return BatchDecoder(model, plan.width, chunk=plan.chunk, prefix_bytes=plan.prefix_bytes, guesses=guesses)


@dataclass
class _Row:
    """A request and what was decoded for it so far."""

    ticket: int
    """The number that ``submit`` has returned."""
    request: Request
    tokens: list[int] = field(default_factory=list)
    """The tokens that were decoded, without those that were given."""
    n_right: int | None = None
    """The number of tokens that were guessed right the last time, or None if none were guessed yet."""

    def guess(self, max_guesses: int, n_free: int) -> list[int]:
        """Return at most ``max_guesses`` tokens that may come next, and no more than ``max_tokens`` leaves room for.

        ``n_free`` tokens can be guessed without making a step longer, so these are always guessed. Beyond them, the first guess is
        as long as allowed, and a later guess is about twice as long as the part of the last guess that was right.
        """
        request, room = self.request, self.request.max_tokens - len(self.tokens) - 1
        promising = max_guesses if self.n_right is None else max(n_free, 2 * self.n_right + 2)
        return guess([*request.prompt, *request.given, *self.tokens], min(max_guesses, room, promising), request.read)


@dataclass(frozen=True, eq=False)
class _Step:
    """A step that is being computed. MLX computes it in the background until its arrays are read."""

    rows: list[_Row | None]
    """The rows of the batch when the step began."""
    tokens: mx.array
    """The token that was drawn for each row, of shape (rows,)."""
    are_numbers: mx.array
    """Whether the logits of each row are numbers, of shape (rows,)."""


class BatchDecoder:
    """A decoder that works on at most ``width`` requests in one batch, one row for each.

    Args:
        model: the model to decode with.
        width: the maximum number of rows.
        chunk: the maximum number of tokens of a prompt that are computed at a time.
        prefix_bytes: the maximum number of bytes of prompts' caches that are kept.
        ahead: whether a step is begun before the tokens of the step before it are read. This keeps a GPU busy, and wastes one
            step of a row for every row that ends. By default it is done everywhere but on the CPU.
        guesses: the maximum number of tokens that are guessed at a time for a greedy request that is alone. By default it is the
            number of rows that would be idle: 15 on the CPU, if ``width`` is at least 16, and none elsewhere. With 0, no tokens
            are guessed. Nothing is guessed for a network with a recurrent state. No step is begun ahead where guesses are possible.

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
        self._max_guesses = self.min_rows - 1 if guesses is None else guesses
        self._additive_mask = on_cpu
        self._stopping = Stopping(model)
        self._prefixes = Prefixes(model.network, chunk, prefix_bytes)
        self._reader = Reader(model, self._prefixes)
        self._queue: deque[_Row] = deque()
        self._next_ticket = 0
        self._open(self.min_rows)

    def _open(self, width: int) -> None:
        """Make an empty batch of ``width`` rows."""
        self._slots = Slots(self._model.network, width, additive_mask=self._additive_mask)
        self._sampler = Sampler(width)
        self._rows: list[_Row | None] = [None] * width
        self._last_tokens = np.zeros(width, np.int64)
        self._launched: _Step | None = None

    @property
    def waiting(self) -> int:
        """The number of requests that have no row yet."""
        return len(self._queue)

    @property
    def active(self) -> int:
        """The number of rows that are being decoded."""
        return sum(row is not None for row in self._rows)

    def limit(self, width: int) -> None:
        """Begin no further request while at least ``width`` rows are active. The rows that are active go on."""
        width = max(1, min(width, self.width))
        if width < self._limit:
            mx.clear_cache()
        self._limit = width

    def submit(self, request: Request) -> int:
        """Queue a request and return its ticket.

        Raises ModelError if the prompt is empty or leaves no room for ``max_tokens`` in the model's context, or if ``read`` does
        not begin with the tokens to continue from.
        """
        self._check(request)
        row = _Row(self._next_ticket, request)
        self._next_ticket += 1
        self.counts.prompt_tokens += len(request.prompt) + len(request.given)
        self._queue.append(row)
        return row.ticket

    def read(self, prompt: tuple[int, ...], program: tuple[int, ...], breaks: Sequence[int] = ()) -> Reading:
        """Read ``program`` as the completion of ``prompt``, between two steps, and keep its keys and values for its forks.

        Raises UnreadableError if one of the two is empty or if together they do not fit the context, and ModelError if the
        model's logits are not numbers.
        """
        self.counts.read_tokens += len(program)
        return self._reader.read(prompt, program, breaks)

    def log_likelihood(
        self, prompt: tuple[int, ...], reading: Reading, program: tuple[int, ...], breaks: Sequence[int] = ()
    ) -> float:
        """Return the log-likelihood of ``program`` in nats, given the reading of another program; see :class:`Reader`."""
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
        alone = None if self._launched else self._guessable_row()
        guessed = [] if alone is None else self._guess(alone)
        completions = self._plain_step() if alone is None or not guessed else self._guessed_step(alone, guessed)
        self.counts.decode_s += time.perf_counter() - admitted
        return completions

    def _plain_step(self) -> list[Completion]:
        """Decode one token for every row, and begin the next step if steps are computed ahead."""
        step = self._launched or self._launch(None)
        # A step that is begun ahead would have the wrong shape after a resize, and would be useless at the end of the work. A guess
        # cannot be made before the last token is known.
        go_ahead = self._ahead and not self._should_resize() and self._guessable_row() is None
        self._launched = self._launch(step) if go_ahead else None
        return self._take_step(step)

    def _guessable_row(self) -> int | None:
        """Return the row whose next tokens may be guessed, or None. It is the only active row, if that is greedy."""
        active = [(i, row) for i, row in enumerate(self._rows) if row]
        if not self._max_guesses or len(active) != 1 or not self._slots.can_take_runs:
            return None
        i, row = active[0]
        return None if row.request.temperature else i

    def _guess(self, i: int) -> list[int]:
        """Return a guess of the next tokens of row ``i``."""
        row = self._rows[i]
        return row.guess(self._max_guesses, self.min_rows - 1) if row else []

    def _guessed_step(self, i: int, guessed: list[int]) -> list[Completion]:
        """Decode one token for row ``i``, which is alone, and as many more as the beginning of ``guessed`` that is right.

        The step has at least as many tokens as a step without guesses has rows, so that the same kernels compute it.
        """
        n_tokens = 1 + len(guessed)
        n_idle = max(0, self.min_rows - n_tokens)
        self._slots.begin_run(i, n_tokens, n_idle)
        logits = self._logits(mx.array([int(self._last_tokens[i]), *guessed, *[0] * n_idle]))
        best, are_numbers = mx.argmax(logits, axis=-1), mx.isfinite(mx.max(logits, axis=-1))
        self.counts.row_steps += n_tokens + n_idle
        mx.eval(best, are_numbers, self._slots.state)
        tokens = np.array(best)[:n_tokens].astype(np.int64)
        n_right = next((k for k, token in enumerate(guessed) if token != tokens[k]), len(guessed))
        self._slots.end_run(i, n_right + 1)
        return self._take_run(i, tokens[: n_right + 1], np.array(are_numbers), len(guessed))

    def _take_run(
        self, i: int, tokens: npt.NDArray[np.int64], are_numbers: npt.NDArray[np.bool_], n_guessed: int
    ) -> list[Completion]:
        """Add ``tokens`` to row ``i``, up to a token that ends the row. All tokens but the last were guessed."""
        row = self._rows[i]
        assert row is not None
        n_before, row.n_right = len(row.tokens), len(tokens) - 1
        may_end, completions = self._stopping.may_end(tokens, [row.request]), list[Completion]()
        for k, token in enumerate(tokens):
            if not are_numbers[k]:
                raise self._not_numbers(row)
            completions += self._take(i, row, int(token), may_end=bool(may_end[k]))
            if completions:
                break
        n_taken = len(row.tokens) - n_before
        self.counts.decoded_tokens += n_taken
        self.counts.guessed_tokens += n_guessed
        self.counts.accepted_tokens += min(n_taken, len(tokens) - 1)
        return completions

    def _admit(self) -> None:
        """Give free rows to waiting requests, and compute their prompts up to the last token."""
        free = [i for i, row in enumerate(self._rows) if row is None]
        room = self._limit - self.active
        for i in free[: max(0, room)]:
            if not self._queue:
                return
            row = self._queue.popleft()
            tokens = row.request.prompt + row.request.given
            before = self._prefixes.n_computed
            self._slots.load(i, self._prefixes.for_request(row.request), len(tokens) - 1)
            self.counts.prefilled_tokens += self._prefixes.n_computed - before
            self._sampler.set(i, row.request)
            self._rows[i] = row
            self._last_tokens[i] = tokens[-1]

    def _launch(self, before: _Step | None) -> _Step:
        """Begin to compute one token per row, and return the step without waiting for it.

        ``before`` is the step before it, if its tokens have not been read yet. The new tokens then continue from these, which
        are still being computed.
        """
        tokens = mx.array(self._last_tokens)
        positions = np.array([len(row.tokens) if row else 0 for row in self._rows], np.int32)
        if before is not None:
            goes_on = np.array(
                [row is not None and row is old for row, old in zip(self._rows, before.rows, strict=True)]
            )
            tokens = mx.where(mx.array(goes_on), before.tokens.astype(tokens.dtype), tokens)
            positions += goes_on
        self._slots.begin_step()
        logits = self._logits(tokens)
        rows = list(self._rows)
        step = _Step(rows, self._sampler.draw(logits, mx.array(positions)), mx.isfinite(mx.max(logits, axis=-1)))
        self._slots.end_step([i for i, row in enumerate(rows) if row])
        self.counts.row_steps += len(rows)
        mx.async_eval(step.tokens, step.are_numbers, self._slots.state)  # type: ignore[no-untyped-call]
        return step

    def _logits(self, tokens: mx.array) -> mx.array:
        """Return the logits, of shape (tokens, vocabulary), of the step that the slots have begun."""
        self.counts.steps += 1
        logits: mx.array = self._model.network(tokens[:, None], cache=self._slots.layers)[:, -1]
        return logits

    def _take_step(self, step: _Step) -> list[Completion]:
        """Wait for ``step``, add its tokens to the rows that have not ended since it began, and return what ends now."""
        tokens, are_numbers = np.array(step.tokens).astype(np.int64), np.array(step.are_numbers)
        live = [(i, row) for i, row in enumerate(step.rows) if row is not None and row is self._rows[i]]
        for i, row in live:
            if not are_numbers[i]:
                raise self._not_numbers(row)
        self.counts.decoded_tokens += len(live)
        may_end = self._stopping.may_end(tokens, [row.request for row in self._rows if row])
        completions = []
        for i, row in live:
            completions += self._take(i, row, int(tokens[i]), may_end=bool(may_end[i]))
        return completions

    def _not_numbers(self, row: _Row) -> ModelError:
        """Return the error for logits of ``row`` that are not finite."""
        position = len(row.tokens)
        return ModelError(f"{self._model.name} gave logits that are not numbers at position {position} of a completion")

    def _take(self, i: int, row: _Row, token: int, *, may_end: bool) -> list[Completion]:
        """Add ``token`` to row ``i``. If the row ends with it, free the row and return its completion in a list."""
        row.tokens.append(token)
        self._last_tokens[i] = token
        goes_on = not may_end and len(row.tokens) < row.request.max_tokens
        ended = None if goes_on else self._stopping.ended(row.tokens, row.request)
        if not ended:
            if row.request.on_text:
                row.request.on_text(self._stopping.text_so_far(row.tokens, row.request))
            return []
        text, finish = ended
        self._rows[i] = None
        self._slots.clear(i)
        self._sampler.clear(i)
        return [Completion(row.ticket, text, len(row.tokens), finish, tuple(row.tokens))]

    def _best_width(self) -> int:
        """Return the number of rows that the batch should have for the work there is, idle rows included.

        It is rounded up to a multiple of the rows that a kernel computes together, unless that would exceed the limit. It is never
        less than ``min_rows``.
        """
        n_rows = max(self.active, min(self._limit, self.active + self.waiting))
        rounded = -(-n_rows // self._multiple) * self._multiple
        return max(self.min_rows, n_rows, min(self._limit, rounded))

    def _should_resize(self) -> bool:
        """Return whether there is work for more rows, or a quarter of the rows would be idle, or the minimum is enough."""
        best, width = self._best_width(), len(self._rows)
        return best > width or (best < width and (best <= 3 * width // 4 or best == self.min_rows))

    def _resize(self) -> None:
        """Give the batch its best width, and move the active rows to its beginning."""
        if not self._should_resize():
            return
        width = self._best_width()
        kept = [i for i, row in enumerate(self._rows) if row]
        if not kept:
            self._open(width)
            return
        n_idle = width - len(kept)
        self._slots.keep(kept, width)
        self._sampler.keep(kept, width)
        self._last_tokens = np.concatenate([self._last_tokens[kept], np.zeros(n_idle, np.int64)])
        self._rows = [*(self._rows[i] for i in kept), *[None] * n_idle]

    def _check(self, request: Request) -> None:
        """Raise ModelError if ``request`` cannot be completed."""
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
