"""Turn the tokenizer inside a GGUF file into the tokenizer.json and tokenizer_config.json that transformers reads.

Only byte-level BPE is read (``tokenizer.ggml.model`` is ``gpt2``), with the pre-tokenizers in :data:`PRE_TOKENIZERS`.
Any other pre-tokenizer is refused by name, because a tokenizer that is almost right gives a model that is quietly
worse. SentencePiece vocabularies (``llama``) are refused too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from mlx_selfdebug.errors import FormatError
from mlx_selfdebug.models.gguf_file import GgufFile

_CONTROL, _USER_DEFINED, _UNUSED = 3, 4, 5
_END_NAMES = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>")
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_HINT = "use an MLX conversion of this model from the hub"


@dataclass(frozen=True)
class GgufTokenizer:
    """The contents of both tokenizer files, and the ids that the model's config.json needs."""

    tokenizer: Tokenizer
    """The content of tokenizer.json."""
    settings: dict[str, Any]
    """The content of tokenizer_config.json."""
    end_ids: tuple[int, ...]
    """The ids that end a completion, beginning with the eos id."""
    bos_id: int | None
    size: int
    """The number of tokens."""

    def save(self, folder: Path) -> None:
        self.tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps(self.settings, indent=1, ensure_ascii=False), "utf-8")


def read_tokenizer(file: GgufFile) -> GgufTokenizer:
    """Build the tokenizer from the metadata of ``file``.

    Raises:
        FormatError: the tokenizer is of another kind, or its tokens, merges and ids do not fit together.
    """
    reader = _Reader(file)
    reader.check_kind()
    tokens, kinds = reader.tokens()
    end_ids = reader.end_ids(tokens, kinds)
    bos = reader.token_id("bos", len(tokens))
    tokenizer = _bpe(reader, tokens)
    tokenizer.add_special_tokens(_added(tokens, kinds, _CONTROL))
    tokenizer.add_tokens(_added(tokens, kinds, _USER_DEFINED))
    if bos is not None and file.metadata.get("tokenizer.ggml.add_bos_token") is True:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{tokens[bos]} $A", pair=f"{tokens[bos]} $A {tokens[bos]} $B", special_tokens=[(tokens[bos], bos)]
        )
    return GgufTokenizer(tokenizer, _settings(reader, tokens), end_ids, bos, len(tokens))


def _smollm(tokenizer: Tokenizer) -> None:
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


def _gpt2(tokenizer: Tokenizer) -> None:
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)


def _qwen2(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _split(_WORDS % "")


def _llama_bpe(tokenizer: Tokenizer) -> None:
    tokenizer.pre_tokenizer = _split(_WORDS % "{1,3}")


def _split(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


PRE_TOKENIZERS: dict[str, Callable[[Tokenizer], None]] = {
    "gpt-2": _gpt2,
    "llama-bpe": _llama_bpe,
    "qwen2": _qwen2,
    "smollm": _smollm,
}


def _bpe(reader: _Reader, tokens: list[str]) -> Tokenizer:
    kind = reader.pre
    vocabulary = {token: i for i, token in enumerate(tokens)}
    merges = reader.merges(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=kind == "llama-bpe"))
    PRE_TOKENIZERS[kind](tokenizer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def _added(tokens: list[str], kinds: list[int], kind: int) -> list[AddedToken]:
    special = kind == _CONTROL
    return [AddedToken(t, special=special, normalized=False) for t, k in zip(tokens, kinds, strict=True) if k == kind]


def _settings(reader: _Reader, tokens: list[str]) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "tokenizer_class": "TokenizersBackend",
        "clean_up_tokenization_spaces": False,
        "model_max_length": reader.context_length(),
    }
    for name, key in (("bos", "bos_token"), ("eos", "eos_token"), ("padding", "pad_token"), ("unknown", "unk_token")):
        token_id = reader.token_id(name, len(tokens))
        if token_id is not None:
            settings[key] = tokens[token_id]
    template = reader.file.metadata.get("tokenizer.chat_template")
    if isinstance(template, str):
        settings["chat_template"] = template
    return settings


class _Reader:
    """Checked access to the metadata of the tokenizer."""

    def __init__(self, file: GgufFile) -> None:
        self.file = file
        self.pre = str(file.metadata.get("tokenizer.ggml.pre", "missing"))

    def fail(self, what: str) -> FormatError:
        return FormatError(f"{self.file.path}: {what}", hint=_HINT)

    def check_kind(self) -> None:
        model = self.file.metadata.get("tokenizer.ggml.model")
        if model != "gpt2":
            raise self.fail(f"tokenizer.ggml.model is {model!r}; only 'gpt2' (byte-level BPE) is read")
        if self.pre not in PRE_TOKENIZERS:
            raise self.fail(f"tokenizer.ggml.pre is {self.pre!r}; only {', '.join(sorted(PRE_TOKENIZERS))} are read")

    def strings(self, key: str) -> list[str]:
        value = self.file.metadata.get(f"tokenizer.ggml.{key}")
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.fail(f"tokenizer.ggml.{key} is missing or is not a list of strings")
        return [str(item) for item in value]

    def tokens(self) -> tuple[list[str], list[int]]:
        """Return the tokens and their kinds, without unused tokens at the end, which only pad the rows of the embedding."""
        tokens = self.strings("tokens")
        kinds = self.file.metadata.get("tokenizer.ggml.token_type")
        if not isinstance(kinds, list) or len(kinds) != len(tokens):
            raise self.fail("tokenizer.ggml.token_type is missing or is not as long as tokenizer.ggml.tokens")
        n = len(tokens)
        while n and kinds[n - 1] == _UNUSED:
            n -= 1
        tokens = tokens[:n]
        if not tokens or len(set(tokens)) != n or "" in tokens:
            raise self.fail("tokenizer.ggml.tokens is empty, or a token is empty or occurs twice")
        return tokens, [int(kind) for kind in kinds[:n]]

    def merges(self, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
        merges: list[tuple[str, str]] = []
        for line in self.strings("merges"):
            left, _, right = line.partition(" ")
            if left not in vocabulary or right not in vocabulary or left + right not in vocabulary:
                raise self.fail(f"merge {line[:80]!r} does not join two tokens into a third")
            merges.append((left, right))
        return merges

    def token_id(self, name: str, n_tokens: int) -> int | None:
        value = self.file.metadata.get(f"tokenizer.ggml.{name}_token_id")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < n_tokens:
            what = f"tokenizer.ggml.{name}_token_id is {value!r}; it must be an integer from 0 to {n_tokens - 1}"
            raise self.fail(what)
        return value

    def end_ids(self, tokens: list[str], kinds: list[int]) -> tuple[int, ...]:
        """Return the ids that end a completion: the eos id, an explicit end of turn, and control tokens known by their names."""
        named = [self.token_id(name, len(tokens)) for name in ("eos", "eot")]
        listed = [i for i, (t, k) in enumerate(zip(tokens, kinds, strict=True)) if k == _CONTROL and t in _END_NAMES]
        ids = dict.fromkeys([i for i in named if i is not None] + listed)
        if not ids:
            raise self.fail("the metadata names no end-of-sequence token")
        return tuple(ids)

    def context_length(self) -> int:
        value = self.file.metadata.get(f"{self.file.metadata.get('general.architecture')}.context_length")
        return value if isinstance(value, int) and value > 0 else 1 << 20
