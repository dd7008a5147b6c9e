"""Decide when a completion ends: at the end of turn, at a stop text, at its maximum length, or where its request says so.

Tables tell for a whole batch at once which tokens could end a completion. Text is decoded only for the rows with such a token.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mlx_selfdebug.sampling.decodable import DecodableModel
from mlx_selfdebug.sampling.request import Finish, Request

STOP_TAIL = 12
"""The number of last tokens in which a stop text is looked for first. A stop text of a few characters cannot span more tokens."""
INCOMPLETE = "\ufffd"
"""What a character is decoded to while some of its bytes are missing."""


class Stopping:
    """The rules by which the completions of ``model`` end."""

    def __init__(self, model: DecodableModel) -> None:
        self._model = model
        self._eos = np.array(sorted(model.eos_ids), np.int64)
        self._tables: dict[str, npt.NDArray[np.bool_]] = {}

    def may_end(self, tokens: npt.NDArray[np.int64], requests: Sequence[Request]) -> npt.NDArray[np.bool_]:
        """Return, for each of ``tokens``, whether it may end a completion of one of ``requests``.

        A token may end a completion if it ends the turn, if it contains the last character of a stop text, or if it ends a line and
        a request has ``ended``. Maximum lengths are not considered.
        """
        may_end = np.isin(tokens, self._eos)
        characters = {request.stop_text[-1] for request in requests if request.stop_text}
        if any(request.ended for request in requests):
            characters.add("\n")
        for character in characters:
            if character not in self._tables:
                self._tables[character] = self._model.ids_holding(character)
            may_end |= self._tables[character][tokens]
        return may_end

    def ended(self, tokens: list[int], request: Request) -> tuple[str, Finish] | None:
        """Return the text of a completion and why it ended with the last of ``tokens``, or None if it has not ended.

        ``tokens`` are the tokens that were decoded, without those that were given. The text includes the given tokens, but not the
        end of turn or the stop text.
        """
        model, given = self._model, list(request.given)
        if tokens[-1] in model.eos_ids:
            return model.decode(given + tokens[:-1]), "stop"
        stop = self._find_stop(given, tokens, request.stop_text)
        if stop is not None:
            return model.decode(given + tokens)[:stop], "fence"
        if request.ended and "\n" in model.decode(tokens[-1:]):
            text = model.decode(given + tokens)
            complete_lines = text[: text.rfind("\n") + 1]
            if request.ended(complete_lines):
                return complete_lines, request.ended_as
        if len(tokens) >= request.max_tokens:
            return model.decode(given + tokens), "length"
        return None

    def text_so_far(self, tokens: list[int], request: Request) -> str:
        """Return the text of a completion that has not ended, without an end that may belong to the stop text or to a character.

        ``tokens`` are the tokens that were decoded. The text includes the given tokens.
        """
        text = self._model.decode([*request.given, *tokens]).rstrip(INCOMPLETE)
        stop = request.stop_text
        held_back = next((n for n in range(len(stop), 0, -1) if text.endswith(stop[:n])), 0)
        return text[: len(text) - held_back]

    def _find_stop(self, given: list[int], tokens: list[int], stop_text: str) -> int | None:
        """Return where in the completion's text the stop text begins, or None if it is not there.

        A stop text that lies within the given tokens does not count: the model must have written at least its last character.
        """
        if not stop_text or stop_text not in self._model.decode((given + tokens)[-STOP_TAIL:]):
            return None
        first = max(0, len(self._model.decode(given)) - len(stop_text) + 1) if given else 0
        position = self._model.decode(given + tokens).find(stop_text, first)
        return position if position >= 0 else None
