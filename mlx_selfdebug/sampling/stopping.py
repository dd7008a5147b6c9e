"""When a completion is over: the end of turn, a text, or its length. Whole batches are looked at by tables; text is looked at only
where a token came that could end it."""

from __future__ import annotations

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

    def may_end(self, tokens: npt.NDArray[np.int64], request_stops: str) -> npt.NDArray[np.bool_]:
        """Of each token, whether it ends a turn or holds the last character of the stop text."""
        ends = np.isin(tokens, self._eos)
        return ends | self._table(request_stops[-1])[tokens] if request_stops else ends

    def ended(self, tokens: list[int], request: Request) -> tuple[str, Finish] | None:
        """The completion's text and why it ended with the last of ``tokens``; None if it goes on."""
        model, stop = self._model, request.stop_text
        if tokens[-1] in model.eos_ids:
            return model.decode(tokens[:-1]), "stop"
        if stop and stop in model.decode(tokens[-STOP_TAIL:]):
            text = model.decode(tokens)
            if stop in text:
                return text[: text.index(stop)], "fence"
        if len(tokens) >= request.max_tokens:
            return model.decode(tokens), "length"
        return None

    def _table(self, character: str) -> npt.NDArray[np.bool_]:
        if character not in self._holding:
            self._holding[character] = self._model.ids_holding(character)
        return self._holding[character]
