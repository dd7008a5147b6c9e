"""Completions that begin with tokens they are given: forks of a program that was read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.sampling.decoder import BatchDecoder
from mlx_selfdebug.sampling.language_model import complete
from mlx_selfdebug.sampling.prefixes import Prefixes
from mlx_selfdebug.sampling.request import Completion, Request

PROMPT = "write a function that adds two numbers"
PROGRAM = "def add(a, b):\n    total = a - b\n    return total\n"
PLACES = (0, 9, 25, 40)


@pytest.fixture(scope="module", params=["qwen2", "qwen3_5"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from mlx_selfdebug.testing import tiny_model

    return tiny_model(tmp_path_factory.mktemp(request.param), architecture=request.param, layers=4)


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from mlx_selfdebug.testing import tiny_model

    return tiny_model(tmp_path_factory.mktemp("hybrid"), architecture="qwen3_5", layers=4)


def fork(model: Any, place: int, choice: str = "x", *, read: bool = True, **changes: Any) -> Request:
    prompt, program = tuple(model.encode(PROMPT)), tuple(model.encode(PROGRAM))
    values: dict[str, Any] = {"max_tokens": 12, "breaks": (5, 20), "given": (*program[:place], *model.encode(choice))}
    if read:
        values |= {"read": prompt + program, "read_breaks": tuple(len(prompt) + p for p in PLACES)}
    return Request(prompt, **{**values, **changes})


def decode(model: Any, requests: list[Request], **options: Any) -> list[Completion]:
    decoder = BatchDecoder(model, 16, **options)
    return sorted(complete(decoder, requests), key=lambda completion: completion.ticket)


@pytest.mark.parametrize("place", PLACES)
def test_a_fork_decodes_what_the_model_alone_would(model: Any, place: int) -> None:
    from mlx_selfdebug.models.backend import mx

    asked = fork(model, place)
    done = decode(model, [asked])[0]
    ids = [*asked.prompt, *asked.given]
    for _ in range(done.n_tokens):
        ids.append(mx.argmax(model.network(mx.array(ids)[None])[0, -1]).item())
    assert done.text == model.decode([i for i in ids[len(asked.prompt) :] if i not in model.eos_ids])


def test_forks_decode_what_they_would_if_the_whole_beginning_were_their_prompt(model: Any) -> None:
    forks = [fork(model, place) for place in PLACES]
    alone = [Request(one.prompt + one.given, one.max_tokens, breaks=one.breaks) for one in forks]
    given = [model.decode(one.given) for one in forks]
    texts = [one.text for one in decode(model, alone)]
    assert [one.text for one in decode(model, forks)] == [a + b for a, b in zip(given, texts, strict=True)]


def test_forks_do_not_depend_on_what_shares_their_batch_or_when_they_come(model: Any) -> None:
    forks = [fork(model, place, choice) for place in PLACES for choice in "xyz"]
    others = [Request(tuple(model.encode(f"{i} " * (i + 1))), 9, 1.0, seed=i) for i in range(20)]
    together = decode(model, [*forks, *others])[: len(forks)]
    backwards = decode(model, forks[::-1])[::-1]
    assert [one.text for one in together] == [one.text for one in backwards]
    assert [one.text for one in together] == [decode(model, [one])[0].text for one in forks]


def test_forks_are_the_same_where_the_reading_has_to_be_computed_again(model: Any) -> None:
    forks = [fork(model, place, temperature=1.0, seed=place) for place in PLACES]
    assert decode(model, forks, prefix_bytes=1) == decode(model, forks)


def test_what_was_read_is_not_computed_again_for_its_forks(tiny: Any) -> None:
    asked = fork(tiny, PLACES[1])
    decoder = BatchDecoder(tiny, 16)
    list(complete(decoder, [asked, fork(tiny, PLACES[2]), fork(tiny, PLACES[0])]))
    assert decoder.counts.prefilled_tokens == len(asked.read)


def test_where_a_state_cannot_be_cut_back_forks_share_what_comes_before_them(hybrid: Any) -> None:
    decoder = BatchDecoder(hybrid, 16)
    list(complete(decoder, [fork(hybrid, place, choice) for place in PLACES for choice in "xy"]))
    assert decoder.counts.prefilled_tokens == len(PROMPT) + max(PLACES)


def test_a_draft_and_a_reading_share_their_prompt(tiny: Any) -> None:
    asked = fork(tiny, 0)
    prefixes = Prefixes(tiny.network, 512, 10**9)
    prefixes.for_request(Request(asked.prompt, 8, breaks=asked.breaks))
    prefixes.whole(asked.read, (*asked.breaks, len(asked.prompt) - 1))
    assert prefixes.n_computed == len(asked.read)


@pytest.mark.parametrize("chunk", [7, 512])
def test_whoever_reads_a_program_sees_all_of_it_and_leaves_what_its_forks_go_on_from(tiny: Any, chunk: int) -> None:
    asked = fork(tiny, 9)
    prefixes, seen = Prefixes(tiny.network, chunk, 10**9), []

    def through(ids: Any, cache: Any) -> None:
        seen.extend(ids[0].tolist())
        tiny.network(ids, cache=cache)

    breaks = (*asked.breaks, len(asked.prompt) - 1)
    for _ in range(2):
        seen.clear()
        prefixes.whole(asked.read, breaks, through)
        assert tuple(seen) == asked.read[len(asked.prompt) - 1 :]
    computed = prefixes.n_computed
    kept, alone = prefixes.for_request(asked), Prefixes(tiny.network, chunk, 10**9).for_request(asked)
    assert prefixes.n_computed == computed
    assert all(np.array_equal(np.array(a.keys), np.array(b.keys)) for a, b in zip(kept, alone, strict=True))


def test_the_same_tokens_cut_at_other_breaks_are_other_numbers_and_are_not_mixed_up(tiny: Any) -> None:
    tokens = tuple(tiny.encode(PROMPT))
    prefixes = Prefixes(tiny.network, 512, 10**9)
    prefixes.caches(tokens, (5,))
    prefixes.caches(tokens, (6,))
    assert prefixes.n_computed == 2 * (len(tokens) - 1)


def test_a_fork_counts_the_tokens_it_decoded_and_no_others(tiny: Any) -> None:
    done = decode(tiny, [fork(tiny, 25, max_tokens=n) for n in (1, 4)])
    assert [(one.n_tokens, one.finish) for one in done] == [(1, "length"), (4, "length")]
    assert all(one.text.startswith(PROGRAM[:25] + "x") for one in done)


def test_a_stop_text_among_the_given_tokens_does_not_end_a_completion(tiny: Any) -> None:
    free = decode(tiny, [fork(tiny, 25)])[0]
    assert "total" in PROGRAM[:25]
    assert decode(tiny, [fork(tiny, 25, stop_text="total")]) == [free]


def test_a_stop_text_that_the_given_tokens_begin_ends_a_completion_before_it(tiny: Any) -> None:
    n = 26
    drawn = [fork(tiny, n - 1, "n", seed=seed, temperature=1.0) for seed in range(16)]
    free = next(one for one in decode(tiny, drawn) if one.text[n : n + 1].isalpha() and one.text[n].isascii())
    stop = free.text[n - 1 : n + 1]
    cut = decode(tiny, [fork(tiny, n - 1, "n", seed=free.ticket, temperature=1.0, stop_text=stop)])[0]
    assert (cut.text, cut.n_tokens, cut.finish) == (free.text[: n - 1], 1, "fence")


def test_given_tokens_take_room_in_the_context(tiny: Any) -> None:
    with pytest.raises(ModelError, match=r"a prompt of 38 tokens, 4050 given and 12 to decode exceed the context of"):
        decode(tiny, [Request(tuple(tiny.encode(PROMPT)), 12, given=(65,) * 4050)])


def test_a_fork_of_something_else_than_what_was_read_is_refused(tiny: Any) -> None:
    asked = fork(tiny, 9)
    with pytest.raises(ModelError, match="what was read"):
        decode(tiny, [Request(asked.prompt, 12, given=(65, 66), read=asked.read)])


def test_a_request_that_looks_at_its_lines_is_asked_at_each_end_of_one_with_whole_lines(tiny: Any) -> None:
    seen: list[str] = []

    def never(text: str) -> bool:
        seen.append(text)
        return False

    done = decode(tiny, [Request((65,), 300, 1.0, seed=seed, ended=never) for seed in range(16)])
    texts = [one.text for one in done]
    assert sorted(seen) == sorted(text[: i + 1] for text in texts for i, c in enumerate(text) if c == "\n")
    assert len(seen) > 5


def test_a_completion_that_its_request_ends_is_a_copy_and_its_tokens_count(tiny: Any) -> None:
    how = {"max_tokens": 300, "temperature": 1.0}
    drawn = decode(tiny, [fork(tiny, 25, seed=seed, **how) for seed in range(16)])
    free = next(one for one in drawn if "\n" in one.text[26:])
    cut = decode(tiny, [fork(tiny, 25, seed=free.ticket, ended=lambda text: True, **how)])[0]
    assert (cut.text, cut.finish) == (free.text[: free.text.index("\n", 26) + 1], "copy")
    again = decode(tiny, [fork(tiny, 25, seed=free.ticket, **{**how, "max_tokens": cut.n_tokens})])[0]
    assert again.text == cut.text


def test_of_a_byte_level_vocabulary_one_token_alone_holds_the_end_of_a_line(tiny: Any) -> None:
    assert np.flatnonzero(tiny.ids_holding("\n")).tolist() == tiny.encode("\n")
    assert tiny.ids_holding(" ").all()
