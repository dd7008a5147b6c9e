from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.sampling.decoder import BatchDecoder
from mlx_selfdebug.sampling.language_model import complete
from mlx_selfdebug.sampling.request import Completion, Request


def request(model: Any, text: str = "def f", **changes: Any) -> Request:
    values: dict[str, Any] = {"max_tokens": 12, "temperature": 1.0, "seed": 7}
    return Request(tuple(model.encode(text)), **{**values, **changes})


def decode(model: Any, requests: list[Request], width: int = 16, **options: Any) -> list[Completion]:
    return sorted(complete(BatchDecoder(model, width, **options), requests), key=lambda completion: completion.ticket)


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


def test_prompts_longer_than_a_prefill_chunk_decode_the_same(tiny: Any) -> None:
    requests = [request(tiny, "long prompt " * 6, temperature=0)]
    assert decode(tiny, requests, chunk=7) == decode(tiny, requests)


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


def mixed(model: Any, n: int = 40) -> list[Request]:
    """Prompts and limits of many lengths, two rows a prompt."""
    texts = [f"prompt number {i // 2} " * (1 + i % 4) for i in range(n)]
    return [request(model, text, seed=i, max_tokens=5 + i % 23, min_p=0.05) for i, text in enumerate(texts)]


@pytest.mark.parametrize("width", [12, 13, 29, 40])
def test_an_attempt_gives_the_same_tokens_however_wide_the_batch(tiny: Any, width: int) -> None:
    assert decode(tiny, mixed(tiny), width) == decode(tiny, mixed(tiny), 16)


def test_an_attempt_gives_the_same_tokens_whatever_shares_its_batch_and_whenever_it_comes(tiny: Any) -> None:
    requests = mixed(tiny)
    order = sorted(range(len(requests)), key=lambda i: hash(str(i * 7919)))
    shuffled = decode(tiny, [requests[i] for i in order])
    whole = decode(tiny, requests)
    assert {order[c.ticket]: c.text for c in shuffled} == {c.ticket: c.text for c in whole}
    alone = decode(tiny, requests[17:18], 16)
    assert alone[0].text == whole[17].text


def test_computing_a_step_ahead_gives_the_same_completions(tiny: Any) -> None:
    assert decode(tiny, mixed(tiny), ahead=True) == decode(tiny, mixed(tiny), ahead=False)


def test_requests_may_come_while_others_are_decoded(tiny: Any) -> None:
    requests = mixed(tiny)
    decoder, left, got = BatchDecoder(tiny, 16), list(enumerate(requests)), {}
    tickets: dict[int, int] = {}
    while left or decoder.active or decoder.waiting:
        if left:
            i, one = left.pop(0)
            tickets[decoder.submit(one)] = i
        got.update({tickets[c.ticket]: c.text for c in decoder.step()})
    assert got == {c.ticket: c.text for c in decode(tiny, requests)}


def test_drafts_of_one_prompt_prefill_it_once(tiny: Any) -> None:
    prompt = "a prompt of some length " * 16
    decoder = BatchDecoder(tiny, 16)
    list(complete(decoder, [request(tiny, prompt, seed=i) for i in range(8)]))
    assert decoder.counts.prompt_tokens == 8 * len(prompt)
    assert decoder.counts.prefilled_tokens == len(prompt) - 1


def test_what_prompts_share_up_to_a_break_is_computed_once(tiny: Any) -> None:
    decoder = BatchDecoder(tiny, 16)
    prompts = ["common beginning, " + end for end in ("one", "two, longer", "three")]
    list(complete(decoder, [request(tiny, text, breaks=(18,)) for text in prompts]))
    assert decoder.counts.prefilled_tokens == 18 + sum(len(text) - 18 - 1 for text in prompts)


def test_prefixes_that_were_dropped_are_computed_again_alike(tiny: Any) -> None:
    requests = [request(tiny, f"{i % 3} some prompt", breaks=(4, 9), seed=i) for i in range(9)]
    assert decode(tiny, requests, prefix_bytes=1) == decode(tiny, requests)


def test_the_batch_is_full_until_the_work_runs_out(tiny: Any) -> None:
    decoder = BatchDecoder(tiny, 16)
    requests = [request(tiny, f"{i}", seed=i, max_tokens=5 + i % 40, temperature=1.0) for i in range(160)]
    for one in requests:
        decoder.submit(one)
    done = 0
    while done < 144:
        done += len(decoder.step())
    assert decoder.counts.decoded_tokens >= 0.9 * decoder.counts.row_steps


@pytest.mark.parametrize(
    ("requests", "width", "rows"), [(1, 64, 16), (16, 64, 16), (20, 64, 32), (20, 24, 24), (4, 4, 4)]
)
def test_on_the_cpu_a_batch_has_a_multiple_of_16_rows_within_its_width(
    tiny: Any, requests: int, width: int, rows: int
) -> None:
    decoder = BatchDecoder(tiny, width)
    for seed in range(requests):
        decoder.submit(request(tiny, seed=seed))
    decoder.step()
    assert decoder.counts.row_steps == rows


def test_a_narrower_limit_takes_in_no_row_until_others_have_left(tiny: Any) -> None:
    decoder = BatchDecoder(tiny, 16)
    requests = mixed(tiny)
    for one in requests:
        decoder.submit(one)
    got = decoder.step()
    decoder.limit(4)
    active = []
    while decoder.active or decoder.waiting:
        got += decoder.step()
        active.append(decoder.active)
    narrow = next(i for i, n in enumerate(active) if n <= 4)
    assert active[:narrow] == sorted(active[:narrow], reverse=True)
    assert max(active[narrow:]) == 4
    assert {c.ticket: c.text for c in got} == {c.ticket: c.text for c in decode(tiny, requests)}


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny qwen3_5: layers with a recurrent state beside layers with keys and values."""
    from mlx_selfdebug.testing import tiny_model

    return tiny_model(tmp_path_factory.mktemp("hybrid"), architecture="qwen3_5", layers=4)


def test_a_model_with_recurrent_layers_decodes_what_it_alone_would(hybrid: Any) -> None:
    from mlx_selfdebug.models.backend import mx

    prompts = ["x", "a longer prompt than the other", "mid one"]
    rows = decode(hybrid, [request(hybrid, text, temperature=0, breaks=(3,)) for text in prompts])
    for text, row in zip(prompts, rows, strict=True):
        ids = hybrid.encode(text)
        for _ in range(row.n_tokens):
            ids.append(mx.argmax(hybrid.network(mx.array(ids)[None])[0, -1]).item())
        assert row.text == hybrid.decode([i for i in ids[len(hybrid.encode(text)) :] if i not in hybrid.eos_ids])


def test_a_prompt_of_one_token_does_not_go_on_from_what_its_row_held_before(hybrid: Any) -> None:
    single = request(hybrid, "x", temperature=0)
    assert len(single.prompt) == 1
    after_another = decode(hybrid, [request(hybrid, "a b c"), single], width=1)[1]
    assert after_another.tokens == decode(hybrid, [single], width=1)[0].tokens


def test_recurrent_rows_do_not_depend_on_their_neighbours(hybrid: Any) -> None:
    assert decode(hybrid, mixed(hybrid), 13) == decode(hybrid, mixed(hybrid), 40, ahead=True)


def test_the_text_is_told_while_it_is_written(tiny: Any) -> None:
    texts: list[str] = []
    row = decode(tiny, [request(tiny, max_tokens=30, on_text=texts.append)])[0]
    assert len(texts) == 29  # the last token ends the completion, which holds the whole text
    assert all(later.startswith(earlier) for earlier, later in zip(texts, [*texts[1:], row.text], strict=True))
    assert not any(text.endswith("\ufffd") for text in texts)


def test_what_may_become_the_stop_text_is_not_told(tiny: Any) -> None:
    free = decode(tiny, [request(tiny, max_tokens=30)])[0]
    texts: list[str] = []
    row = decode(tiny, [request(tiny, max_tokens=30, stop_text=free.text[5:9], on_text=texts.append)])[0]
    assert row.text == free.text[: free.text.index(free.text[5:9])]
    assert texts
    assert all(row.text.startswith(text) for text in texts)


def test_being_told_changes_no_token(tiny: Any) -> None:
    watched = decode(tiny, [replace(each, on_text=lambda text: None) for each in mixed(tiny)])
    assert watched == decode(tiny, mixed(tiny))
