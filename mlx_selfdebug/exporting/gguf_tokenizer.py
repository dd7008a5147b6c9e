"""Describe a tokenizer in the metadata of a GGUF file, so that our importer and llama.cpp build the same tokenizer from it.

Only byte-level BPE can be written, with the pre-tokenizers that ``models/gguf_tokenizer.py`` reads. A pre-tokenizer splits a text
before the merges. The file gives only its name, as in ``tokenizer.ggml.pre = "qwen2"``, and not how it splits. So the name has to
be found by comparing the tokenizer with each one that GGUF has a name for.

A tokenizer that is only almost right would make the model worse without any error. Therefore the metadata are read back, and both
tokenizers encode the same texts. If they differ in a single one, the export is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models

from mlx_selfdebug.errors import FormatError, ModelError
from mlx_selfdebug.models.gguf_file import GgufFile, Value
from mlx_selfdebug.models.gguf_tokenizer import (
    CONTROL,
    END_TOKENS,
    NORMAL,
    PRE_TOKENIZERS,
    UNUSED,
    USER_DEFINED,
    ignores_merges,
    read_tokenizer,
)

MERGES = "tokenizer.ggml.merges"
PROBES = (
    "def f(x):\n    return x ** 2  # squared\n\n\nclass A(B):\n\t@property\n\tdef y(self): return {'a': [1, 2.5e-3]}\r\n",
    "I'm sure they've said it's HE'LL and 'quoted' we'd    ...   3 33 333 3333 33333 0x1F 1_000_000",
    "  leading, \t tabs \t\t and trailing  \n \n\n ------======= ''''```\"\"\"!!??",
    "na\u00efve nai\u0308ve \u00fcn\u00efc\u00f6de \u65e5\u672c\u8a9e \u043f\u0440\u0438\u0432\u0435\u0442",
    "\u1780\u17b6\u1793\u17cb \u0663\u0664 \u00bd \U0001f680 \U0001f636\u200d\U0001f32b\ufe0f \u00a0\u3000\u2028",
)
"""Texts on which tokenizers of different kinds differ: code, contractions, digits, white space, composed letters, many scripts."""
_HINT = "export the model in MLX's format instead"
_ROLES = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
"""GGUF's names of the special tokens, by the names in transformers: ``pad_token_id`` is ``padding_token_id``."""


@dataclass(frozen=True)
class _Source:
    """The tokenizer that is described, in three forms."""

    name: str
    """The name of the model that the tokenizer belongs to, for messages."""
    outer: Any
    """The tokenizer as an object of transformers. It knows the special tokens and the chat template."""
    inner: Tokenizer
    """The tokenizer as an object of the tokenizers library. It encodes the texts."""
    content: dict[str, Any]
    """The tokenizer as the content of tokenizer.json."""

    def error(self, problem: str) -> ModelError:
        """Return the error that says why the tokenizer cannot be written."""
        return ModelError(f"the tokenizer of {self.name} cannot be written to a GGUF file: {problem}", hint=_HINT)


def describe_tokenizer(name: str, tokenizer: Any, end_ids: Collection[int], rows: int) -> dict[str, Value]:
    """Return the entries of the metadata that describe a tokenizer.

    Args:
        name: the name of the model, for messages.
        tokenizer: the tokenizer, as transformers has it.
        end_ids: the ids that end a completion.
        rows: the number of rows of the model's embedding. A row without a token of the tokenizer gets an unused token.

    Raises:
        ModelError: GGUF cannot describe this tokenizer.
    """
    inner = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(inner, Tokenizer):
        raise ModelError(f"the tokenizer of {name} is none of the tokenizers library", hint=_HINT)
    source = _Source(name, tokenizer, inner, json.loads(inner.to_str()))
    tokens, types = _tokens(source, rows)
    ids = _special_ids(source)
    metadata: dict[str, Value] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": _pre_tokenizer(source),
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        MERGES: [" ".join(merge) for merge in source.content["model"]["merges"]],
        "tokenizer.ggml.add_bos_token": _adds_bos(source),
        **ids,
        **_end_ids(source, tokens, types, ids, end_ids),
        **_chat_templates(tokenizer.chat_template),
    }
    _check(source, metadata, end_ids)
    return metadata


def _pre_tokenizer(source: _Source) -> str:
    """Return GGUF's name for the way in which the tokenizer normalizes and splits a text, such as "qwen2"."""
    bpe = source.content["model"]
    if bpe["type"] != "BPE" or bpe.get("byte_fallback") or (source.content["decoder"] or {}).get("type") != "ByteLevel":
        raise source.error(f"it is {bpe['type']} that does not work on bytes, and only byte-level BPE is written")
    if not bpe["merges"] and source.content["normalizer"] is None:
        return "gpt-2"  # Without merges each byte is a token, so it does not matter how a text is split.
    for name, prepare in PRE_TOKENIZERS.items():
        if _splitting(source.content) == _splitting_of(name, prepare):
            return name
    known = ", ".join(sorted(PRE_TOKENIZERS))
    raise source.error(f"it splits a text in a way that is none of {known}")


def _splitting_of(name: str, prepare: Callable[[Tokenizer], None]) -> Any:
    """Return how a tokenizer splits a text if GGUF calls its pre-tokenizer ``name``. ``prepare`` gives a tokenizer that one."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignores_merges(name)))
    prepare(tokenizer)
    return _splitting(json.loads(tokenizer.to_str()))


def _splitting(content: Mapping[str, Any]) -> Any:
    """Return all that decides how a tokenizer splits a text before the merges, as a value that can be compared with ``==``."""
    bpe = content["model"]
    switches = {key: bpe.get(key) or None for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix")}
    return (
        _without_offsets(content["normalizer"]),
        _without_offsets(content["pre_tokenizer"]),
        bool(bpe.get("ignore_merges")),
        switches,
    )


def _without_offsets(part: Any) -> Any:
    """Return a part of tokenizer.json without ``trim_offsets``, which has no influence on the ids."""
    if isinstance(part, dict):
        return {key: _without_offsets(value) for key, value in part.items() if key != "trim_offsets"}
    if isinstance(part, list):
        return [_without_offsets(item) for item in part]
    return part


def _tokens(source: _Source, rows: int) -> tuple[list[str], list[int]]:
    """Return the texts and the types of the tokens, one for each row of the embedding."""
    known: dict[int, tuple[str, int]] = {i: (token, NORMAL) for token, i in source.content["model"]["vocab"].items()}
    for added in source.content["added_tokens"]:
        known[added["id"]] = (added["content"], CONTROL if added["special"] else USER_DEFINED)
    if max(known) >= rows:
        raise source.error(f"it has a token with the id {max(known)}, but the embedding has only {rows} rows")
    pairs = [known.get(i, (f"[PAD{i}]", UNUSED)) for i in range(rows)]
    return [token for token, _ in pairs], [kind for _, kind in pairs]


def _special_ids(source: _Source) -> dict[str, Value]:
    """Return the entries for the ids of the special tokens, as far as the tokenizer has them."""
    ids = {gguf: getattr(source.outer, f"{name}_token_id") for name, gguf in _ROLES.items()}
    return {f"tokenizer.ggml.{gguf}_token_id": int(i) for gguf, i in ids.items() if i is not None}


def _end_ids(
    source: _Source, tokens: list[str], types: list[int], ids: Mapping[str, Value], end_ids: Collection[int]
) -> dict[str, Value]:
    """Return the entries for those ids that end a completion and that a reader of the file would not know by itself.

    A reader knows the eos id, and the control tokens whose texts are in ``END_TOKENS``.
    """
    known = {i for i, token in enumerate(tokens) if types[i] == CONTROL and token in END_TOKENS}
    eos = ids.get("tokenizer.ggml.eos_token_id")
    others = sorted(set(end_ids) - known - {eos})
    roles = ["eot", "eom"] if eos is not None else ["eos", "eot", "eom"]
    if len(others) > len(roles):
        raise source.error(
            f"its completions end with {len(others)} unusual tokens, and GGUF has place for {len(roles)}"
        )
    return {f"tokenizer.ggml.{role}_token_id": i for role, i in zip(roles, others, strict=False)}


def _adds_bos(source: _Source) -> bool:
    """Return whether the tokenizer puts the bos token before a text."""
    without = source.inner.encode("x", add_special_tokens=False).ids
    with_special = source.inner.encode("x", add_special_tokens=True).ids
    return bool(with_special != without and with_special[0] == source.outer.bos_token_id)


def _chat_templates(templates: str | Mapping[str, str] | None) -> dict[str, Value]:
    """Return the entry for the chat template, or the entries for several named templates."""
    if templates is None or isinstance(templates, str):
        return {"tokenizer.chat_template": templates} if templates else {}
    named = {name: text for name, text in templates.items() if name != "default"}
    entries: dict[str, Value] = {f"tokenizer.chat_template.{name}": text for name, text in named.items()}
    if "default" in templates:
        entries["tokenizer.chat_template"] = templates["default"]
    return entries | ({"tokenizer.chat_templates": sorted(named)} if named else {})


def _check(source: _Source, metadata: dict[str, Value], end_ids: Collection[int]) -> None:
    """Raise ModelError unless the tokenizer that is read back from the metadata works as the source does."""
    try:
        read_back = read_tokenizer(GgufFile(Path("the metadata"), metadata, {}))
    except FormatError as error:
        raise source.error(str(error)) from error
    for text in (*PROBES, *_around_added(source)):
        ids = source.inner.encode(text).ids
        if ids != read_back.tokenizer.encode(text).ids:
            raise source.error(f"GGUF would give {text[:40]!r} other ids than {ids[:12]}")
    if not set(end_ids) <= set(read_back.end_ids):
        raise source.error(f"completions end with {sorted(end_ids)}, but would end with {sorted(read_back.end_ids)}")


def _around_added(source: _Source) -> Iterator[str]:
    """Yield each added token inside a text, because some added tokens swallow the white space around them."""
    for added in source.content["added_tokens"]:
        yield f"a {added['content']} b{added['content']}c"
