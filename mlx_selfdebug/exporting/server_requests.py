"""Check each request before mlx-lm's server sees it, and answer a request that is refused with an error that says what is wrong.

mlx-lm's server is meant for trusted clients. It loads any model that a request names, and fetches pictures from any address. If
its decoder fails because of one value in one request, it stops for all clients. Here, a request can ask only the model that is
served, and only with text, and its values are checked first.

    POST /v1/chat/completions  {"model": "other", "messages": [...]}
    404                        {"error": {"message": "this server has no model 'other'; it serves 'coder'", ...}}
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
"""The name that mlx-lm gives to the model of a request that names none."""
OWNER = "mlx-selfdebug"
"""The text in the answers for the owner of the model ("owned_by") and for the system ("system_fingerprint")."""


class RequestHandler(APIHandler):  # type: ignore[misc]
    """A handler of the requests of one connection. mlx-lm's handler calls the methods below, and answers 400 to a ValueError.

    Args:
        generator: mlx-lm's object that decodes the requests of all handlers as one batch.
        name: the name of the model that is served.
        model: the model that is served.
        connection: the arguments that ``http.server`` passes to a handler.
    """

    max_tokens: int
    """The maximum number of tokens in the request."""
    requested_model: str
    """The name of the model in the request, or ``DEFAULT_NAME``."""

    def __init__(self, generator: Any, name: str, model: Model, *connection: Any) -> None:
        self.name, self.model = name, model
        super().__init__(generator, *connection, system_fingerprint=OWNER)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        logger.info("%s %s", self.address_string(), format % args)

    def validate_model_parameters(self) -> None:
        """Check the values of a request. Raises ValueError for one that would make the decoder fail."""
        super().validate_model_parameters()
        check_parameters(self.body, n_tokens_of(self.model))
        self.max_tokens = min(self.max_tokens, self.model.context)

    def handle_chat_completions(self) -> CompletionRequest:
        """Return what is decoded for a chat. Raises ValueError if the chat has anything but text."""
        check_messages(self.body.get("messages"))
        return super().handle_chat_completions()

    def handle_text_completions(self) -> CompletionRequest:
        """Return what is decoded for a plain prompt. Raises ValueError if there is no prompt."""
        prompt = self.body.get("prompt")
        if not isinstance(prompt, str) or not prompt:
            raise ValueError("prompt must be a text that is not empty")
        return super().handle_text_completions()

    def handle_completion(self, request: CompletionRequest, stop_words: list[str]) -> None:
        """Decode a request, unless it names a model that is not served."""
        if self.requested_model not in (self.name, DEFAULT_NAME):
            self._refuse_model(self.requested_model)
            return
        self.requested_model = self.name
        super().handle_completion(request, stop_words)

    def handle_models_request(self) -> None:
        """Answer ``GET /v1/models`` with a list of the one model, and ``GET /v1/models/NAME`` with that model."""
        name = self.path.partition("?")[0].removeprefix("/v1/models").strip("/")
        model = {"id": self.name, "object": "model", "created": self.created, "owned_by": OWNER}
        if not name:
            self._send(200, {"object": "list", "data": [model]})
        elif name == self.name:
            self._send(200, model)
        else:
            self._refuse_model(name)

    def _refuse_model(self, name: str) -> None:
        """Answer that the model ``name`` is not served, in the form of OpenAI's API."""
        message = f"this server has no model {name!r}; it serves {self.name!r}"
        self._send(404, {"error": {"message": message, "type": "invalid_request_error", "code": "model_not_found"}})

    def _send(self, status: int, content: dict[str, Any]) -> None:
        """Answer with JSON."""
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
    """Raise ValueError unless ``messages`` is a chat whose messages consist of text.

    The content of a message is a text, a list of parts such as ``{"type": "text", "text": "..."}``, or None.
    """
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages must be a list with at least one message")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise ValueError("a message must be an object with a role")
        content = message.get("content")
        if not isinstance(content, list | str | None):
            raise ValueError("the content of a message must be a text or a list of parts")
        if isinstance(content, list) and not all(map(_is_text_part, content)):
            raise ValueError("this model reads text only: every part of a message must be of the type text")


def _is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def check_parameters(body: dict[str, Any], n_tokens: int) -> None:
    """Raise ValueError for a value in the request ``body`` that would make mlx-lm's decoder fail, and so end all other requests.

    ``n_tokens`` is the size of the vocabulary.
    """
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
    stop_texts = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop_texts, list) or not all(isinstance(text, str) and text for text in stop_texts):
        raise ValueError("stop must be a text or a list of texts that are not empty")
    if isinstance(bias := body.get("logit_bias"), dict):
        _check_bias(bias, n_tokens)


def _check_bias(bias: dict[str, Any], n_tokens: int) -> None:
    """Raise ValueError unless ``bias`` maps ids of tokens, which are texts in JSON, to finite numbers."""
    for id_, value in bias.items():
        is_id = id_.isascii() and id_.isdigit() and int(id_) < n_tokens
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not (is_id and is_number):
            raise ValueError(f"logit_bias must give a number to each id of a token, which is less than {n_tokens}")
