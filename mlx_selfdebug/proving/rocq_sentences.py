"""Split Rocq source into its sentences, without its comments.

>>> [(sentence.line, sentence.text) for sentence in sentences_of("intros n. (* first *)\\n- simpl; auto.")]
[(1, 'intros n.'), (2, '-'), (2, 'simpl; auto.')]

A sentence ends at a period that white space or the end of the text follows. Bullets and braces are sentences of their own.
Comments are removed here, so the checker never sees one, and it cannot disagree with this module about where a comment ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mlx_selfdebug.proving.script import UnreadableError, end_of_comment, line_of

_END = re.compile(r"\.(?=\s|$)")
MARK = re.compile(r"(-+|\++|\*+|\}|(?:(?:\d+|\[\s*\w+\s*\])\s*:\s*)?\{)")
"""Matches a bullet or a brace, such as "--", "}" or "{". An opening brace may name a goal, as in "2: {" or "[left]: {"."""
_NO_NEWLINE = re.compile(r"[^\n]")
# In a string, "" stands for one quotation mark.
_STRING = re.compile(r'"(?:[^"]|"")*"')


@dataclass(frozen=True)
class Sentence:
    """One sentence of Rocq source."""

    text: str
    """The sentence without comments and without white space at its ends."""
    line: int
    """The number of the line on which it begins, from 1."""
    begin: int = 0
    """The position of its first character in the source, from 0."""


def sentences_of(text: str) -> list[Sentence]:
    """Return the sentences of ``text`` in their order.

    Raises UnreadableError if a string or a comment does not end, or if the text ends within a sentence.
    """
    return list(_split(without_comments(text)))


def without_comments(text: str) -> str:
    """Return ``text`` with spaces in the place of its comments. Lines and positions stay the same.

    Comments may be nested. Raises UnreadableError if a string or a comment does not end.
    """
    parts: list[str] = []
    at = 0
    for begin, end in _comments(text):
        parts += [text[at:begin], _NO_NEWLINE.sub(" ", text[begin:end])]
        at = end
    return "".join([*parts, text[at:]])


def comments_of(text: str) -> list[tuple[int, int]]:
    """Return the positions at which each comment begins and ends. A comment within another is part of that one.

    Raises UnreadableError if a string or a comment does not end.
    """
    return list(_comments(text))


def _comments(text: str) -> Iterator[tuple[int, int]]:
    at = 0
    while at < len(text):
        if text.startswith("(*", at):
            end = end_of_comment(text, at, "(*", "*)")
            yield at, end
            at = end
        else:
            at = _end_of_string(text, at) if text[at] == '"' else at + 1


def _end_of_string(text: str, begin: int) -> int:
    match = _STRING.match(text, begin)
    if not match:
        raise UnreadableError("a string does not end", line_of(text, begin))
    return match.end()


def _split(text: str) -> Iterator[Sentence]:
    """Yield the sentences of a text without comments. Raises UnreadableError as ``sentences_of`` does."""
    at = 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            return
        mark = MARK.match(text, at)
        end = mark.end() if mark else _end_of_sentence(text, at)
        yield Sentence(text[at:end], line_of(text, at), at)
        at = end


def _end_of_sentence(text: str, begin: int) -> int:
    """Return the position after the period that ends the sentence at ``begin``. Raises UnreadableError without a period."""
    at = begin
    while at < len(text):
        if text[at] == '"':
            at = _end_of_string(text, at)
        elif _END.match(text, at):
            return at + 1
        else:
            at += 1
    raise UnreadableError("the last sentence does not end with a period", line_of(text, begin))
