"""What the loop needs of a model: a real one, or a scripted one in tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from mlx_selfdebug.sampling.request import Completion, Request


class LanguageModel(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def origin(self) -> str:
        """Where the weights came from, exactly: results of two origins are never mixed in one run."""

    def render(self, messages: list[dict[str, str]], *, reply_prefix: str = "") -> list[int]:
        """Token ids of a chat up to and including the start of the reply."""

    def complete(self, requests: Sequence[Request]) -> Iterator[Completion]:
        """Decode one batch; each completion as it ends, in any order."""


class DecodableModel(Protocol):
    """What decoding needs of an MLX model. ``network`` maps ids (batch, length) and a cache to logits."""

    name: str
    network: Any
    config: dict[str, Any]

    @property
    def eos_ids(self) -> frozenset[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...
