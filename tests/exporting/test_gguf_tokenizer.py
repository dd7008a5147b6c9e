from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.exporting.gguf_tokenizer import describe_tokenizer
from mlx_selfdebug.models.gguf_file import GgufFile
from mlx_selfdebug.models.gguf_tokenizer import PRE_TOKENIZERS, GgufTokenizer, ignores_merges, read_tokenizer

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXTS = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))]
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


def trained(pre: str, texts: Iterable[str] = TEXTS) -> Tokenizer:
    """A byte-level tokenizer of the kind ``pre`` with a few hundred merges."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignores_merges(pre)))
    PRE_TOKENIZERS[pre](tokenizer)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIALS])
    return tokenizer


def outer(tokenizer: Tokenizer, **settings: Any) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **({"eos_token": "<|im_end|>"} | settings))


def described(tokenizer: PreTrainedTokenizerFast, rows: int = 640) -> dict[str, Any]:
    return describe_tokenizer("tiny", tokenizer, {tokenizer.eos_token_id} - {None}, rows)


def read_back(metadata: dict[str, Any]) -> GgufTokenizer:
    return read_tokenizer(GgufFile(Path("m.gguf"), metadata, {}))


@pytest.fixture(scope="module")
def pairs() -> dict[str, tuple[Tokenizer, Tokenizer]]:
    """For every kind of tokenizer, the tokenizer and what is read back of it."""
    kinds = {pre: trained(pre) for pre in PRE_TOKENIZERS}
    return {pre: (tokenizer, read_back(described(outer(tokenizer))).tokenizer) for pre, tokenizer in kinds.items()}


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_every_kind_that_is_read_is_recognized(pre: str) -> None:
    assert described(outer(trained(pre)))["tokenizer.ggml.pre"] == pre


@given(st.text(max_size=60))
@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_any_text_has_the_same_ids_when_the_tokenizer_is_read_back(
    pre: str, pairs: dict[str, tuple[Tokenizer, Tokenizer]], text: str
) -> None:
    tokenizer, back = pairs[pre]
    assert back.encode(text).ids == tokenizer.encode(text).ids


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_source_code_has_the_same_ids_when_the_tokenizer_is_read_back(
    pre: str, pairs: dict[str, tuple[Tokenizer, Tokenizer]]
) -> None:
    tokenizer, back = pairs[pre]
    for text in TEXTS:
        assert back.encode(text).ids == tokenizer.encode(text).ids
    assert back.get_vocab() == tokenizer.get_vocab()


def test_special_tokens_and_the_chat_template_come_back() -> None:
    roles = {"bos_token": "<|im_start|>", "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    settings = read_back(described(outer(trained("qwen2"), chat_template=TEMPLATE, **roles))).settings
    expected = {"eos_token": "<|im_end|>", "chat_template": TEMPLATE, **roles}
    assert {key: settings[key] for key in expected} == expected


def test_of_several_chat_templates_each_keeps_its_name() -> None:
    tokenizer = outer(trained("qwen2"), chat_template={"default": TEMPLATE, "tools": TEMPLATE + "!"})
    metadata = described(tokenizer)
    assert metadata["tokenizer.chat_template"] == TEMPLATE
    assert metadata["tokenizer.chat_template.tools"] == TEMPLATE + "!"
    assert metadata["tokenizer.chat_templates"] == ["tools"]


def test_added_tokens_that_are_not_special_stay_so() -> None:
    tokenizer = trained("qwen2")
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False, normalized=False)])
    back = read_back(described(outer(tokenizer))).tokenizer
    added = {token.content: token.special for token in back.get_added_tokens_decoder().values()}
    assert added == {**dict.fromkeys(SPECIALS, True), "<tool_call>": False}


def test_a_token_that_begins_every_text_still_does() -> None:
    tokenizer = trained("llama-bpe")
    bos = tokenizer.token_to_id("<|im_start|>")
    template = processors.TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", bos)])
    tokenizer.post_processor = template
    metadata = described(outer(tokenizer, bos_token="<|im_start|>"))
    assert metadata["tokenizer.ggml.add_bos_token"] is True
    assert read_back(metadata).tokenizer.encode("def").ids == tokenizer.encode("def").ids


def test_every_token_that_ends_a_completion_still_does() -> None:
    tokenizer = trained("qwen2")
    tokenizer.add_special_tokens([AddedToken("<stop>"), AddedToken("<halt>")])
    ends = {tokenizer.token_to_id(token) for token in ("<|endoftext|>", "<|im_end|>", "<stop>", "<halt>")}
    metadata = describe_tokenizer("tiny", outer(tokenizer), ends, 640)
    assert set(read_back(metadata).end_ids) == ends


def test_a_tokenizer_without_merges_is_written(tiny: Any) -> None:
    metadata = describe_tokenizer("tiny", tiny.tokenizer._tokenizer, tiny.eos_ids, 259)
    assert metadata["tokenizer.ggml.merges"] == []
    text = "def f(x):\n    return 'na\u00efve'"
    assert read_back(metadata).tokenizer.encode(text).ids == tiny.encode(text)


def without_bytes() -> Tokenizer:
    return Tokenizer(models.BPE({"a": 0, "b": 1, "<unk>": 2}, [], unk_token="<unk>", byte_fallback=True))


def of_words() -> Tokenizer:
    return Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))


def lowercasing() -> Tokenizer:
    tokenizer = trained("gpt-2")
    tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer


def splitting_otherwise() -> Tokenizer:
    tokenizer = trained("gpt-2")
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


def ending_texts() -> Tokenizer:
    tokenizer = trained("gpt-2")
    end = tokenizer.token_to_id("<|im_end|>")
    template = processors.TemplateProcessing(single="$A <|im_end|>", special_tokens=[("<|im_end|>", end)])
    tokenizer.post_processor = template
    return tokenizer


def swallowing_spaces() -> Tokenizer:
    tokenizer = trained("gpt-2")
    tokenizer.add_tokens([AddedToken("<gap>", lstrip=True, rstrip=True, normalized=False)])
    return tokenizer


REFUSED: dict[str, tuple[Callable[[], Tokenizer], str]] = {
    "sentencepiece's fallback to bytes": (without_bytes, "only byte-level BPE is written"),
    "words": (of_words, "it is WordLevel"),
    "lower case": (lowercasing, "splits a text in a way that is none of gpt-2, llama-bpe, qwen2, smollm"),
    "a space before each text": (splitting_otherwise, "splits a text in a way"),
    "an end after each text": (ending_texts, "would give .* other ids"),
    "tokens that take white space along": (swallowing_spaces, "would give 'a <gap> b<gap>c' other ids"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_tokenizer_that_gguf_cannot_describe_is_refused_by_name(case: str) -> None:
    make, match = REFUSED[case]
    with pytest.raises(ModelError, match=match) as caught:
        describe_tokenizer("tiny", outer(make(), eos_token=None), set(), 640)
    assert "the tokenizer of tiny cannot be written" in str(caught.value)


def test_more_tokens_than_rows_are_refused() -> None:
    with pytest.raises(ModelError, match="has only 100 rows"):
        described(outer(trained("gpt-2")), rows=100)


def test_more_unusual_ends_than_gguf_has_words_for_are_refused() -> None:
    tokenizer = trained("gpt-2")
    tokenizer.add_special_tokens([AddedToken(f"<stop{i}>") for i in range(3)])
    ends = {tokenizer.token_to_id(f"<stop{i}>") for i in range(3)}
    with pytest.raises(ModelError, match="3 unusual tokens, and GGUF has place for 2"):
        describe_tokenizer("tiny", outer(tokenizer), ends, 640)
