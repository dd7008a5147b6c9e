"""Guessing the next tokens of a greedy completion from its prompt, and checking the guesses in one step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.sampling.decodable import DecodingCounts
from mlx_selfdebug.sampling.decoder import BatchDecoder
from mlx_selfdebug.sampling.language_model import complete
from mlx_selfdebug.sampling.lookup import MAX_COMPARED, guess
from mlx_selfdebug.sampling.prefixes import Prefixes
from mlx_selfdebug.sampling.request import Completion, Request
from mlx_selfdebug.sampling.slots import Slots

pytestmark = pytest.mark.slow

tokens = st.lists(st.integers(0, 4), min_size=1, max_size=60)
PROGRAM = "def add(a, b):\n    total = a - b\n    return total\n"


@given(tokens, st.integers(0, 20))
def test_a_guess_is_what_follows_another_place_of_the_last_token(text: list[int], most: int) -> None:
    guessed = guess(text, most)
    longer = text + guessed
    places = [i for i, token in enumerate(text[:-1]) if token == text[-1]]
    assert len(guessed) == (most if places else 0)
    assert not guessed or any(longer[i + 1 : i + 1 + most] == guessed for i in places)


@given(tokens, tokens)
def test_no_other_place_agrees_with_more_of_the_last_tokens(other: list[int], text: list[int]) -> None:
    known = [*other, -1, *text]
    agreeing = {i: agreement(known, i) for i in range(len(known) - 1)}
    best = max(i for i in agreeing if agreeing[i] == max(agreeing.values()))
    expected = known[best + 1 : best + 2] if agreeing[best] else []
    assert guess(text, 1, other) == [token for token in expected if token >= 0]


def agreement(text: list[int], place: int) -> int:
    """The number of tokens up to this place that are the last tokens of the text, as far as they are compared."""
    n = 0
    while n <= min(place, MAX_COMPARED - 1) and text[place - n] == text[len(text) - 1 - n]:
        n += 1
    return n


@given(tokens, tokens, st.integers(1, 20))
def test_a_guess_crosses_from_no_text_into_another(other: list[int], text: list[int], most: int) -> None:
    guessed = guess(text, most, other)
    assert all(0 <= token <= 4 for token in guessed)
    assert len(guessed) <= most


@given(st.lists(st.integers(0, 200), unique=True, min_size=2, max_size=60), st.data())
def test_a_copy_of_a_text_without_repetitions_is_guessed_to_its_end(text: list[int], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(text) - 1))
    assert guess([*text, 999, *text[:n]], len(text) - n) == text[n:]


@given(st.lists(st.integers(0, 200), unique=True, min_size=2, max_size=60), st.data())
def test_another_text_is_copied_from_as_well(text: list[int], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(text) - 1))
    assert guess([999, *text[:n]], 80, text) == text[n:]


def test_the_place_that_agrees_with_more_of_the_last_tokens_is_taken() -> None:
    assert guess([1, 2, 3, 7, 9, 2, 3, 8, 1, 2, 3], 1) == [7]


def test_of_places_that_agree_alike_the_last_one_is_taken() -> None:
    assert guess([1, 7, 0, 1, 8, 2, 1], 2) == [8, 2]


def test_what_repeats_itself_is_guessed_to_go_on() -> None:
    assert guess([1, 2, 3, 1, 2, 3], 7) == [1, 2, 3, 1, 2, 3, 1]


def request(model: Any, text: str = PROGRAM, **changes: Any) -> Request:
    return Request(tuple(model.encode(text)), **{"max_tokens": 40, **changes})


def decode(model: Any, requests: list[Request], **options: Any) -> tuple[list[Completion], DecodingCounts]:
    """The completions of the requests, each of which is decoded alone, and what the decoder did."""
    decoder = BatchDecoder(model, 16, **options)
    return [completion for one in requests for completion in complete(decoder, [one])], decoder.counts


def greedy(model: Any, prompt: tuple[int, ...], n: int) -> tuple[int, ...]:
    """The prompt and the n tokens that the network alone would decode after it."""
    from mlx_selfdebug.models.backend import mx

    ids = list(prompt)
    for _ in range(n):
        ids.append(mx.argmax(model.network(mx.array(ids)[None])[0, -1]).item())
    return tuple(ids)


PROMPTS = [PROGRAM, PROGRAM * 3, "x", "abcabcabcabc", "a longer prompt than the other, with no program"]


@pytest.fixture(scope="module", params=["qwen2", "llama", "qwen3"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from mlx_selfdebug.testing import tiny_model

    return tiny_model(tmp_path_factory.mktemp(request.param), architecture=request.param, layers=2)


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from mlx_selfdebug.testing import tiny_model

    return tiny_model(tmp_path_factory.mktemp("hybrid"), architecture="qwen3_5", layers=4)


@pytest.mark.parametrize("guesses", [None, 1, 5, 40])
def test_guesses_change_no_completion(model: Any, guesses: int | None) -> None:
    asked = [request(model, text, max_tokens=n) for text in PROMPTS for n in (1, 2, 17, 90)]
    guessed, counts = decode(model, asked, guesses=guesses)
    assert guessed == decode(model, asked, guesses=0)[0]
    assert 0 < counts.accepted_tokens < counts.guessed_tokens


def test_a_row_that_is_guessed_decodes_what_the_model_alone_would(model: Any) -> None:
    for text in PROMPTS:
        asked = request(model, text)
        [done], _ = decode(model, [asked])
        ids = greedy(model, asked.prompt, done.n_tokens)[len(asked.prompt) :]
        assert done.text == model.decode([i for i in ids if i not in model.eos_ids])


def test_a_text_that_foresees_the_completion_makes_a_step_decode_sixteen_tokens(tiny: Any) -> None:
    tiny.network = Scripted(tiny.network, {i: i + 1 for i in range(200)})
    prompt = tuple(tiny.encode("!"))
    foreseen = Request(prompt, 48, read=tuple(range(prompt[0], prompt[0] + 49)))
    [done], counts = decode(tiny, [foreseen])
    assert (done.n_tokens, counts.steps) == (48, 3)
    assert [done] == decode(tiny, [foreseen], guesses=0)[0]


def test_a_fork_copies_from_the_program_that_was_read(tiny: Any) -> None:
    prompt, program = tuple(tiny.encode("add two numbers")), tuple(tiny.encode(PROGRAM))
    fork = Request(prompt, 40, given=program[:9], read=prompt + program, breaks=(5,))
    guessed, counts = decode(tiny, [fork])
    assert guessed == decode(tiny, [fork], guesses=0)[0]
    assert guessed[0].text.startswith(PROGRAM[:9])
    assert counts.guessed_tokens


def test_a_stop_text_among_tokens_that_were_guessed_right_ends_a_completion_before_it(model: Any) -> None:
    free = decode(model, [request(model, max_tokens=90)])[0][0].text
    stops = [free[i : i + 2] for i in range(0, 60, 7)]
    asked = [request(model, max_tokens=90, stop_text=stop) for stop in stops]
    guessed, counts = decode(model, asked)
    assert guessed == decode(model, asked, guesses=0)[0]
    assert {one.finish for one in guessed} == {"fence"}
    assert counts.decoded_tokens == sum(one.n_tokens for one in guessed)


def test_the_end_of_turn_among_tokens_that_were_guessed_right_ends_a_completion(tiny: Any) -> None:
    eos, text = min(tiny.eos_ids), "abcdefghijklmnopqrstuvwxyz"
    ids = tiny.encode(text)
    tiny.network = Scripted(tiny.network, dict(zip(ids, [*ids[1:], eos], strict=True)))
    [done], counts = decode(tiny, [Request((*ids, *ids[:3]), 40, read=(*ids, *ids, eos, eos))])
    assert (done.text, done.finish, done.n_tokens) == (text[3:], "stop", 24)
    assert counts.steps == 2


class Scripted:
    """A network whose likeliest token follows from the last one by a table, while its caches are filled as before."""

    def __init__(self, network: Any, after: dict[int, int]) -> None:
        from mlx_selfdebug.models.backend import mx

        self._network = network
        self._after = mx.array([after.get(i, 0) for i in range(network.args.vocab_size)])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def __call__(self, ids: Any, cache: Any = None) -> Any:
        from mlx_selfdebug.models.backend import mx

        logits = self._network(ids, cache=cache)
        return logits * 0 + (mx.arange(logits.shape[-1]) == self._after[ids][..., None])


def test_a_request_that_looks_at_its_lines_is_asked_the_same_questions(tiny: Any) -> None:
    prompts = ["\n" * n + text for n, text in enumerate(PROMPTS * 4)]
    asked = [request(tiny, text, max_tokens=200) for text in prompts]
    seen: dict[int | None, list[str]] = {}
    for guesses in (None, 0):
        lines = seen[guesses] = []
        decode(
            tiny, [replace(one, ended=lambda text, to=lines: bool(to.append(text))) for one in asked], guesses=guesses
        )
    assert seen[None] == seen[0]
    assert len(seen[0]) > 5


@pytest.mark.parametrize("finish", ["copy", "line"])
def test_a_request_that_ends_at_a_line_ends_there_as_it_says(tiny: Any, finish: Any) -> None:
    prompts = ["\n" * n + text for n, text in enumerate(PROMPTS * 4)]
    asked = [request(tiny, text, max_tokens=200, ended=lambda text: True, ended_as=finish) for text in prompts]
    guessed = decode(tiny, asked)[0]
    assert guessed == decode(tiny, asked, guesses=0)[0]
    assert finish in {one.finish for one in guessed}


def test_a_completion_may_fill_the_context_to_its_end(tiny: Any) -> None:
    prompt = tuple(tiny.encode("ab" * 2040))
    asked = Request(prompt, tiny.context - len(prompt))
    assert decode(tiny, [asked])[0] == decode(tiny, [asked], guesses=0)[0]


def test_only_a_greedy_request_is_guessed(tiny: Any) -> None:
    asked = [request(tiny, temperature=1.0, seed=seed) for seed in range(3)]
    guessed, counts = decode(tiny, asked)
    assert guessed == decode(tiny, asked, guesses=0)[0]
    assert counts.guessed_tokens == 0


def test_a_network_with_a_recurrent_state_is_not_guessed(hybrid: Any) -> None:
    asked = [request(hybrid, text) for text in PROMPTS]
    guessed, counts = decode(hybrid, asked, guesses=15)
    assert guessed == decode(hybrid, asked, guesses=0)[0]
    assert counts.guessed_tokens == 0


@pytest.mark.parametrize("ahead", [False, True])
def test_a_row_that_others_join_goes_on_without_guesses_and_is_guessed_again_when_they_left(
    tiny: Any, ahead: bool
) -> None:
    first, others = request(tiny, max_tokens=150), [request(tiny, text, max_tokens=9) for text in PROMPTS]
    decoder = BatchDecoder(tiny, 16, ahead=ahead)
    decoder.submit(first)
    got, guessed = decoder.step() + decoder.step(), [decoder.counts.guessed_tokens]
    for one in others:
        decoder.submit(one)
    while decoder.active > 1 or decoder.waiting:
        got += decoder.step()
        guessed.append(decoder.counts.guessed_tokens)
    got += complete(decoder, [])
    assert 0 < guessed[0] == guessed[-1] < decoder.counts.guessed_tokens
    alone = [decode(tiny, [one], guesses=0)[0][0] for one in (first, *others)]
    assert [one.text for one in sorted(got, key=lambda one: one.ticket)] == [one.text for one in alone]


@pytest.mark.parametrize("width", [1, 2, 16, 29])
def test_a_batch_of_any_width_guesses_with_the_rows_that_would_be_idle(tiny: Any, width: int) -> None:
    decoder = BatchDecoder(tiny, width)
    [done] = complete(decoder, [request(tiny)])
    assert done.text == decode(tiny, [request(tiny)], guesses=0)[0][0].text
    assert decoder.counts.row_steps == decoder.counts.steps * decoder.min_rows
    assert bool(decoder.counts.guessed_tokens) == (width > 1)


def test_more_guesses_than_idle_rows_become_fewer_after_a_wrong_one(tiny: Any) -> None:
    # Nothing of what is guessed comes, so each guess is as short as it may get.
    asked = replace(request(tiny, "x", max_tokens=30), read=tuple(tiny.encode("x" + "q" * 60)))
    decoder = BatchDecoder(tiny, 1, guesses=40)
    list(complete(decoder, [asked]))
    assert decoder.counts.row_steps <= 30 + 29 + 3 * 30


def test_each_token_of_a_lone_request_is_counted_as_a_step_or_as_accepted(tiny: Any) -> None:
    done, counts = decode(tiny, [request(tiny, text, max_tokens=60) for text in PROMPTS])
    assert counts.decoded_tokens == sum(one.n_tokens for one in done)
    assert counts.steps <= counts.decoded_tokens <= counts.steps + counts.accepted_tokens
    assert counts.accepted_tokens < counts.guessed_tokens < counts.row_steps


def test_logits_that_are_not_numbers_stop_a_row_that_is_guessed_at_the_position_where_they_came(tiny: Any) -> None:
    from mlx_selfdebug.models.backend import mx

    tiny.network.model.norm.weight = mx.full(tiny.network.model.norm.weight.shape, float("nan"))
    with pytest.raises(ModelError, match="not numbers at position 0 of a completion"):
        decode(tiny, [request(tiny)])
    with pytest.raises(ModelError, match="not numbers at position 0 of a completion"):
        decode(tiny, [request(tiny)], guesses=0)


def test_tokens_that_a_row_takes_at_once_are_computed_as_one_after_the_other(model: Any) -> None:
    ids = model.encode(PROGRAM)
    one_by_one, at_once = (loaded(model, ids[:-10]) for _ in range(2))
    rows = [take(model, one_by_one, [token], 15, n_kept=1)[0] for token in ids[-10:]]
    run = take(model, at_once, ids[-10:], 6, n_kept=10)
    assert np.allclose(rows, run[:10], rtol=1e-4, atol=1e-4)
    assert [row.argmax() for row in rows] == run[:10].argmax(-1).tolist()


def test_a_row_goes_on_as_if_tokens_that_it_did_not_keep_had_never_been(model: Any) -> None:
    ids = model.encode(PROGRAM)
    fresh, rolled_back = (loaded(model, ids[:-10]) for _ in range(2))
    take(model, rolled_back, [ids[-10], *model.encode("wrong guess")], 4, n_kept=1)
    take(model, fresh, ids[-10:-9], 15, n_kept=1)
    a, b = (take(model, slots, ids[-9:-8], 15, n_kept=1)[0] for slots in (fresh, rolled_back))
    assert (a == b).all()


def loaded(model: Any, ids: list[int]) -> Slots:
    slots = Slots(model.network, 16, additive_mask=True)
    slots.load(3, Prefixes(model.network, 512, 10**6).caches((*ids, 0), ()), len(ids))
    return slots


def take(model: Any, slots: Slots, ids: list[int], n_idle: int, n_kept: int) -> Any:
    """The logits of a step in which row 3 takes ``ids``."""
    from mlx_selfdebug.models.backend import mx

    slots.begin_run(3, len(ids), n_idle)
    logits = model.network(mx.array([*ids, *[0] * n_idle])[:, None], cache=slots.layers)[:, -1]
    mx.eval(logits, slots.state)
    slots.end_run(3, n_kept)
    return np.array(logits)
