"""Decide which requests reach mlx-lm's server, and answer the others with an error that says what is wrong.

mlx-lm's server loads any model that a request names, fetches pictures from any address, and ends for everyone if a single request
has a value that its decoder refuses. Here only the model that is served can be asked, for text, and values are checked before.
"""

from __future__ import annotations

import json
import logging
import math
from typing import Any

from mlx_selfdebug.models.backend import mx  # noqa: F401  # it loads the BLAS before mlx_lm imports mlx

from mlx_lm.server import APIHandler, CompletionRequest

from mlx_selfdebug.models.load import Model

logger = logging.getLogger(__name__)

DEFAULT_NAME = "default_model"
"""The name that mlx-lm uses for a request that names no model."""
OWNER = "mlx-selfdebug"
"""What the answers name as the owner of the model and as the system that computed them."""


class RequestHandler(APIHandler):  # type: ignore[misc]
    """Answers one request.

    Args:
        generator: mlx-lm's object that decodes the requests of all handlers as one batch.
        name: the name of the model that is served.
        model: the model that is served.
        connection: what ``http.server`` passes to a handler.
    """

    max_tokens: int
    requested_model: str

    def __init__(self, generator: Any, name: str, model: Model, *connection: Any) -> None:
        self.name, self.model = name, model
        super().__init__(generator, *connection, system_fingerprint=OWNER)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        logger.info("%s %s", self.address_string(), format % args)

    def validate_model_parameters(self) -> None:
        super().validate_model_parameters()
        check_parameters(self.body, n_tokens_of(self.model))
        self.max_tokens = min(self.max_tokens, self.model.context)

    def handle_chat_completions(self) -> CompletionRequest:
        check_messages(self.body.get("messages"))
        return super().handle_chat_completions()

    def handle_text_completions(self) -> CompletionRequest:
        prompt = self.body.get("prompt")
        if not isinstance(prompt, str) or not prompt:
            raise ValueError("prompt must be a text that is not empty")
        return super().handle_text_completions()

    def handle_completion(self, request: CompletionRequest, stop_words: list[str]) -> None:
        if self.requested_model not in (self.name, DEFAULT_NAME):
            error = f"this server has no model {self.requested_model!r}; it serves {self.name!r}"
            self._send(404, {"error": {"message": error, "type": "invalid_request_error", "code": "model_not_found"}})
            return
        self.requested_model = self.name
        super().handle_completion(request, stop_words)

    def handle_models_request(self) -> None:
        """List the model that is served, or show it if the address ends with its name."""
        asked = self.path.partition("?")[0].removeprefix("/v1/models").strip("/")
        model = {"id": self.name, "object": "model", "created": self.created, "owned_by": OWNER}
        if asked in ("", self.name):
            self._send(200, model if asked else {"object": "list", "data": [model]})
        else:
            error = f"this server has no model {asked!r}; it serves {self.name!r}"
            self._send(404, {"error": {"message": error, "type": "invalid_request_error", "code": "model_not_found"}})

    def _send(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self._set_completion_headers(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def n_tokens_of(model: Model) -> int:
    """Return the size of the model's vocabulary."""
    settings = model.config.get("text_config", model.config)
    return int(settings.get("vocab_size", 0)) or len(model.tokenizer.get_vocab())


def check_messages(messages: Any) -> None:
    """Raise ValueError unless ``messages`` is a chat of text."""
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages must be a list with at least one message")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise ValueError("a message must be an object with a role")
        content = message.get("content")
        parts = content if isinstance(content, list) else []
        if not isinstance(content, list | str | None):
            raise ValueError("the content of a message must be a text or a list of parts")
        if not all(
            isinstance(part, dict) and isinstance(part.get("text"), str) and part.get("type") == "text"
            for part in parts
        ):
            raise ValueError("this model reads text only: every part of a message must be of the type text")


def check_parameters(body: dict[str, Any], n_tokens: int) -> None:
    """Raise ValueError for a value that would end the decoding of all requests. ``n_tokens`` is the size of the vocabulary."""
    for key in ("adapters", "draft_model"):
        if body.get(key) not in (None, DEFAULT_NAME):
            raise ValueError(f"{key} cannot be chosen by a request")
    numbers = [value for value in body.values() if isinstance(value, float)]
    if not all(map(math.isfinite, numbers)):
        raise ValueError("numbers must be finite")
    if isinstance(top_k := body.get("top_k"), int) and top_k >= n_tokens:
        raise ValueError(f"top_k must be less than {n_tokens}, the number of tokens")
    if isinstance(threshold := body.get("xtc_threshold"), float) and threshold > 0.5:
        raise ValueError("xtc_threshold must be at most 0.5")
    stop = body.get("stop") or []
    if not isinstance(stop, str) and not (
        isinstance(stop, list) and all(isinstance(text, str) and text for text in stop)
    ):
        raise ValueError("stop must be a text or a list of texts that are not empty")
    if isinstance(bias := body.get("logit_bias"), dict):
        _check_bias(bias, n_tokens)


def _check_bias(bias: dict[str, Any], n_tokens: int) -> None:
    for id_, value in bias.items():
        is_known = id_.isascii() and id_.isdigit() and int(id_) < n_tokens
        if not is_known or isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"logit_bias must give a number to each id of a token, which is less than {n_tokens}")
