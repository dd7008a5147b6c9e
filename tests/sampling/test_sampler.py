from __future__ import annotations

from mlx_selfdebug.models.backend import mx

import numpy as np

from mlx_selfdebug.sampling.request import Request
from mlx_selfdebug.sampling.sampler import Sampler
from mlx_selfdebug.sampling.seeds import attempt_seed


def sampler(n: int, **changes: float) -> Sampler:
    seeds = [attempt_seed(0, "task", "arm", i, 0) for i in range(n)]
    made = Sampler(n)
    for row, seed in enumerate(seeds):
        made.set(row, Request((1,), 1, seed=seed, **{"temperature": 1.0, **changes}))
    return made


def draw(drawer: Sampler, logits: mx.array, position: int) -> mx.array:
    return drawer.draw(logits, mx.full((logits.shape[0],), position, dtype=mx.int32))


def shares(draws: mx.array, n: int) -> np.ndarray:
    return np.bincount(np.array(draws), minlength=n) / draws.size


def test_tokens_are_drawn_in_proportion_to_their_probability() -> None:
    logits = mx.log(mx.array([0.5, 0.3, 0.15, 0.05]))
    draws = draw(sampler(20_000), mx.broadcast_to(logits, (20_000, 4)), 0)
    # Four standard deviations of a share near one half: 0.014.
    assert np.abs(shares(draws, 4) - [0.5, 0.3, 0.15, 0.05]).max() < 0.014


def test_positions_of_one_row_are_drawn_independently() -> None:
    row, logits = sampler(1), mx.zeros((1, 4))
    draws = mx.concatenate([draw(row, logits, position) for position in range(4000)])
    assert np.abs(shares(draws, 4) - 0.25).max() < 0.03
    pairs = np.array(draws)[:-1] * 4 + np.array(draws)[1:]
    assert np.abs(np.bincount(pairs, minlength=16) / 3999 - 1 / 16).max() < 0.02


def test_min_p_drops_unlikely_tokens() -> None:
    logits = mx.log(mx.array([0.5, 0.4, 0.06, 0.04]))
    draws = draw(sampler(5000, min_p=0.1), mx.broadcast_to(logits, (5000, 4)), 0)
    assert set(np.array(draws).tolist()) == {0, 1, 2}


def test_tokens_of_no_probability_are_never_drawn() -> None:
    logits = mx.array([-float("inf"), 0.0, -float("inf"), 0.0])
    draws = draw(sampler(5000), mx.broadcast_to(logits, (5000, 4)), 0)
    assert set(np.array(draws).tolist()) == {1, 3}


def test_a_row_draws_the_same_whatever_rows_are_beside_it() -> None:
    logits = mx.random.normal((8, 50), key=mx.random.key(3))
    all_rows, some = sampler(8), sampler(8)
    kept = [1, 4, 6]
    some.keep(kept, 3)
    assert draw(all_rows, logits, 5)[mx.array(kept)].tolist() == draw(some, logits[mx.array(kept)], 5).tolist()


def test_drawing_from_the_likeliest_blocks_gives_what_the_whole_vocabulary_gives() -> None:
    logits = 4 * mx.random.normal((64, 20_001), key=mx.random.key(5))
    tokens = np.array(draw(sampler(64, min_p=0.02), logits, 3))
    exact = np.array([_drawn_by_hand(np.array(logits[i]), i) for i in range(64)])
    assert (tokens == exact).all()


def _drawn_by_hand(logits: np.ndarray, row: int) -> int:
    seed = attempt_seed(0, "task", "arm", row, 0)
    key = mx.array([seed >> 32, (seed & 0xFFFFFFFF) + 3], dtype=mx.uint32)
    weights = np.exp(logits - logits.max())
    weights[weights < 0.02] = 0
    return int(np.argmax(np.cumsum(weights) > mx.random.uniform(key=key).item() * weights.sum()))


def test_a_seed_depends_on_every_part_of_the_key() -> None:
    base = (0, "task", "arm", 0, 0)
    others = [
        (1, "task", "arm", 0, 0),
        (0, "t", "arm", 0, 0),
        (0, "task", "a", 0, 0),
        (0, "task", "arm", 1, 0),
        (0, "task", "arm", 0, 1),
    ]
    assert len({attempt_seed(*key) for key in [base, *others]}) == 6
    assert all(0 <= attempt_seed(*key) < 2**63 for key in [base, *others])
