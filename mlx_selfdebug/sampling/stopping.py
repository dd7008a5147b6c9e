"""When a completion is over: the end of turn, a text, its length, or what its request says of its lines. Whole batches are looked
at by tables; text is looked at only where a token came that could end it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mlx_selfdebug.sampling.language_model import DecodableModel
from mlx_selfdebug.sampling.request import Finish, Request

STOP_TAIL = 12
"""Tokens looked back over for a stop text: more than any stop text of a few characters can span."""


class Stopping:
    def __init__(self, model: DecodableModel) -> None:
        self._model = model
        self._eos = np.array(sorted(model.eos_ids), np.int64)
        self._holding: dict[str, npt.NDArray[np.bool_]] = {}

    def may_end(self, tokens: npt.NDArray[np.int64], requests: Sequence[Request]) -> npt.NDArray[np.bool_]:
        """Return, of each token, whether it may end one of ``requests`` that has room left: it ends a turn, holds the last
        character of a stop text, or ends a line where a request looks at its lines."""
        found = np.isin(tokens, self._eos)
        last = {request.stop_text[-1] for request in requests if request.stop_text}
        if any(request.ended for request in requests):
            last.add("\n")
        for character in last:
            found |= self._table(character)[tokens]
        return found

    def ended(self, tokens: list[int], request: Request) -> tuple[str, Finish] | None:
        """Return the completion's text and why it ended with the last of ``tokens``, which were decoded; None if it goes on."""
        model, given = self._model, list(request.given)
        if tokens[-1] in model.eos_ids:
            return model.decode(given + tokens[:-1]), "stop"
        at = self._stop(given, tokens, request.stop_text)
        if at is not None:
            return model.decode(given + tokens)[:at], "fence"
        if request.ended and "\n" in model.decode(tokens[-1:]):
            lines = _whole_lines(model.decode(given + tokens))
            if request.ended(lines):
                return lines, "copy"
        if len(tokens) >= request.max_tokens:
            return model.decode(given + tokens), "length"
        return None

    def _stop(self, given: list[int], tokens: list[int], stop: str) -> int | None:
        """Where in the text a stop text begins of which the model has written the last character at least."""
        if not stop or stop not in self._model.decode((given + tokens)[-STOP_TAIL:]):
            return None
        first = max(0, len(self._model.decode(given)) - len(stop) + 1) if given else 0
        at = self._model.decode(given + tokens).find(stop, first)
        return at if at >= 0 else None

    def _table(self, character: str) -> npt.NDArray[np.bool_]:
        if character not in self._holding:
            self._holding[character] = self._model.ids_holding(character)
        return self._holding[character]


def _whole_lines(text: str) -> str:
    return text[: text.rfind("\n") + 1]
