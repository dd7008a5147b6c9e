from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.models.load import load_model
from mlx_selfdebug.sampling.decoder import BatchDecoder
from mlx_selfdebug.sampling.prefixes import Prefixes
from mlx_selfdebug.sampling.reading import Reader, Reading, read
from mlx_selfdebug.testing import ARCHITECTURES, write_tiny_model

PROMPT, PROGRAM = "Write this function: add", "def add(a, b):\n    return a - b\n"


@pytest.fixture(params=ARCHITECTURES, scope="module")
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param)
    return load_model(str(write_tiny_model(folder, architecture=request.param)))


def ids_of(model: Any, text: str) -> tuple[int, ...]:
    return tuple(model.encode(text))


def distributions(model: Any, prompt: str, program: str) -> np.ndarray:
    """Log-probabilities (n, vocabulary) of the program's tokens, by the whole network in one go."""
    from mlx_selfdebug.models.backend import mx

    before, after = ids_of(model, prompt), ids_of(model, program)
    logits = model.network(mx.array([*before, *after])[None])[0, len(before) - 1 : -1].astype(mx.float32)
    return np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True))


def test_a_reading_gives_each_token_the_likelihood_that_the_whole_network_gives_it(model: Any) -> None:
    reading = read(model, ids_of(model, PROMPT), ids_of(model, PROGRAM))
    wanted = distributions(model, PROMPT, PROGRAM)
    own = wanted[np.arange(len(reading)), reading.ids]
    assert np.allclose(reading.log_likelihood, own, atol=1e-4)


def test_the_others_are_the_likeliest_tokens_that_do_not_stand_there(model: Any) -> None:
    reading = read(model, ids_of(model, PROMPT), ids_of(model, PROGRAM), others=4)
    for place, row in enumerate(distributions(model, PROMPT, PROGRAM)):
        row[reading.ids[place]] = -np.inf
        assert np.allclose(reading.others_log_likelihood[place], np.sort(row)[::-1][:4], atol=1e-4)
        assert np.allclose(row[reading.others[place]], reading.others_log_likelihood[place], atol=1e-4)


def test_the_likelihood_of_any_token_at_any_place_can_be_asked_for(model: Any) -> None:
    reading = read(model, ids_of(model, PROMPT), ids_of(model, PROGRAM))
    wanted = distributions(model, PROMPT, PROGRAM)
    places, ids = [0, 3, len(reading) - 1], [65, 10, 200]
    assert np.allclose(reading.log_likelihood_of(places, ids), wanted[places, ids], atol=1e-4)


def test_what_comes_after_the_program_can_be_asked_for_too(model: Any) -> None:
    whole = read(model, ids_of(model, PROMPT), ids_of(model, PROGRAM))
    cut = read(model, ids_of(model, PROMPT), ids_of(model, PROGRAM[:-1]))
    likelihood = cut.log_likelihood_of([len(cut)], [int(whole.ids[-1])])
    assert np.allclose(likelihood, whole.log_likelihood[-1:], atol=1e-4)


@pytest.mark.parametrize(
    "other", [PROGRAM.replace("-", "+"), PROGRAM + "\n\n", PROGRAM[:-9], "x" + PROGRAM, PROGRAM, "y"]
)
def test_the_likelihood_of_another_program_is_that_of_its_own_reading(model: Any, other: str) -> None:
    reader, prompt = Reader(model, Prefixes(model.network, 512, 10**8)), ids_of(model, PROMPT)
    reading = reader.read(prompt, ids_of(model, PROGRAM))
    wanted = read(model, prompt, ids_of(model, other)).log_likelihood.sum()
    assert np.isclose(reader.log_likelihood(prompt, reading, ids_of(model, other)), wanted, atol=1e-3)


def test_a_break_at_the_end_of_the_prompt_is_read_over(tiny: Any) -> None:
    prompt, program = ids_of(tiny, PROMPT), ids_of(tiny, PROGRAM)
    with_break = Reader(tiny, Prefixes(tiny.network, 512, 1)).read(prompt, program, [3, len(prompt)])
    assert np.allclose(with_break.log_likelihood, read(tiny, prompt, program).log_likelihood, atol=1e-4)


def test_asking_for_nothing_gives_nothing(tiny: Any) -> None:
    assert read(tiny, (1, 2), (3,)).log_likelihood_of([], []).shape == (0,)


def test_a_network_whose_parts_are_unknown_is_read_by_its_logits(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    known = read(tiny, ids_of(tiny, PROMPT), ids_of(tiny, PROGRAM))
    monkeypatch.setattr("mlx_selfdebug.models.trunk.PLAIN_HEADS", frozenset())
    unknown = read(tiny, ids_of(tiny, PROMPT), ids_of(tiny, PROGRAM))
    assert np.allclose(known.log_likelihood, unknown.log_likelihood, atol=1e-4)
    assert np.allclose(known.log_likelihood_of([2], [7]), unknown.log_likelihood_of([2], [7]), atol=1e-4)


def test_a_program_longer_than_a_chunk_is_read_as_one(tiny: Any) -> None:
    prompt, program = ids_of(tiny, PROMPT), ids_of(tiny, PROGRAM * 9)
    whole = Reader(tiny, Prefixes(tiny.network, 512, 1)).read(prompt, program)
    pieces = Reader(tiny, Prefixes(tiny.network, 32, 1)).read(prompt, program)
    assert np.allclose(whole.log_likelihood, pieces.log_likelihood, atol=1e-4)


def test_reading_twice_gives_the_same_numbers_whatever_is_kept(tiny: Any) -> None:
    decoder = BatchDecoder(tiny, 4)
    first, again = (decoder.read(ids_of(tiny, PROMPT), ids_of(tiny, PROGRAM)) for _ in range(2))
    assert np.array_equal(first.log_likelihood, again.log_likelihood)


def test_a_prompt_is_computed_once_for_all_programs_read_under_it(tiny: Any) -> None:
    prefixes = Prefixes(tiny.network, 512, 10**7)
    reader, prompt = Reader(tiny, prefixes), ids_of(tiny, PROMPT)
    reader.read(prompt, ids_of(tiny, PROGRAM))
    before = prefixes.n_computed
    reader.read(prompt, ids_of(tiny, "pass"))
    assert prefixes.n_computed - before == len("pass") + 1


def test_a_decoder_counts_the_tokens_it_reads_and_decodes_none(tiny: Any) -> None:
    decoder = BatchDecoder(tiny, 4)
    decoder.read(ids_of(tiny, PROMPT), ids_of(tiny, PROGRAM))
    assert (decoder.counts.read_tokens, decoder.counts.decoded_tokens) == (len(PROGRAM), 0)


def test_surprise_is_how_much_likelier_the_favourite_is() -> None:
    reading = Reading(
        np.array([4, 5]), np.float32([-3, -0.5]), np.array([[9], [8]]), np.float32([[-1], [-2]]), 1, None  # type: ignore[arg-type]
    )  # fmt: skip
    assert reading.surprise.tolist() == [2.0, -1.5]


@pytest.mark.parametrize(
    ("prompt", "program", "what"),
    [((), (1,), "without a prompt"), ((1,), (), "empty program"), ((1,) * 4000, (2,) * 100, "exceed the context")],
)
def test_what_cannot_be_read_is_refused_in_words(
    tiny: Any, prompt: tuple[int, ...], program: tuple[int, ...], what: str
) -> None:
    with pytest.raises(ModelError, match=what):
        read(tiny, prompt, program)


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    from mlx_selfdebug.models.backend import mx

    model = load_model(str(write_tiny_model(tmp_path)))
    model.network.model.norm.weight = mx.full(model.network.model.norm.weight.shape, float("nan"))
    with pytest.raises(ModelError, match="not numbers at position 0"):
        read(model, (1, 2), (3, 4))
