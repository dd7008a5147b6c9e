"""Serve one model over HTTP, as OpenAI's API has it: mlx-lm's own server with a model from our loader.

The loader is what makes a GGUF file, an adapter and the dense weights of the CPU work here as they do everywhere else. Requests
that come at the same time are decoded as one batch, by mlx-lm. ``server_requests.py`` says which requests are let in.

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
"""How many tokens are decoded at most for a request that does not say it; the same as in mlx-lm."""
PROMPT_CACHE_ENTRIES = 10
PROMPT_CACHE_BYTES = 10**9
"""How many prompts' caches are kept for later requests that begin in the same way, and how many bytes they may take together."""
THREAD_END_S = 5.0 if sys.platform == "linux" else 0.5
"""How long the end of a thread is waited for. Only Linux tells when it has come."""
PORTS_TRIED = 50
"""How many ports after one that is in use are tried, in order to suggest one that is free."""


def model_loader(name: str, adapter: Adapter | None = None, progress: Progress | None = None) -> Callable[[], Model]:
    """Return a function that loads the model ``name``, with ``adapter`` if there is one.

    What has to be downloaded is downloaded at once. Raises ModelError as ``resolve_model`` does, and if the adapter was trained on
    other weights.
    """
    resolved = resolve_model(name, progress=progress)
    if adapter and adapter.base not in ("", resolved.origin):
        raise ModelError(f"the adapter {adapter.path} was trained on {adapter.base}, but {name} is {resolved.origin}")
    return lambda: load_model(name, adapter=adapter.path if adapter else None, progress=progress)


class Server:
    """A server of one model. It holds its port from the beginning, and answers requests while ``serve`` runs.

    Args:
        load: returns the model. It is called at once, in the thread that decodes.
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
        port: int = 8080,
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
        """The address that clients are given, such as ``http://127.0.0.1:8080/v1``."""
        host = self._http.server_name
        return f"http://{f'[{host}]' if ':' in host else host}:{self._http.server_port}/v1"

    @property
    def is_open(self) -> bool:
        """Whether other machines can reach the server."""
        return not ip_address(self._http.server_name.partition("%")[0]).is_loopback

    def wait_until_loaded(self) -> Model:
        """Wait until the model is loaded, and return it. Raises what loading it raised."""
        return self._provider.model_loaded.result()

    def serve(self) -> None:
        """Answer requests until the user interrupts this, which raises KeyboardInterrupt.

        Raises ServerError if mlx-lm's decoder has failed, since then no request could be answered any more.
        """
        self._http.serve_forever()

    def close(self) -> None:
        """Break off the requests that are being decoded, free the model and give the port back."""
        self._generator.stop()
        self._http.server_close()

    def _answer(self, *connection: Any) -> RequestHandler:
        return RequestHandler(self._generator, self.name, self.wait_until_loaded(), *connection)


class _OneModel(ModelProvider):  # type: ignore[misc]
    """Provides the model that is served, whatever model a request names."""

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
            # It is raised in the thread that waits for the model.
            self.model_loaded.set_exception(error)
        else:
            self.model_loaded.set_result(loaded)

    def load(self, *_: Any) -> tuple[nn.Module, Any]:
        return self.model, self.tokenizer


class _Generator(ResponseGenerator):  # type: ignore[misc]
    """mlx-lm's generator, which can also be stopped in the middle of requests."""

    def __init__(self, provider: ModelProvider, prompt_cache: LRUPromptCache) -> None:
        self._contexts: list[Any] = []
        super().__init__(provider, prompt_cache)

    def generate(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        context, responses = super().generate(*args, **kwargs)
        self._contexts = [other for other in self._contexts if not other._should_stop] + [context]
        return context, responses

    def stop(self) -> None:
        """Break off all requests, and wait until the thread that decodes has ended."""
        for context in self._contexts:
            context.stop()
        thread_id = self._generation_thread.native_id
        self.stop_and_join()
        _wait_until_gone(thread_id)


def _wait_until_gone(thread_id: int) -> None:
    """Wait until the operating system has ended a thread that Python has joined.

    Up to Python 3.12, Python joins a thread a moment before it ends. In this moment mlx frees what it compiled in the thread, for
    which it needs the interpreter. If the interpreter is about to end by then, the process is aborted.
    """
    deadline = time.monotonic() + THREAD_END_S
    task = Path(f"/proc/self/task/{thread_id}")
    while time.monotonic() < deadline and (task.exists() or sys.platform != "linux"):
        time.sleep(0.01)


class _PromptCache(LRUPromptCache):  # type: ignore[misc]
    """mlx-lm's cache of prompts, which always leaves the last token of a prompt to be computed.

    mlx-lm's own cache leaves none for a prompt that it has as a whole, for example after a character was deleted from the prompt
    before. But its decoder needs one, and would end for all requests (https://github.com/ml-explore/mlx-lm/pull/1887).
    """

    def fetch_nearest_cache(self, model: Any, tokens: list[int]) -> tuple[Any, list[int]]:
        cache, rest = super().fetch_nearest_cache(model, tokens[:-1])
        return cache, [*rest, *tokens[-1:]]


class _Http(ThreadingHTTPServer):
    """The HTTP server, which ends with an error if nothing can be decoded any more."""

    request_queue_size = (
        128  # With the 5 of the standard library, clients that come all at once would have to try again.
    )

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
        if not self.is_healthy():
            raise ServerError(
                "the model cannot go on after an error in mlx-lm, which stands above", hint="start the server again"
            )

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        error = sys.exc_info()[1]
        if isinstance(error, ConnectionError):
            logger.info("%s hung up", client_address[0])
        else:
            logger.warning("a request from %s failed: %r", client_address[0], error)


def _listen(host: str, port: int, handler: Callable[..., Any]) -> _Http:
    """Return an HTTP server that holds the port. Raises UsageError if it cannot have it."""
    try:
        return _Http(host, port, handler)
    except socket.gaierror as error:
        raise UsageError(f"{host!r} is not an address: {error.strerror}", hint="leave out --host") from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(f"{host} is not an address of this machine", hint="leave out --host") from error
        is_taken = error.errno == errno.EADDRINUSE
        why = "is in use by another program" if is_taken else f"cannot be used: {error.strerror or error}"
        free = _free_port(host, port if is_taken else 8080)
        hint = f"{free} is free: --port {free}" if free else "choose another with --port"
        raise UsageError(f"port {port} of {host} {why}", hint=hint) from error


def _free_port(host: str, port: int) -> int | None:
    """Return the first free port after ``port``, or None if none of the next is free."""
    for candidate in range(port + 1, min(port + PORTS_TRIED, 65535)):
        with suppress(OSError):
            _Http(host, candidate, RequestHandler).server_close()
            return candidate
    return None


def _options(origins: Sequence[str]) -> Namespace:
    """Return the options of mlx-lm's server. Apart from what is served and to whom, they are its defaults."""
    return Namespace(
        model=None,
        adapter_path=None,
        draft_model=None,
        trust_remote_code=False,
        chat_template="",
        use_default_chat_template=False,
        chat_template_args={"enable_thinking": False},  # as everywhere here: the reply should be code
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
