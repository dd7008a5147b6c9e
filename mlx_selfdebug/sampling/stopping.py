"""Decide when a completion is over: at the end of turn, at a stop text, at its maximum length, or where its request says so.

For a whole batch, tables tell which tokens could end a completion. Text is looked at only where such a token came.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mlx_selfdebug.sampling.language_model import DecodableModel
from mlx_selfdebug.sampling.request import Finish, Request

STOP_TAIL = 12
"""The number of last tokens that are searched for a stop text. A stop text of a few characters cannot span more."""


class Stopping:
    """The rules by which the completions of ``model`` end."""

    def __init__(self, model: DecodableModel) -> None:
        self._model = model
        self._eos = np.array(sorted(model.eos_ids), np.int64)
        self._holding: dict[str, npt.NDArray[np.bool_]] = {}

    def may_end(self, tokens: npt.NDArray[np.int64], requests: Sequence[Request]) -> npt.NDArray[np.bool_]:
        """Return, for each token, whether it may end a completion of one of ``requests`` that has not reached its maximum length.

        It may if it ends a turn, contains the last character of a stop text, or ends a line and a request looks at its lines.
        """
        may_end = np.isin(tokens, self._eos)
        last = {request.stop_text[-1] for request in requests if request.stop_text}
        if any(request.ended for request in requests):
            last.add("\n")
        for character in last:
            may_end |= self._table(character)[tokens]
        return may_end

    def ended(self, tokens: list[int], request: Request) -> tuple[str, Finish] | None:
        """Return the completion's text and why it ended with the last of ``tokens``, or None if it goes on.

        ``tokens`` are the tokens that were decoded, without those that were given.
        """
        model, given = self._model, list(request.given)
        if tokens[-1] in model.eos_ids:
            return model.decode(given + tokens[:-1]), "stop"
        at = self._stop(given, tokens, request.stop_text)
        if at is not None:
            return model.decode(given + tokens)[:at], "fence"
        if request.ended and "\n" in model.decode(tokens[-1:]):
            lines = _whole_lines(model.decode(given + tokens))
            if request.ended(lines):
                return lines, request.ended_as
        if len(tokens) >= request.max_tokens:
            return model.decode(given + tokens), "length"
        return None

    def _stop(self, given: list[int], tokens: list[int], stop: str) -> int | None:
        """Return where in the text ``stop`` begins, or None. The model must have written at least its last character."""
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
