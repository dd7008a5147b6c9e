"""Turn the tokenizer inside a GGUF file into the tokenizer.json and tokenizer_config.json that transformers reads.

Only byte-level BPE is read (``tokenizer.ggml.model`` is ``gpt2``), with the pre-tokenizers in :data:`PRE_TOKENIZERS`.
Any other pre-tokenizer is refused by name, because a tokenizer that is only almost right makes the model worse without
any error. SentencePiece vocabularies (``llama``) are refused too.
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

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""GGUF's codes for the types of tokens. Control tokens are those that transformers calls special."""
END_TOKENS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>")
"""The control tokens that end a completion in every model that has them. llama.cpp recognizes them by their text, too."""
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
r"""The pattern by which Qwen2 and Llama 3 split text before BPE, as it is in their tokenizer.json.

Its parts are English contractions, words with one leading character, digits, punctuation with the line breaks after it, line
breaks, and other white space. ``%s`` says how many digits make one piece: one for Qwen2, up to three for Llama 3.
"""
_HINT = "use an MLX conversion of this model from the hub"


@dataclass(frozen=True)
class GgufTokenizer:
    """The contents of tokenizer.json and tokenizer_config.json, and the ids that the model's config.json needs."""

    tokenizer: Tokenizer
    """The content of tokenizer.json."""
    settings: dict[str, Any]
    """The content of tokenizer_config.json."""
    end_ids: tuple[int, ...]
    """The ids that end a completion, beginning with the eos id if there is one."""
    bos_id: int | None
    """The id of the token that begins a text, if there is one."""
    size: int
    """The number of tokens."""

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json into ``folder``."""
        self.tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps(self.settings, indent=1, ensure_ascii=False), "utf-8")


def read_tokenizer(file: GgufFile) -> GgufTokenizer:
    """Build the tokenizer from the metadata of ``file``.

    Raises:
        FormatError: the tokenizer is of another kind, or its tokens, merges and ids do not fit together.
    """
    metadata = _Metadata(file)
    metadata.check_kind()
    tokens, types = metadata.tokens()
    end_ids = metadata.end_ids(tokens, types)
    bos_id = metadata.token_id("bos", len(tokens))
    tokenizer = _bpe(metadata, tokens)
    tokenizer.add_special_tokens(_added(tokens, types, CONTROL))
    tokenizer.add_tokens(_added(tokens, types, USER_DEFINED))
    if bos_id is not None and file.metadata.get("tokenizer.ggml.add_bos_token") is True:
        bos = tokens[bos_id]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, bos_id)]
        )
    return GgufTokenizer(tokenizer, _settings(metadata, tokens), end_ids, bos_id, len(tokens))


# Each of the following functions sets the pre-tokenizer of one entry of PRE_TOKENIZERS.


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
    """Return a pre-tokenizer that splits text into the matches of ``pattern``, and writes their bytes as GPT-2 does."""
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
"""The functions that set a tokenizer's pre-tokenizer, by the value of ``tokenizer.ggml.pre``."""


def ignores_merges(pre_tokenizer: str) -> bool:
    """Return whether a word that is itself a token becomes that token, even if merging its parts would give other tokens.

    Of the tokenizers with an entry in :data:`PRE_TOKENIZERS`, only Llama 3's does this.
    """
    return pre_tokenizer == "llama-bpe"


def _bpe(metadata: _Metadata, tokens: list[str]) -> Tokenizer:
    """Return the tokenizer without its added tokens."""
    vocabulary = {token: i for i, token in enumerate(tokens)}
    merges = metadata.merges(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=ignores_merges(metadata.pre_tokenizer)))
    PRE_TOKENIZERS[metadata.pre_tokenizer](tokenizer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def _added(tokens: list[str], types: list[int], added_type: int) -> list[AddedToken]:
    """Return the tokens of the type ``added_type``, which are looked for in a text before it is split."""
    special = added_type == CONTROL
    return [
        AddedToken(token, special=special, normalized=False)
        for token, token_type in zip(tokens, types, strict=True)
        if token_type == added_type
    ]


def _settings(metadata: _Metadata, tokens: list[str]) -> dict[str, Any]:
    """Return the content of tokenizer_config.json."""
    settings: dict[str, Any] = {
        "tokenizer_class": "TokenizersBackend",
        "clean_up_tokenization_spaces": False,
        "model_max_length": metadata.context_length(),
    }
    for name, key in (("bos", "bos_token"), ("eos", "eos_token"), ("padding", "pad_token"), ("unknown", "unk_token")):
        token_id = metadata.token_id(name, len(tokens))
        if token_id is not None:
            settings[key] = tokens[token_id]
    template = metadata.file.metadata.get("tokenizer.chat_template")
    if isinstance(template, str):
        settings["chat_template"] = template
    return settings


class _Metadata:
    """Checked access to the metadata of the tokenizer. The methods raise FormatError for what is missing or wrong."""

    def __init__(self, file: GgufFile) -> None:
        self.file = file
        self.pre_tokenizer = str(file.metadata.get("tokenizer.ggml.pre", "missing"))

    def error(self, what: str) -> FormatError:
        """Return an error that names the file and says ``what`` is wrong."""
        return FormatError(f"{self.file.path}: {what}", hint=_HINT)

    def check_kind(self) -> None:
        """Raise FormatError unless this is byte-level BPE with a pre-tokenizer that is read."""
        model = self.file.metadata.get("tokenizer.ggml.model")
        if model != "gpt2":
            raise self.error(f"tokenizer.ggml.model is {model!r}; only 'gpt2' (byte-level BPE) is read")
        if self.pre_tokenizer not in PRE_TOKENIZERS:
            known = ", ".join(sorted(PRE_TOKENIZERS))
            raise self.error(f"tokenizer.ggml.pre is {self.pre_tokenizer!r}; only {known} are read")

    def strings(self, key: str) -> list[str]:
        """Return the list of strings ``tokenizer.ggml.KEY``."""
        value = self.file.metadata.get(f"tokenizer.ggml.{key}")
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(f"tokenizer.ggml.{key} is missing or is not a list of strings")
        return [str(item) for item in value]

    def tokens(self) -> tuple[list[str], list[int]]:
        """Return the tokens and their types, without the unused tokens at the end, which only fill up the embedding."""
        tokens = self.strings("tokens")
        types = self.file.metadata.get("tokenizer.ggml.token_type")
        if not isinstance(types, list) or len(types) != len(tokens):
            raise self.error("tokenizer.ggml.token_type is missing or is not as long as tokenizer.ggml.tokens")
        if not all(isinstance(token_type, int) for token_type in types):
            raise self.error("tokenizer.ggml.token_type is not a list of whole numbers")
        n = len(tokens)
        while n and types[n - 1] == UNUSED:
            n -= 1
        tokens = tokens[:n]
        if not tokens or len(set(tokens)) != n or "" in tokens:
            raise self.error("tokenizer.ggml.tokens is empty, or a token is empty or occurs twice")
        return tokens, [int(token_type) for token_type in types[:n]]

    def merges(self, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
        """Return the pairs of tokens that BPE joins, in the order in which it joins them."""
        merges: list[tuple[str, str]] = []
        for line in self.strings("merges"):
            left, _, right = line.partition(" ")
            if left not in vocabulary or right not in vocabulary or left + right not in vocabulary:
                raise self.error(f"merge {line[:80]!r} does not join two tokens into a third")
            merges.append((left, right))
        return merges

    def token_id(self, name: str, n_tokens: int) -> int | None:
        """Return the id of the token with the role ``name``, such as "bos", or None if the metadata has none."""
        value = self.file.metadata.get(f"tokenizer.ggml.{name}_token_id")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < n_tokens:
            what = f"tokenizer.ggml.{name}_token_id is {value!r}; it must be an integer from 0 to {n_tokens - 1}"
            raise self.error(what)
        return value

    def end_ids(self, tokens: list[str], types: list[int]) -> tuple[int, ...]:
        """Return the ids that end a completion.

        These are the eos id, the ids of the ends of a turn (eot) and of a message (eom) if there are any, and known control tokens.
        """
        ids = [self.token_id(name, len(tokens)) for name in ("eos", "eot", "eom")]
        ids += [i for i, token in enumerate(tokens) if types[i] == CONTROL and token in END_TOKENS]
        unique = tuple(dict.fromkeys(i for i in ids if i is not None))
        if not unique:
            raise self.error("the metadata names no end-of-sequence token")
        return unique

    def context_length(self) -> int:
        """Return the number of tokens that the model can read, or 2^20 if the metadata do not say it."""
        value = self.file.metadata.get(f"{self.file.metadata.get('general.architecture')}.context_length")
        return value if isinstance(value, int) and value > 0 else 1 << 20
