from __future__ import annotations

from typing import Any

from mlx_selfdebug.models.backend import mx, nn

import pytest

from mlx_selfdebug.training.examples import encode_pair, encode_pairs
from mlx_selfdebug.training.loss import Example, loss_sum
from mlx_selfdebug.training.pair import Pair

PAIR = Pair("direct", "python", "t", "Write f.", "def f(): return 1\n```", ("a",))


def test_the_loss_is_the_cross_entropy_of_the_completion_alone(tiny: Any) -> None:
    example = Example((5, 9, 60, 61, 62, 258), 2)
    logits = tiny.network(mx.array(example.ids)[None])[0]
    by_hand = -sum(nn.log_softmax(logits[i - 1])[example.ids[i]].item() for i in range(2, 6))
    assert loss_sum(tiny.network, example).item() == pytest.approx(by_hand, rel=1e-5)


def test_a_head_of_its_own_gives_the_same_loss_as_the_whole_model(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    example = Example((5, 9, 60, 61, 62, 258), 3)
    lean = loss_sum(tiny.network, example).item()
    monkeypatch.setattr("mlx_selfdebug.training.loss.PLAIN_HEADS", frozenset())
    assert loss_sum(tiny.network, example).item() == pytest.approx(lean, rel=1e-6)


def test_an_example_is_the_sampling_prompt_then_the_completion_then_the_end_of_turn(tiny: Any) -> None:
    example = encode_pair(tiny, PAIR)
    prompt = tiny.render([{"role": "user", "content": PAIR.prompt}], reply_prefix="```python\n")
    assert list(example.ids[: example.start]) == prompt
    assert tiny.decode(example.ids[example.start : -1]) == PAIR.target
    assert example.ids[-1] in tiny.eos_ids
    assert example.n_supervised == len(tiny.encode(PAIR.target)) + 1


def test_pairs_beyond_the_longest_length_are_left_out_and_named(tiny: Any) -> None:
    long = Pair("direct", "python", "long", "Write f." * 100, "x", ("a",))
    examples, left_out = encode_pairs(tiny, [PAIR, long], 200)
    assert len(examples) == 1
    assert left_out == [long]
