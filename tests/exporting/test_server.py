"""What stands between a request and mlx-lm's server. The server itself is tested as a process, in tests/cli/test_serve.py."""

from __future__ import annotations

import inspect
import re
import socket
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx

import mlx_lm.server
import pytest
from mlx_lm.models.cache import make_prompt_cache

from mlx_selfdebug.errors import ModelError, UsageError
from mlx_selfdebug.exporting import server as server_module
from mlx_selfdebug.exporting.server import Server, _options, _PromptCache, model_loader
from mlx_selfdebug.exporting.server_requests import check_messages, check_parameters
from mlx_selfdebug.training.adapter import Adapter


def test_every_option_that_mlx_lms_server_reads_is_set() -> None:
    read = set(re.findall(r"cli_args\.(\w+)", inspect.getsource(mlx_lm.server)))
    assert len(read) > 10
    assert read <= vars(_options([])).keys()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"adapters": "/etc"}, "adapters cannot be chosen"),
        ({"draft_model": "someone/else"}, "draft_model cannot be chosen"),
        ({"temperature": float("nan")}, "must be finite"),
        ({"top_k": 300}, "top_k must be less than 259"),
        ({"xtc_threshold": 0.7}, "xtc_threshold must be at most 0.5"),
        ({"stop": [1]}, "stop must be"),
        ({"stop": [""]}, "stop must be"),
        ({"stop": {"a": 1}}, "stop must be"),
        ({"logit_bias": {"259": 1}}, "logit_bias must"),
        ({"logit_bias": {"-1": 1}}, "logit_bias must"),
        ({"logit_bias": {"1": "much"}}, "logit_bias must"),
    ],
)
def test_a_value_that_would_end_the_decoding_of_all_requests_is_refused(body: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_parameters(body, 259)


def test_what_clients_usually_send_is_let_in() -> None:
    bias = {"5": -100, "6": 0.5}
    check_parameters({"top_k": 40, "stop": ["\n\n"], "logit_bias": bias, "temperature": 0.7, "stream": True}, 259)
    check_parameters({"stop": None, "draft_model": "default_model"}, 259)
    text = {"type": "text", "text": "Write it."}
    check_messages(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [text]},
            {"role": "assistant", "content": None},
        ]
    )


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        "hello",
        ["hello"],
        [{"content": "hello"}],
        [{"role": "user", "content": 5}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/secret"}}]}],
    ],
)
def test_a_chat_that_is_not_text_is_refused_before_any_address_in_it_is_opened(messages: Any) -> None:
    with pytest.raises(ValueError, match=r"message|text only"):
        check_messages(messages)


@pytest.mark.parametrize("length", [1, 4, 6])
def test_a_prompt_that_is_in_the_cache_as_a_whole_still_has_a_token_to_compute(tiny: Any, length: int) -> None:
    tokens, layers = [5, 6, 7, 8, 9, 10], make_prompt_cache(tiny.network)
    mx.eval(tiny.network(mx.array([tokens]), cache=layers))
    cache = _PromptCache(10)
    cache.insert_cache("model", tokens, layers)
    kept, rest = cache.fetch_nearest_cache("model", tokens[:length])
    computed = kept[0].offset if kept else 0
    assert tokens[computed:length] == rest
    assert rest


def test_a_port_in_use_is_told_with_a_free_one_before_the_model_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(UsageError, match=rf"port {port} of 127\.0\.0\.1 is in use") as caught:
            Server(lambda: pytest.fail("loaded"), "model", port=port)
    free = int(str(caught.value.hint).rpartition(" ")[2])
    assert free != port
    socket.create_server(("127.0.0.1", free)).close()


def test_the_last_one_of_all_ports_can_be_the_free_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        monkeypatch.setattr(server_module, "MAX_PORT", port + 1)
        with pytest.raises(UsageError) as caught:
            Server(lambda: pytest.fail("loaded"), "model", port=port)
    assert caught.value.hint == f"{port + 1} is free: --port {port + 1}"


def test_an_address_that_this_machine_does_not_have_is_told() -> None:
    with pytest.raises(UsageError, match="not an address of this machine"):
        Server(lambda: pytest.fail("loaded"), "model", host="192.0.2.1", port=0)
    with pytest.raises(UsageError, match="is not an address"):
        Server(lambda: pytest.fail("loaded"), "model", host="no such host", port=0)


def test_a_model_that_cannot_be_loaded_is_told_to_who_waits_for_it() -> None:
    def load() -> Any:
        raise ModelError("damaged")

    with Server(load, "model", port=0) as server, pytest.raises(ModelError, match="damaged"):
        server.wait_until_loaded()


def test_a_server_knows_whether_others_can_reach_it(tiny: Any) -> None:
    with Server(lambda: tiny, "model", port=0) as server:
        assert not server.is_open
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", server.address)
    with Server(lambda: tiny, "model", host="0.0.0.0", port=0) as server:
        assert server.is_open


def test_an_adapter_of_another_model_is_refused_before_anything_is_loaded(tiny_folder: Path) -> None:
    with pytest.raises(ModelError, match="was trained on gguf:0123"):
        model_loader(str(tiny_folder), Adapter(tiny_folder, "gguf:0123"))
