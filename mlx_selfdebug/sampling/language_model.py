"""Define what the loop needs of a model and its decoder, so that tests can put a scripted model in place of a real one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from mlx_selfdebug.sampling.request import Completion, Request

if TYPE_CHECKING:
    from mlx_selfdebug.models.load import Model
    from mlx_selfdebug.sampling.reading import Reading


@dataclass
class DecodingCounts:
    """What a decoder has done so far, and how long it took."""

    prompt_tokens: int = 0
    """The tokens of all requests when they were submitted: their prompts, and what their completions begin with."""
    prefilled_tokens: int = 0
    """The part of these tokens that was computed, because no earlier computation could be taken over."""
    decoded_tokens: int = 0
    read_tokens: int = 0
    """The tokens of programs that were read, without their prompts."""
    steps: int = 0
    row_steps: int = 0
    """The rows of all steps together, idle rows included. A guessed token takes a row."""
    guessed_tokens: int = 0
    """The tokens that were guessed for a request that was alone, and then checked."""
    accepted_tokens: int = 0
    """The part of these tokens that was right and became part of a completion. They count as decoded."""
    prefill_s: float = 0.0
    decode_s: float = 0.0


class Decoder(Protocol):
    """A decoder of requests side by side. All calls come from one thread."""

    counts: DecodingCounts
    min_rows: int
    """The number of rows up to which a step takes as long as for one."""
    shares_cores: bool
    """Whether the model computes on the processors that tests run on, so that both at once slow each other down."""

    def submit(self, request: Request) -> int:
        """Queue a request and return its ticket."""

    def step(self) -> list[Completion]:
        """Decode at least one more token for every row, and return the completions that ended with them.

        Does nothing if there are no requests.
        """

    def read(self, prompt: tuple[int, ...], program: tuple[int, ...], breaks: Sequence[int] = ()) -> Reading:
        """Read ``program`` as the completion of ``prompt``.

        Both are token ids, and ``breaks`` are like those of a request. Raises ModelError if one of the two is empty, or if
        together they do not fit the model's context.
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
        """Begin no further request while ``width`` or more rows are active."""


class LanguageModel(Protocol):
    """A language model as the loop sees it."""

    @property
    def name(self) -> str: ...

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
        """Return the token ids of a chat up to where the model's reply begins, followed by those of ``reply_prefix``."""

    def spans(self, text: str) -> tuple[list[int], list[int]]:
        """Return the token ids of ``text``, and the character at which each token begins, followed by the length of ``text``."""

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text."""

    def spell(self, id_: int) -> str:
        """Return the text of one token as it stands inside a longer text."""


@runtime_checkable
class DecodesItself(Protocol):
    """A model that brings its own decoder, as a scripted model does."""

    def decoder(self, *, budget_bytes: int, max_rows: int, max_row_tokens: int, reserved_bytes: int = 0) -> Decoder:
        """Return a decoder; :func:`open_decoder` describes the parameters."""


class DecodableModel(Protocol):
    """An MLX model as decoding and reading see it."""

    name: str
    network: Any
    """Maps ids (batch, length) and a cache to logits (batch, length, vocabulary)."""
    device: str
    """The device that computes: ``metal``, ``cuda`` or ``cpu``."""

    @property
    def context(self) -> int: ...

    @property
    def eos_ids(self) -> frozenset[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def ids_holding(self, character: str) -> npt.NDArray[np.bool_]:
        """Return, for each id, whether its text may contain ``character``: shape (vocabulary,)."""


def open_decoder(
    model: LanguageModel, *, budget_bytes: int, max_rows: int, max_row_tokens: int, reserved_bytes: int = 0
) -> Decoder:
    """Return a decoder for ``model`` that stays within ``budget_bytes`` of memory.

    It has at most ``most`` rows of at most ``longest`` tokens each, and leaves ``reserved_bytes`` of the budget to others.
    Raises BudgetError if not even one row fits.
    """
    if isinstance(model, DecodesItself):
        return model.decoder(
            budget_bytes=budget_bytes, max_rows=max_rows, max_row_tokens=max_row_tokens, reserved_bytes=reserved_bytes
        )
    # Only a real model needs mlx, which takes a second to import.
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
