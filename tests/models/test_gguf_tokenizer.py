from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from mlx_selfdebug.errors import FormatError
from mlx_selfdebug.models.gguf_file import read_gguf
from mlx_selfdebug.models.gguf_tokenizer import PRE_TOKENIZERS, read_tokenizer
from tests.models.tiny import SPECIALS, MakeGguf, byte_alphabet, write_gguf

CODE = [
    "def f(x):\n    return x ** 2\n",
    "\tif a<=b and c!=d:\r\n\t\tprint('it''s', 12345, 0x1F)  # ünïcode 日本 🎉",
    "class A(B):\n\n\n    @property\n    def x(self): return {'a': [1, 2.5e-3]}\n        \n",
    "   leading and trailing   ",
    "",
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A saved tokenizer for every kind of pre-tokenizer."""
    saved = {}
    for pre in PRE_TOKENIZERS:
        folder = tmp_path_factory.mktemp(pre)
        write_gguf(folder / "m.gguf", pre=pre)
        read_tokenizer(read_gguf(folder / "m.gguf")).save(folder)
        saved[pre] = folder
    return saved


@pytest.fixture(scope="module")
def loaded(folders: dict[str, Path]) -> dict[str, Any]:
    return {pre: AutoTokenizer.from_pretrained(folder) for pre, folder in folders.items()}


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
@pytest.mark.parametrize("text", CODE)
def test_code_comes_back_as_it_was(pre: str, text: str, loaded: dict[str, Any]) -> None:
    tokenizer = loaded[pre]
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


@given(st.text(max_size=60))
@settings(max_examples=100, deadline=None)
@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_any_text_comes_back_normalized_at_most(pre: str, loaded: dict[str, Any], text: str) -> None:
    tokenizer = loaded[pre]
    expected = unicodedata.normalize("NFC", text) if pre == "qwen2" else text
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == expected


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_special_tokens_are_single_ids(pre: str, loaded: dict[str, Any]) -> None:
    for i, token in enumerate(SPECIALS):
        assert loaded[pre].encode(f"a{token}b", add_special_tokens=False)[1] == i


def test_merges_are_applied(loaded: dict[str, Any]) -> None:
    assert loaded["qwen2"].tokenize("def") == ["def"]


def test_the_chat_template_and_the_ends_come_along(loaded: dict[str, Any]) -> None:
    tokenizer = loaded["qwen2"]
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert chat == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert (tokenizer.eos_token, tokenizer.bos_token) == ("<|im_end|>", "<|endoftext|>")


def test_a_bos_is_put_before_a_text_only_where_the_file_says_so(tmp_path: Path, make_gguf: MakeGguf) -> None:
    make_gguf(tmp_path / "m.gguf", pre="llama-bpe", metadata={"tokenizer.ggml.add_bos_token": True})
    tokenizer = read_tokenizer(read_gguf(tmp_path / "m.gguf")).tokenizer
    assert tokenizer.encode("def").tokens == ["<|endoftext|>", "def"]
    assert tokenizer.encode("def", add_special_tokens=False).tokens == ["def"]


def test_unused_tokens_at_the_end_are_left_out(tmp_path: Path, make_gguf: MakeGguf) -> None:
    tokens = [*SPECIALS, *byte_alphabet(), "de", "[PAD]", "[PAD2]"]
    lists = {"tokens": tokens, "token_type": [3] * 3 + [1] * 257 + [5, 5], "merges": ["d e"]}
    make_gguf(tmp_path / "m.gguf", metadata={f"tokenizer.ggml.{key}": value for key, value in lists.items()})
    read = read_tokenizer(read_gguf(tmp_path / "m.gguf"))
    assert (read.size, read.tokenizer.get_vocab_size()) == (260, 260)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "sentencepiece": ({"tokenizer.ggml.model": "llama"}, "tokenizer.ggml.model is 'llama'"),
    "an unknown pre-tokenizer": ({"tokenizer.ggml.pre": "tekken"}, "tokenizer.ggml.pre is 'tekken'"),
    "no pre-tokenizer": ({"tokenizer.ggml.pre": None}, "tokenizer.ggml.pre is 'missing'"),
    "no tokens": ({"tokenizer.ggml.tokens": None}, "tokens is missing"),
    "tokens that are numbers": ({"tokenizer.ggml.tokens": [1, 2]}, "not a list of strings"),
    "token types of another length": ({"tokenizer.ggml.token_type": [1, 1]}, "token_type"),
    "token types that are words": ({"tokenizer.ggml.token_type": ["normal"] * 261}, "whole numbers"),
    "a merge of nothing": ({"tokenizer.ggml.merges": ["def"]}, "merge 'def'"),
    "a merge of unknown tokens": ({"tokenizer.ggml.merges": ["d zebra"]}, "merge 'd zebra'"),
    "an eos id out of range": ({"tokenizer.ggml.eos_token_id": 1 << 31}, "eos_token_id is 2147483648"),
    "an eos id that is text": ({"tokenizer.ggml.eos_token_id": "2"}, "eos_token_id is '2'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_tokenizer_that_does_not_fit_is_refused_by_name(case: str, tmp_path: Path, make_gguf: MakeGguf) -> None:
    metadata, match = REFUSED[case]
    make_gguf(tmp_path / "m.gguf", metadata=metadata)
    with pytest.raises(FormatError, match=match):
        read_tokenizer(read_gguf(tmp_path / "m.gguf"))


@pytest.mark.real_model
@pytest.mark.parametrize("alias", ["qwen2.5-coder-0.5b", "smollm2-135m"])
@pytest.mark.parametrize("text", CODE)
def test_the_real_tokenizers_bring_code_back(alias: str, text: str, repacked_alias: Callable[[str], Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(repacked_alias(alias))
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


@pytest.mark.real_model
def test_the_real_qwen_tokenizer_gives_the_published_ids(repacked_alias: Callable[[str], Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(repacked_alias("qwen2.5-coder-0.5b"))
    assert tokenizer.encode("<|im_start|>system\nYou are a helpful assistant.<|im_end|>", add_special_tokens=False) == [
        151644, 8948, 198, 2610, 525, 264, 10950, 17847, 13, 151645,
    ]  # fmt: skip
