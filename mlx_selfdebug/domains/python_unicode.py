"""Replace typographic quotes and spaces in code with the plain characters of Python. Strings and comments stay as they are."""

from __future__ import annotations

import re

_QUOTES = {"\u201c": '"', "\u201d": '"', "\u201e": '"', "\u2018": "'", "\u2019": "'"}
_SPACES = dict.fromkeys("\u00a0\u2002\u2003\u2007\u2009\u200a\u202f\u3000", " ")
_NOTHING = dict.fromkeys("\ufeff\u200b\u2060", "")
_PLAIN = str.maketrans({**_QUOTES, **_SPACES, **_NOTHING, "\r": ""})

_PIECE = re.compile(
    r"""
      (?P<string> (?P<triple>\"{3}|'{3}) .*? (?:(?P=triple)|\Z)
                | "(?:\\.|[^"\\\n])*"?
                | '(?:\\.|[^'\\\n])*'? )
    | (?P<comment> \#[^\n]* )
    | (?P<double> [\u201c\u201d\u201e] (?P<in_double>[^\u201c\u201d"\n]*) [\u201c\u201d] )
    | (?P<single> [\u2018\u2019] (?P<in_single>[^\u2018\u2019'\n]*) [\u2018\u2019] )
    | (?P<code> . )
    """,
    re.VERBOSE | re.DOTALL,
)


def plain(text: str) -> str:
    """Return ``text`` with plain quotes, spaces and newlines, and without byte order marks, everywhere outside of strings."""
    return _PIECE.sub(_piece, text.replace("\r\n", "\n"))


def _piece(match: re.Match[str]) -> str:
    if match["double"] is not None:
        return f'"{match["in_double"]}"'
    if match["single"] is not None:
        return f"'{match['in_single']}'"
    return match["code"].translate(_PLAIN) if match["code"] else match[0]
