"""Define what the repair loop needs from a model and its decoder, so that tests can replace a real model by a scripted one.

:func:`open_decoder` opens the decoder of a real or a scripted model, and :func:`complete` decodes a list of requests with it. This
module does not need MLX.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from mlx_selfdebug.sampling.decodable import DecodingCounts
from mlx_selfdebug.sampling.request import Completion, Request

if TYPE_CHECKING:
    from mlx_selfdebug.models.load import Model
    from mlx_selfdebug.sampling.reading import Reading


class Decoder(Protocol):
    """A decoder that works on several requests at a time. All calls must come from the same thread."""

    counts: DecodingCounts
    """What the decoder has done so far."""
    min_rows: int
    """The number of rows up to which a step takes as long as a step of one row."""
    shares_cores: bool
    """Whether the model computes on the processors that tests run on, so that each slows the other down."""

    def submit(self, request: Request) -> int:
        """Queue a request and return its ticket."""

    def step(self) -> list[Completion]:
        """Decode at least one more token for every row, and return the completions that have ended.

        Does nothing if there are no requests.
        """

    def read(self, prompt: tuple[int, ...], program: tuple[int, ...], breaks: Sequence[int] = ()) -> Reading:
        """Read ``program`` as the completion of ``prompt``.

        Both are token ids. For ``breaks`` see :class:`Request`. Raises UnreadableError if one of the two is empty, or if together
        they do not fit the model's context.
        """

    def log_likelihood(
        self, prompt: tuple[int, ...], reading: Reading, program: tuple[int, ...], breaks: Sequence[int] = ()
    ) -> float:
        """Return the log-likelihood of ``program`` as the completion of ``prompt``, in nats.

        ``reading`` is the reading of another program under the same prompt.
        """

    @property
    def waiting(self) -> int:
        """The number of requests that have no row yet."""

    @property
    def active(self) -> int:
        """The number of rows that are being decoded."""

    @property
    def width(self) -> int:
        """The maximum number of rows at a time."""

    def limit(self, width: int) -> None:
        """Begin no further request while at least ``width`` rows are active."""


class LanguageModel(Protocol):
    """What the repair loop needs from a language model, real or scripted."""

    @property
    def name(self) -> str:
        """The name that the model was loaded by."""

    @property
    def origin(self) -> str:
        """Where exactly the weights came from. Results of two origins are never mixed in one run."""

    @property
    def context(self) -> int:
        """The maximum number of tokens of prompt and completion together."""

    @property
    def eos_ids(self) -> frozenset[int]:
        """The ids that end a completion."""

    def render(self, messages: list[dict[str, str]], *, reply_prefix: str = "") -> list[int]:
        """Return the token ids of a chat up to where the model's reply begins, followed by the ids of ``reply_prefix``."""

    def spans(self, text: str) -> tuple[list[int], list[int]]:
        """Return the token ids of ``text``, and the index of each token's first character, followed by the length of ``text``."""

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text."""

    def spell(self, id_: int) -> str:
        """Return the text of one token as it is inside a longer text."""


@runtime_checkable
class DecodesItself(Protocol):
    """A model that brings its own decoder, as a scripted model does."""

    def decoder(self, *, budget_bytes: int, max_rows: int, max_row_tokens: int, reserved_bytes: int = 0) -> Decoder:
        """Return a decoder; :func:`open_decoder` describes the parameters."""


def open_decoder(
    model: LanguageModel, *, budget_bytes: int, max_rows: int, max_row_tokens: int, reserved_bytes: int = 0
) -> Decoder:
    """Return a decoder for ``model`` that stays within a memory budget.

    Args:
        model: a real model, or one that has a decoder of its own.
        budget_bytes: the memory that all processes may take together, the weights included.
        max_rows: the maximum number of requests that are decoded at a time.
        max_row_tokens: the maximum number of tokens of a request, prompt and completion together.
        reserved_bytes: the part of the budget that is left to other processes, such as those that run tests.

    Raises:
        BudgetError: not even one row fits the budget.
    """
    if isinstance(model, DecodesItself):
        return model.decoder(
            budget_bytes=budget_bytes, max_rows=max_rows, max_row_tokens=max_row_tokens, reserved_bytes=reserved_bytes
        )
    # Only a real model needs mlx, whose import takes a second.
    from mlx_selfdebug.sampling.decoder import open_batch_decoder

    return open_batch_decoder(
        cast("Model", model),
        budget_bytes=budget_bytes,
        max_rows=max_rows,
        max_row_tokens=max_row_tokens,
        reserved_bytes=reserved_bytes,
    )


def complete(decoder: Decoder, requests: Sequence[Request]) -> Iterator[Completion]:
    """Decode ``requests`` and yield each completion as it ends.

    With a fresh decoder, the ticket of a completion is the index of its request in ``requests``.
    """
    for request in requests:
        decoder.submit(request)
    while decoder.active or decoder.waiting:
        yield from decoder.step()
