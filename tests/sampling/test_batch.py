from __future__ import annotations

from typing import Any

import pytest

from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.sampling.batch import decode_batch
from mlx_selfdebug.sampling.request import Completion, Request


def request(model: Any, text: str = "def f", **changes: Any) -> Request:
    values: dict[str, Any] = {"max_tokens": 12, "temperature": 1.0, "seed": 7}
    return Request(tuple(model.encode(text)), **{**values, **changes})


def decode(model: Any, requests: list[Request]) -> list[Completion]:
    return sorted(decode_batch(model, requests), key=lambda completion: completion.index)


def test_the_same_batch_gives_the_same_completions(tiny: Any) -> None:
    requests = [request(tiny, "a" * (i + 1), seed=i) for i in range(5)]
    assert decode(tiny, requests) == decode(tiny, requests)


def test_rows_of_one_prompt_differ_by_their_seed_alone(tiny: Any) -> None:
    first, twin, other = decode(tiny, [request(tiny, seed=1), request(tiny, seed=1), request(tiny, seed=2)])
    assert first.text == twin.text
    assert first.text != other.text


def test_greedy_completions_do_not_depend_on_the_seed(tiny: Any) -> None:
    a, b = decode(tiny, [request(tiny, seed=1, temperature=0), request(tiny, seed=2, temperature=0)])
    assert a.text == b.text


def test_a_greedy_row_decodes_what_the_model_alone_would(tiny: Any) -> None:
    from mlx_selfdebug.models.backend import mx

    prompts = ["x", "a longer prompt than the other", "mid one"]
    rows = decode(tiny, [request(tiny, text, temperature=0) for text in prompts])
    for text, row in zip(prompts, rows, strict=True):
        ids = tiny.encode(text)
        for _ in range(row.n_tokens):
            ids.append(mx.argmax(tiny.network(mx.array(ids)[None])[0, -1]).item())
        assert row.text == tiny.decode([i for i in ids[len(tiny.encode(text)) :] if i not in tiny.eos_ids])


def test_greedy_and_sampled_rows_share_a_batch(tiny: Any) -> None:
    alone = decode(tiny, [request(tiny, temperature=0)])[0]
    together = decode(tiny, [request(tiny, temperature=0), request(tiny, temperature=1.5)])[0]
    assert together.text == alone.text


def test_a_completion_stops_at_its_token_limit(tiny: Any) -> None:
    rows = decode(tiny, [request(tiny, max_tokens=n, seed=n) for n in (1, 3, 8)])
    assert all(row.n_tokens <= n for row, n in zip(rows, (1, 3, 8), strict=True))
    assert any(row.finish == "length" for row in rows)


def test_a_completion_ends_before_its_stop_text(tiny: Any) -> None:
    free = decode(tiny, [request(tiny, max_tokens=30)])[0]
    stop = free.text[5:7]
    row = decode(tiny, [request(tiny, max_tokens=30, stop_text=stop)])[0]
    assert row.finish == "fence"
    assert row.text == free.text[: free.text.index(stop)]


def test_a_prompt_of_one_token_is_completed(tiny: Any) -> None:
    assert decode(tiny, [request(tiny, "x"), request(tiny, "y")])[1].n_tokens >= 1


def test_prompts_longer_than_a_prefill_chunk_decode_the_same(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [request(tiny, "long prompt " * 6, temperature=0)]
    whole = decode(tiny, requests)
    monkeypatch.setattr("mlx_selfdebug.sampling.batch.PREFILL_CHUNK", 7)
    assert decode(tiny, requests) == whole


def test_a_prompt_beyond_the_context_is_refused_with_both_numbers(tiny: Any) -> None:
    with pytest.raises(
        ModelError, match=r"a prompt of 4090 tokens and 12 to decode exceed the context of .*, 4096 tokens"
    ):
        decode(tiny, [request(tiny, "x" * 4090)])


def test_logits_that_are_not_numbers_stop_the_batch(tiny: Any) -> None:
    from mlx_selfdebug.models.backend import mx

    tiny.network.model.norm.weight = mx.full(tiny.network.model.norm.weight.shape, float("nan"))
    with pytest.raises(ModelError, match="not numbers"):
        decode(tiny, [request(tiny)])


def test_no_requests_decode_to_nothing(tiny: Any) -> None:
    assert decode(tiny, []) == []
