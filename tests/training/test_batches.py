from __future__ import annotations

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.training.batches import micro_batches, padded_length, steps_of
from mlx_selfdebug.training.examples import Example


@st.composite
def example(draw: st.DrawFn) -> Example:
    ids = draw(st.lists(st.integers(1, 9), min_size=2, max_size=200))
    start = draw(st.integers(1, len(ids) - 1))
    weights = st.lists(st.sampled_from([-1.0, 0.0, 0.25, 1.0]), min_size=len(ids) - start, max_size=len(ids) - start)
    return Example(tuple(ids), start, weights=tuple(draw(st.one_of(st.just([]), weights))))


@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 4), st.integers(0, 99))
def test_every_pair_is_seen_once_an_epoch(n: int, batch_size: int, epochs: int, seed: int) -> None:
    steps = list(steps_of(range(n), batch_size, epochs, seed))
    seen = list(chain.from_iterable(steps))
    assert all(sorted(seen[i : i + n]) == list(range(n)) for i in range(0, len(seen), max(n, 1)))
    assert len(seen) == n * epochs
    assert all(1 <= len(step) <= batch_size for step in steps)


def test_epochs_have_orders_of_their_own() -> None:
    first, second = steps_of(range(8), 8, 2, 0)
    assert first != second


@given(st.lists(example(), min_size=1, max_size=12), st.integers(1, 600))
def test_every_supervised_token_is_predicted_from_the_token_before_it(examples: list[Example], most: int) -> None:
    wanted = sorted(
        (e.ids[i - 1], e.ids[i], weight)
        for e in examples
        for i, weight in enumerate(e.weights or [1.0] * (len(e.ids) - e.start), e.start)
        if weight
    )
    got = [
        (int(batch.ids.reshape(-1)[position]), int(target), float(weight))
        for batch in micro_batches(examples, most)
        for position, target, weight in zip(batch.positions, batch.targets, batch.weights, strict=True)
    ]
    assert sorted(got) == wanted
    assert len(got) == sum(e.n_supervised for e in examples)


@given(st.lists(example(), min_size=1, max_size=12), st.integers(1, 600))
def test_micro_batches_stay_within_their_tokens_unless_a_single_row_is_longer(
    examples: list[Example], most: int
) -> None:
    assert all(batch.n_tokens <= most or batch.ids.shape[0] == 1 for batch in micro_batches(examples, most))


@given(st.integers(1, 100_000))
def test_padding_is_at_most_a_quarter_beyond_the_shortest_length(length: int) -> None:
    padded = padded_length(length)
    assert length <= padded
    assert padded <= max(32, length * 1.25)
    assert padded_length(padded) == padded


def test_few_lengths_are_ever_computed() -> None:
    assert len({padded_length(length) for length in range(1, 2049)}) <= 25
