"""Serve one model over HTTP with OpenAI's API, by means of mlx-lm's server.

The model comes from our own loader and not from mlx-lm's, so that GGUF files, adapters and the dense weights of the CPU work as
they do everywhere else. mlx-lm decodes requests that come at the same time as one batch. ``server_requests.py`` decides which
requests reach mlx-lm.

    with Server(model_loader("qwen2.5-coder-0.5b"), "coder", port=8080) as server:
        server.wait_until_loaded()
        print(server.address)
        server.serve()  # until Ctrl-C
"""

from __future__ import annotations

import errno
import logging
import socket
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from http.server import ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from socketserver import TCPServer
from types import TracebackType
from typing import Any

from mlx_selfdebug.models.backend import nn

from mlx_lm.generate import DEFAULT_QUANTIZED_KV_START
from mlx_lm.models.cache import LRUPromptCache, make_prompt_cache
from mlx_lm.server import ModelProvider, ResponseGenerator

from mlx_selfdebug.errors import ModelError, ServerError, UsageError
from mlx_selfdebug.exporting.server_requests import RequestHandler
from mlx_selfdebug.models.load import Model, load_model
from mlx_selfdebug.models.resolve import resolve_model
from mlx_selfdebug.progress import Progress
from mlx_selfdebug.training.adapter import Adapter

logger = logging.getLogger(__name__)

MAX_TOKENS = 512
"""The maximum number of tokens that are decoded for a request that gives no maximum; the same as in mlx-lm."""
PROMPT_CACHE_ENTRIES = 10
PROMPT_CACHE_BYTES = 10**9
"""The limits on the cache of prompts, from which later requests with the same beginning profit: its entries, and their bytes."""
THREAD_END_S = 5.0 if sys.platform == "linux" else 0.5
"""The longest time to wait for the end of a thread, in seconds. Only Linux shows the end, so elsewhere we always wait this long."""
DEFAULT_PORT, MAX_PORT = 8080, 65535
PORTS_TRIED = 50
"""The number of ports above one that is in use that are tried, in order to suggest a free one."""


def model_loader(name: str, adapter: Adapter | None = None, progress: Progress | None = None) -> Callable[[], Model]:
    """Return a function that loads the model ``name``, with ``adapter`` if there is one.

    If the model has to be downloaded, that is done before this returns. Raises ModelError as ``resolve_model`` does, and if the
    adapter was trained on other weights.
    """
    resolved = resolve_model(name, progress=progress)
    if adapter and adapter.base not in ("", resolved.origin):
        raise ModelError(f"the adapter {adapter.path} was trained on {adapter.base}, but {name} is {resolved.origin}")
    return lambda: load_model(name, adapter=adapter.path if adapter else None, progress=progress)


class Server:
    """A server of one model. It has its port as soon as it is created, and answers requests while ``serve`` runs.

    Args:
        load: a function that returns the model. It is called at once, in the thread that decodes.
        name: the name by which requests ask for the model.
        host: the address to listen on. 127.0.0.1 can be reached from this machine alone.
        port: the port to listen on, or 0 for any that is free.
        origins: the origins of web pages that may read the answers, such as "http://localhost:3000". "*" stands for any.

    Raises UsageError if the port is in use, or if the address is not one of this machine.
    """

    def __init__(
        self,
        load: Callable[[], Model],
        name: str,
        *,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        origins: Sequence[str] = (),
    ) -> None:
        self.name = name
        self._http = _listen(host, port, self._answer)
        try:
            self._provider = _OneModel(load, _options(origins))
            self._generator = _Generator(self._provider, _PromptCache(PROMPT_CACHE_ENTRIES, PROMPT_CACHE_BYTES))
        except BaseException:
            self._http.server_close()
            raise
        self._http.is_healthy = self._generator.generation_available

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def address(self) -> str:
        """The base address for clients, such as ``http://127.0.0.1:8080/v1``."""
        host = self._http.server_name
        return f"http://{f'[{host}]' if ':' in host else host}:{self._http.server_port}/v1"

    @property
    def is_open(self) -> bool:
        """Whether other machines can reach the server."""
        return not ip_address(self._http.server_name.partition("%")[0]).is_loopback

    def wait_until_loaded(self) -> Model:
        """Wait until the model is loaded, and return it. Raises the error of the loader if loading failed."""
        return self._provider.model_loaded.result()

    def serve(self) -> None:
        """Answer requests until the user interrupts this, which raises KeyboardInterrupt.

        Raises ServerError if mlx-lm's decoder has failed, since then no request could be answered any more.
        """
        self._http.serve_forever()

    def close(self) -> None:
        """Stop the requests that are being decoded, free the model and release the port."""
        self._generator.stop()
        self._http.server_close()

    def _answer(self, *connection: Any) -> RequestHandler:
        """Answer the requests of one connection. ``http.server`` calls this in place of a handler's class."""
        return RequestHandler(self._generator, self.name, self.wait_until_loaded(), *connection)


class _OneModel(ModelProvider):  # type: ignore[misc]
    """mlx-lm's provider of models, which here always provides the same model."""

    def __init__(self, load: Callable[[], Model], options: Namespace) -> None:
        super().__init__(options)
        self.model_loaded: Future[Model] = Future()
        self._load_model = load

    def load_default(self) -> None:
        """Load the model. mlx-lm calls this once, in the thread that decodes."""
        try:
            loaded = self._load_model()
            self.model, self.tokenizer = loaded.network, loaded.tokenizer
            self.model_key = (loaded.name, loaded.adapter, None)
            self.is_batchable = all(hasattr(layer, "merge") for layer in make_prompt_cache(loaded.network))
        except BaseException as error:
            # ``wait_until_loaded`` raises it in the thread that waits for the model.
            self.model_loaded.set_exception(error)
        else:
            self.model_loaded.set_result(loaded)

    def load(self, *_: Any) -> tuple[nn.Module, Any]:
        """Return the network and the tokenizer. mlx-lm calls this with the names in a request, which are ignored."""
        return self.model, self.tokenizer


class _Generator(ResponseGenerator):  # type: ignore[misc]
    """mlx-lm's generator, which can also be stopped in the middle of requests."""

    def __init__(self, provider: ModelProvider, prompt_cache: LRUPromptCache) -> None:
        self._contexts: list[Any] = []
        """mlx-lm's objects for the requests that are being decoded. Each can be stopped."""
        super().__init__(provider, prompt_cache)

    def generate(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Begin to decode a request, and remember it so that ``stop`` can stop it."""
        context, responses = super().generate(*args, **kwargs)
        self._contexts = [other for other in self._contexts if not other._should_stop] + [context]
        return context, responses

    def stop(self) -> None:
        """Stop all requests, and wait until the thread that decodes has ended."""
        for context in self._contexts:
            context.stop()
        thread_id = self._generation_thread.native_id
        self.stop_and_join()
        _wait_until_gone(thread_id)


def _wait_until_gone(thread_id: int) -> None:
    """Wait until the operating system has ended a thread that Python has joined.

    Up to Python 3.12, ``join`` returns a moment before the thread has ended. In this moment mlx frees what it compiled in the
    thread, for which it needs the interpreter. If the interpreter is already shutting down then, the process is aborted.
    """
    deadline = time.monotonic() + THREAD_END_S
    task = Path(f"/proc/self/task/{thread_id}")
    while time.monotonic() < deadline and (task.exists() or sys.platform != "linux"):
        time.sleep(0.01)


class _PromptCache(LRUPromptCache):  # type: ignore[misc]
    """mlx-lm's cache of prompts, changed so that the last token of a prompt always remains to be computed.

    mlx-lm's own cache returns no remaining token if it holds the whole prompt, for example because the prompt is the beginning of
    an earlier one. But mlx-lm's decoder needs a token. Without one, it fails, and with it all other requests
    (https://github.com/ml-explore/mlx-lm/pull/1887).
    """

    def fetch_nearest_cache(self, model: Any, tokens: list[int]) -> tuple[Any, list[int]]:
        """Return the cache for the longest known beginning of ``tokens``, and the tokens that remain to be computed."""
        cache, remaining = super().fetch_nearest_cache(model, tokens[:-1])
        return cache, [*remaining, *tokens[-1:]]


class _Http(ThreadingHTTPServer):
    """The HTTP server, which stops with a ServerError once mlx-lm's decoder has failed."""

    # With the 5 of the standard library, clients that connect all at once would have to try again.
    request_queue_size = 128

    def __init__(self, host: str, port: int, handler: Callable[..., Any]) -> None:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, _, _, _, address = infos[0]
        self.is_healthy: Callable[[], bool] = lambda: True
        super().__init__(address, handler)  # type: ignore[arg-type]

    def server_bind(self) -> None:
        # The method of the base class looks up the name of the host, which may take seconds and is not needed.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def service_actions(self) -> None:
        """Raise ServerError if the decoder has failed. ``serve_forever`` calls this about twice a second."""
        if not self.is_healthy():
            raise ServerError(
                "the model cannot go on after an error in mlx-lm, which stands above", hint="start the server again"
            )

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log an error of a connection in one line. The method of the base class would print a traceback."""
        error = sys.exc_info()[1]
        if isinstance(error, ConnectionError):
            logger.info("%s hung up", client_address[0])
        else:
            logger.warning("a request from %s failed: %r", client_address[0], error)


def _listen(host: str, port: int, handler: Callable[..., Any]) -> _Http:
    """Return an HTTP server that listens on the port. Raises UsageError if that is not possible, with a hint at what is."""
    try:
        return _Http(host, port, handler)
    except socket.gaierror as error:
        raise UsageError(f"{host!r} is not an address: {error.strerror}", hint="leave out --host") from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(f"{host} is not an address of this machine", hint="leave out --host") from error
        is_taken = error.errno == errno.EADDRINUSE
        reason = "is in use by another program" if is_taken else f"cannot be used: {error.strerror or error}"
        # A port below 1024 may not be allowed at all, and then the ports after it are not either.
        free_port = _free_port(host, port if is_taken else DEFAULT_PORT)
        hint = f"{free_port} is free: --port {free_port}" if free_port else "choose another with --port"
        raise UsageError(f"port {port} of {host} {reason}", hint=hint) from error


def _free_port(host: str, port: int) -> int | None:
    """Return the first free one of the ``PORTS_TRIED`` ports after ``port``, or None if none of them is free."""
    for candidate in range(port + 1, min(port + PORTS_TRIED, MAX_PORT) + 1):
        with suppress(OSError):
            _Http(host, candidate, RequestHandler).server_close()
            return candidate
    return None


def _options(origins: Sequence[str]) -> Namespace:
    """Return the options of mlx-lm's server: its defaults, apart from the origins, thinking and the size of the prompt cache."""
    return Namespace(
        model=None,
        adapter_path=None,
        draft_model=None,
        trust_remote_code=False,
        chat_template="",
        use_default_chat_template=False,
        chat_template_args={"enable_thinking": False},  # as in the rest of the package, so that the reply is code
        allowed_origins=list(origins),
        temp=0.0,
        top_p=1.0,
        top_k=0,
        min_p=0.0,
        max_tokens=MAX_TOKENS,
        num_draft_tokens=3,
        decode_concurrency=32,
        prompt_concurrency=8,
        prefill_step_size=2048,
        prompt_cache_size=PROMPT_CACHE_ENTRIES,
        prompt_cache_bytes=PROMPT_CACHE_BYTES,
        kv_bits=None,
        kv_group_size=64,
        quantized_kv_start=DEFAULT_QUANTIZED_KV_START,
        pipeline=False,
    )
