"""Describe a tokenizer in the metadata of a GGUF file, so that our importer and llama.cpp build the same tokenizer from it.

Only byte-level BPE is written, with the pre-tokenizers that ``models/gguf_tokenizer.py`` reads. GGUF knows a pre-tokenizer
by its name alone, so a tokenizer is compared piece by piece with those that have a name. Afterwards the metadata are read
back and both tokenizers encode the same texts. A tokenizer that is only almost right would make the model worse without any
error, so one that encodes a text in another way is refused.
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
"""What GGUF calls the tokens that transformers calls ``bos_token`` and so on."""


@dataclass(frozen=True)
class _Source:
    """A tokenizer to be described."""

    name: str
    """The name of its model, for messages."""
    outer: Any
    """The tokenizer of transformers."""
    inner: Tokenizer
    """The tokenizer of the tokenizers library, which does the work."""
    content: dict[str, Any]
    """The content of its tokenizer.json."""

    def error(self, what: str) -> ModelError:
        return ModelError(f"the tokenizer of {self.name} cannot be written to a GGUF file: {what}", hint=_HINT)


def describe_tokenizer(name: str, tokenizer: Any, end_ids: Collection[int], rows: int) -> dict[str, Value]:
    """Return the entries of the metadata that describe a tokenizer.

    Args:
        name: the name of the model, for messages.
        tokenizer: the tokenizer, as transformers has it.
        end_ids: the ids that end a completion.
        rows: the number of rows of the model's embedding. Rows beyond the tokenizer become unused tokens.

    Raises:
        ModelError: GGUF has no words for this tokenizer.
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
    """Return the name that GGUF has for the way in which the tokenizer normalizes and splits a text."""
    bpe = source.content["model"]
    if bpe["type"] != "BPE" or bpe.get("byte_fallback") or (source.content["decoder"] or {}).get("type") != "ByteLevel":
        raise source.error(f"it is {bpe['type']} that does not work on bytes, and only byte-level BPE is written")
    if not bpe["merges"] and source.content["normalizer"] is None:
        return "gpt-2"  # Without merges each byte is a token, so it does not matter how a text is split.
    for name, prepare in PRE_TOKENIZERS.items():
        if _habits(source.content) == _named_habits(name, prepare):
            return name
    known = ", ".join(sorted(PRE_TOKENIZERS))
    raise source.error(f"it splits a text in a way that is none of {known}")


def _named_habits(name: str, prepare: Callable[[Tokenizer], None]) -> Any:
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignores_merges(name)))
    prepare(tokenizer)
    return _habits(json.loads(tokenizer.to_str()))


def _habits(content: Mapping[str, Any]) -> Any:
    """Return what decides how a tokenizer splits a text before it looks for merges, in a form that can be compared."""
    bpe = content["model"]
    switches = {key: bpe.get(key) or None for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix")}
    return (
        _without_offsets(content["normalizer"]),
        _without_offsets(content["pre_tokenizer"]),
        bool(bpe.get("ignore_merges")),
        switches,
    )


def _without_offsets(part: Any) -> Any:
    """Return a part of tokenizer.json without ``trim_offsets``, which changes no ids."""
    if isinstance(part, dict):
        return {key: _without_offsets(value) for key, value in part.items() if key != "trim_offsets"}
    return [_without_offsets(item) for item in part] if isinstance(part, list) else part


def _tokens(source: _Source, rows: int) -> tuple[list[str], list[int]]:
    """Return a token and its type for each row of the embedding."""
    known: dict[int, tuple[str, int]] = {i: (token, NORMAL) for token, i in source.content["model"]["vocab"].items()}
    for added in source.content["added_tokens"]:
        known[added["id"]] = (added["content"], CONTROL if added["special"] else USER_DEFINED)
    if max(known) >= rows:
        raise source.error(f"it has a token with the id {max(known)}, but the embedding has only {rows} rows")
    pairs = [known.get(i, (f"[PAD{i}]", UNUSED)) for i in range(rows)]
    return [token for token, _ in pairs], [kind for _, kind in pairs]


def _special_ids(source: _Source) -> dict[str, Value]:
    ids = {gguf: getattr(source.outer, f"{name}_token_id") for name, gguf in _ROLES.items()}
    return {f"tokenizer.ggml.{gguf}_token_id": int(i) for gguf, i in ids.items() if i is not None}


def _end_ids(
    source: _Source, tokens: list[str], types: list[int], ids: Mapping[str, Value], end_ids: Collection[int]
) -> dict[str, Value]:
    """Return entries for the ids that end a completion, beside the eos id and the tokens that are known by their text."""
    known = {i for i, token in enumerate(tokens) if types[i] == CONTROL and token in END_TOKENS}
    eos = ids.get("tokenizer.ggml.eos_token_id")
    others = sorted(set(end_ids) - known - {eos})
    roles = ["eos"] * (eos is None) + ["eot", "eom"]
    if len(others) > len(roles):
        raise source.error(
            f"its completions end with {len(others)} unusual tokens, and GGUF has place for {len(roles)}"
        )
    return {f"tokenizer.ggml.{role}_token_id": i for role, i in zip(roles, others, strict=False)}


def _adds_bos(source: _Source) -> bool:
    plain, full = (source.inner.encode("x", add_special_tokens=special).ids for special in (False, True))
    return bool(full != plain and full[0] == source.outer.bos_token_id)


def _chat_templates(templates: str | Mapping[str, str] | None) -> dict[str, Value]:
    """Return the entry of the chat template, or those of several templates with names."""
    if templates is None or isinstance(templates, str):
        return {"tokenizer.chat_template": templates} if templates else {}
    named = {name: text for name, text in templates.items() if name != "default"}
    entries: dict[str, Value] = {f"tokenizer.chat_template.{name}": text for name, text in named.items()}
    if "default" in templates:
        entries["tokenizer.chat_template"] = templates["default"]
    return entries | ({"tokenizer.chat_templates": sorted(named)} if named else {})


def _check(source: _Source, metadata: dict[str, Value], end_ids: Collection[int]) -> None:
    """Raise ModelError unless the tokenizer that is read back from the metadata does what the source does."""
    try:
        back = read_tokenizer(GgufFile(Path("the metadata"), metadata, {}))
    except FormatError as error:
        raise source.error(str(error)) from error
    for text in (*PROBES, *_around_added(source)):
        if source.inner.encode(text).ids != back.tokenizer.encode(text).ids:
            raise source.error(f"GGUF would give {text[:40]!r} other ids than {source.inner.encode(text).ids[:12]}")
    if not set(end_ids) <= set(back.end_ids):
        raise source.error(f"completions end with {sorted(end_ids)}, but would end with {sorted(back.end_ids)}")


def _around_added(source: _Source) -> Iterator[str]:
    """Yield each added token inside a text, because some of them take the white space around them along."""
    for added in source.content["added_tokens"]:
        yield f"a {added['content']} b{added['content']}c"
