"""The command ``serve`` as a real process, which is asked by the client of OpenAI."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.models.load import load_model
from mlx_selfdebug.store import Key, Run
from mlx_selfdebug.testing import write_tiny_model

from ..support.taught import greedy_texts, teach_adapter
from ..support.values import small_config
from .test_kill import heed_interrupts

openai = pytest.importorskip("openai")
pytestmark = pytest.mark.slow

LESSONS = {f"Write f{i}.": f"def f{i}(x):\n    return {i}\n" for i in range(8)}
MAX_TOKENS = 48


@dataclass(frozen=True)
class Served:
    """A server that is running."""

    address: str
    name: str

    @property
    def client(self) -> Any:
        return openai.OpenAI(base_url=self.address, api_key="none", max_retries=0, timeout=120)

    def ask(self, said: str, **options: Any) -> Any:
        messages = [{"role": "user", "content": said}]
        given = {"model": self.name, "messages": messages, "max_tokens": MAX_TOKENS, **options}
        return self.client.chat.completions.create(**given)

    def text(self, said: str, **options: Any) -> str:
        return str(self.ask(said, **options).choices[0].message.content)


def serve(*words: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mlx_selfdebug", "serve", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=heed_interrupts, **options)


@contextmanager
def serving(*words: str) -> Iterator[Served]:
    with serve(*words, "--port", "0", "--json", "--quiet") as process:
        try:
            assert process.stdout
            line = json.loads(process.stdout.readline())
            yield Served(line["address"], line["name"])
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(timeout=60)
        assert code == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a tiny model, with an adapter that was taught to answer."""
    folder = tmp_path_factory.mktemp("serving")
    model = load_model(str(write_tiny_model(folder / "coder")))
    with Run(folder / "mine", small_config(model=str(folder / "coder"))) as opened:
        opened.remember(Key.MODEL, model.origin)
        teach_adapter(model, opened.adapter_path, LESSONS)
    return folder / "mine"


@pytest.fixture(scope="module")
def expected(run: Path) -> dict[str, str]:
    """What our own decoder answers to each message, greedily, with the adapter."""
    model = load_model(str(run.parent / "coder"), adapter=run / "adapter")
    return dict(zip(LESSONS, greedy_texts(model, list(LESSONS), MAX_TOKENS), strict=True))


@pytest.fixture(scope="module")
def served(run: Path) -> Iterator[Served]:
    with serving(str(run)) as running:
        yield running


def test_the_client_gets_the_adapters_greedy_text(served: Served, run: Path, expected: dict[str, str]) -> None:
    base = greedy_texts(load_model(str(run.parent / "coder")), list(LESSONS), MAX_TOKENS)
    assert all(base[i] != text for i, text in enumerate(expected.values()))
    assert {said: served.text(said) for said in LESSONS} == expected


def test_the_parts_of_a_stream_are_the_same_text(served: Served, expected: dict[str, str]) -> None:
    said = "Write f3."
    parts = [chunk.choices[0].delta.content or "" for chunk in served.ask(said, stream=True)]
    assert "".join(parts) == expected[said]
    assert len(parts) > 2


def test_of_eight_requests_at_once_one_is_cut_off_and_none_of_the_others_is_lost(
    served: Served, expected: dict[str, str]
) -> None:
    cut, *others = LESSONS
    # This answer never ends by itself, so it is under way when its client hangs up.
    endless = served.ask(cut, stream=True, max_tokens=4000, logit_bias={"258": -100})
    next(iter(endless))
    with ThreadPoolExecutor(len(others)) as pool:
        answers = [pool.submit(served.text, said) for said in others]
        time.sleep(0.05)
        endless.close()
        assert [answer.result() for answer in answers] == [expected[said] for said in others]
    assert served.text(cut) == expected[cut]


def test_a_model_that_is_not_served_is_refused_by_name(served: Served, run: Path) -> None:
    for other in ("mlx-community/Qwen3-0.6B-4bit", str(run.parent / "coder")):
        with pytest.raises(openai.NotFoundError, match=served.name):
            served.ask("Write f1.", model=other)
    assert [model.id for model in served.client.models.list()] == [served.name]
    assert served.client.models.retrieve(served.name).id == served.name


def test_a_request_that_names_no_model_is_answered_by_the_one_there_is(
    served: Served, expected: dict[str, str]
) -> None:
    answer = served.ask("Write f1.", model="default_model")
    assert (answer.choices[0].message.content, answer.model) == (expected["Write f1."], served.name)


def test_a_completion_that_was_cut_short_can_be_continued(served: Served, expected: dict[str, str]) -> None:
    prompt, text = "<|im_start|>user\nWrite f1.<|im_end|>\n<|im_start|>assistant\n", ""
    for _ in range(3):
        answer = served.client.completions.create(model=served.name, prompt=prompt + text, max_tokens=4)
        text += answer.choices[0].text
    assert text == expected["Write f1."][:12]


@pytest.mark.parametrize(
    "options",
    [
        {"extra_body": {"top_k": 10**6}, "temperature": 1},
        {"extra_body": {"adapters": "/etc"}},
        {"extra_body": {"stop": [1, 2]}},
        {"logit_bias": {"99999999": 1}},
        {"messages": []},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x"}}]}
            ]
        },
    ],
)
def test_a_request_that_cannot_be_answered_is_told_why_and_the_next_one_is_answered(
    served: Served, expected: dict[str, str], options: dict[str, Any]
) -> None:
    with pytest.raises(openai.BadRequestError):
        served.ask("Write f2.", **options)
    assert served.text("Write f2.") == expected["Write f2."]


def test_sampled_and_seeded_and_penalized_requests_share_the_server(served: Served, expected: dict[str, str]) -> None:
    options = [{"seed": 1, "temperature": 1}, {"temperature": 0.5, "top_p": 0.9}, {"frequency_penalty": 0.5}, {}] * 2
    with ThreadPoolExecutor(len(options)) as pool:
        answers = [pool.submit(served.text, "Write f5.", **chosen) for chosen in options]
        texts = [answer.result() for answer in answers]
    assert texts[3] == texts[7] == expected["Write f5."]
    assert texts[0] == texts[4]


def test_the_base_is_served_without_a_run(run: Path) -> None:
    model = load_model(str(run.parent / "coder"))
    with serving("--model", str(run.parent / "coder")) as base:
        assert base.name == "coder"
        text = base.client.completions.create(model="coder", prompt="def f", max_tokens=1).choices[0].text
    assert text in (model.decode([i]) for i in range(256))


def test_an_interrupt_ends_it_in_the_middle_of_an_answer(run: Path) -> None:
    with serving(str(run)) as other:
        next(iter(other.ask("Write f1.", stream=True, max_tokens=4000, seed=1, logit_bias={"258": -100})))


def test_the_address_the_name_and_how_to_ask_are_printed(run: Path) -> None:
    with serve(str(run), "--port", "0", "--name", "tuned", stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        first = process.stdout.readline()
        while "print(" not in (line := process.stdout.readline()):
            assert line
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        code = process.wait(timeout=60)
    assert first.startswith("tuned is served at http://127.0.0.1:")
    assert str(run) in first
    assert (code, "stopped" in said, "Traceback" in said) == (0, True, False)


def test_a_port_in_use_is_one_clear_line(run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with serve(str(run), "--port", str(port), stderr=subprocess.PIPE) as process:
            out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert said.startswith(f"Error: port {port} of 127.0.0.1 is in use by another program\n  help: ")
    assert " is free: --port " in said


def test_nothing_to_serve_is_a_mistake_of_usage() -> None:
    with serve(stderr=subprocess.PIPE) as process:
        _, said = process.communicate(timeout=60)
    assert (process.returncode, "there is nothing to serve" in said) == (2, True)
