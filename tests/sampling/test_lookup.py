"""Guessing the next tokens of a greedy completion from its prompt, and checking the guesses in one step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.sampling.decoder import BatchDecoder
from mlx_selfdebug.sampling.language_model import complete
from mlx_selfdebug.sampling.lookup import Lookup
from mlx_selfdebug.sampling.prefixes import Prefixes
from mlx_selfdebug.sampling.request import Completion, Request
from mlx_selfdebug.sampling.slots import Slots

tokens = st.lists(st.integers(0, 4), min_size=1, max_size=60)
PROGRAM = "def add(a, b):\n    total = a - b\n    return total\n"


@given(tokens, st.integers(0, 20))
def test_a_guess_is_what_follows_another_place_of_the_last_token(text: list[int], most: int) -> None:
    guess = Lookup(text).guess(most)
    longer = text + guess
    places = [i for i, token in enumerate(text[:-1]) if token == text[-1]]
    assert len(guess) == (most if places else 0)
    assert not guess or any(longer[i + 1 : i + 1 + most] == guess for i in places)


@given(tokens, tokens, st.integers(1, 20))
def test_a_guess_crosses_from_no_text_into_another(other: list[int], text: list[int], most: int) -> None:
    guess = Lookup(text, other).guess(most)
    assert all(0 <= token <= 4 for token in guess)
    assert len(guess) <= most


@given(st.lists(st.integers(0, 200), unique=True, min_size=2, max_size=60), st.data())
def test_a_copy_of_a_text_without_repetitions_is_guessed_to_its_end(text: list[int], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(text) - 1))
    assert Lookup([*text, 999, *text[:n]]).guess(len(text) - n) == text[n:]


@given(st.lists(st.integers(0, 200), unique=True, min_size=2, max_size=60), st.data())
def test_another_text_is_copied_from_as_well(text: list[int], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(text) - 1))
    assert Lookup([999, *text[:n]], text).guess(80) == text[n:]


@given(tokens, tokens)
def test_tokens_that_are_added_are_looked_up_like_those_before(text: list[int], more: list[int]) -> None:
    lookup = Lookup(text)
    for token in more:
        lookup.add([token])
    assert lookup.guess(9) == Lookup(text + more).guess(9)


def test_the_place_that_agrees_with_more_of_the_last_tokens_is_taken() -> None:
    assert Lookup([1, 2, 3, 7, 9, 2, 3, 8, 1, 2, 3]).guess(1) == [7]


def test_of_places_that_agree_alike_the_next_one_is_taken() -> None:
    lookup = Lookup([1, 7, 1, 8, 1, 9, 5, 6, 5])
    lookup.guess(1)
    lookup = Lookup([1, 7, 0, 2, 1, 8, 0, 3, 1, 9, 0, 0, 4, 2])
    assert lookup.guess(1) == [1]
    lookup.add([5, 1])
    assert lookup.guess(1) == [8]


def test_what_repeats_itself_is_guessed_to_go_on() -> None:
    assert Lookup([1, 2, 3, 1, 2, 3]).guess(7) == [1, 2, 3, 1, 2, 3, 1]


def request(model: Any, text: str = PROGRAM, **changes: Any) -> Request:
    return Request(tuple(model.encode(text)), **{"max_tokens": 40, **changes})


def decode(model: Any, requests: list[Request], **options: Any) -> tuple[list[Completion], BatchDecoder]:
    """Decode the requests one after the other, each alone."""
    decoder = BatchDecoder(model, 16, **options)
    return [completion for one in requests for completion in complete(decoder, [one])], decoder


def foreseen(model: Any, asked: Request) -> Request:
    """Return the same request with a text to copy from that holds what it will decode."""
    seen: list[int] = list(asked.prompt + asked.given)
    n = len(seen) + asked.max_tokens
    while len(seen) < n:
        done = decode(model, [replace(asked, prompt=tuple(seen), given=(), max_tokens=1, stop_text="")], guesses=0)[0]
        seen += model.encode(done[0].text) or [next(iter(model.eos_ids))]
    return replace(asked, read=tuple(seen))


PROMPTS = [PROGRAM, PROGRAM * 3, "x", "abcabcabcabc", "a longer prompt than the other, with no program"]


@pytest.fixture(scope="module", params=["qwen2", "llama", "qwen3"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from mlx_selfdebug.testing import tiny_model

    return tiny_model(tmp_path_factory.mktemp(request.param), architecture=request.param, layers=2)


@pytest.mark.parametrize("guesses", [None, 1, 5, 40])
def test_guessing_changes_no_completion(model: Any, guesses: int | None) -> None:
    asked = [request(model, text, max_tokens=n) for text in PROMPTS for n in (1, 2, 17, 90)]
    assert decode(model, asked, guesses=guesses)[0] == decode(model, asked, guesses=0)[0]
