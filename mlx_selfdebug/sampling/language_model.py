"""What the loop needs of a model: a real one, or a scripted one in tests."""

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
    """What a decoder has done so far, and the seconds it took. ``row_steps`` counts each row of each step, idle ones too."""

    prompt_tokens: int = 0
    prefilled_tokens: int = 0
    decoded_tokens: int = 0
    read_tokens: int = 0
    steps: int = 0
    row_steps: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0


class Decoder(Protocol):
    """Decodes requests side by side. All calls come from one thread."""

    counts: DecodingCounts
    shares_cores: bool
    """Whether the model computes on the processors that tests run on, so that both at once slow each other down."""

    def submit(self, request: Request) -> int:
        """Queue a request; its ticket."""

    def step(self) -> list[Completion]:
        """One token more for every row; the completions that ended with it. Does nothing if nothing was asked."""

    def read(self, prompt: tuple[int, ...], program: tuple[int, ...], breaks: Sequence[int] = ()) -> Reading:
        """Read ``program`` as the completion of ``prompt``, both token ids; ``breaks`` as those of a request.

        Raises ModelError if one of them is empty, or both do not fit the model's context.
        """

    def log_likelihood(
        self, prompt: tuple[int, ...], reading: Reading, program: tuple[int, ...], breaks: Sequence[int] = ()
    ) -> float:
        """Return the log-likelihood of ``program`` as the completion of ``prompt``, in nats; ``reading`` is that of another."""

    @property
    def waiting(self) -> int:
        """Requests that no row has been found for yet."""

    @property
    def active(self) -> int:
        """Rows that are being decoded."""

    @property
    def width(self) -> int:
        """Most rows at a time."""

    def limit(self, width: int) -> None:
        """Take in no new row while as many as ``width`` are active."""


class LanguageModel(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def origin(self) -> str:
        """Where the weights came from, exactly: results of two origins are never mixed in one run."""

    @property
    def context(self) -> int:
        """Most tokens of prompt and completion together."""

    @property
    def eos_ids(self) -> frozenset[int]:
        """The ids that end a completion."""

    def render(self, messages: list[dict[str, str]], *, reply_prefix: str = "") -> list[int]:
        """Token ids of a chat up to and including the start of the reply."""

    def spans(self, text: str) -> tuple[list[int], list[int]]:
        """Return the token ids of ``text``, and the character at which each begins, followed by the length of ``text``."""

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text."""

    def spell(self, id_: int) -> str:
        """Return the text of one token as it stands inside a longer text."""


@runtime_checkable
class DecodesItself(Protocol):
    """A model that brings its decoder along, as a scripted one does."""

    def decoder(self, *, budget_bytes: int, most: int, longest: int, reserved_bytes: int = 0) -> Decoder:
        """Return a decoder; see :func:`open_decoder`."""


class DecodableModel(Protocol):
    """What decoding needs of an MLX model. ``network`` maps ids (batch, length) and a cache to logits."""

    name: str
    network: Any
    device: str

    @property
    def context(self) -> int: ...

    @property
    def eos_ids(self) -> frozenset[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def ids_holding(self, character: str) -> npt.NDArray[np.bool_]:
        """Of each id, whether its text may hold ``character``: shape (vocabulary,)."""


def open_decoder(
    model: LanguageModel, *, budget_bytes: int, most: int, longest: int, reserved_bytes: int = 0
) -> Decoder:
    """Make the decoder of a model: at most ``most`` rows, each of at most ``longest`` tokens, within ``budget_bytes`` of memory.

    ``reserved_bytes`` of these are left to others. Raises BudgetError if not even one row fits.
    """
    if isinstance(model, DecodesItself):
        return model.decoder(budget_bytes=budget_bytes, most=most, longest=longest, reserved_bytes=reserved_bytes)
    # Only a real model needs mlx, which takes a second to import.
    from mlx_selfdebug.sampling.decoder import open_batch_decoder

    return open_batch_decoder(
        cast("Model", model), budget_bytes=budget_bytes, most=most, longest=longest, reserved_bytes=reserved_bytes
    )


def complete(decoder: Decoder, requests: Sequence[Request]) -> Iterator[Completion]:
    """Decode ``requests`` and yield each completion as it ends; a ticket is the request's place in the list, on a fresh decoder."""
    for request in requests:
        decoder.submit(request)
    while decoder.active or decoder.waiting:
        yield from decoder.step()
