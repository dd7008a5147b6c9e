"""Replace typographic quotes and unusual spaces in code with plain characters, which Python needs.

Strings and comments stay as they are.

>>> plain("print(\u201chello\u201d)  # \u201chello\u201d")
'print("hello")  # \u201chello\u201d'
"""

from __future__ import annotations

import re

_QUOTES = {"\u201c": '"', "\u201d": '"', "\u201e": '"', "\u2018": "'", "\u2019": "'"}
"""Typographic quotes, single and double, with the plain ones that replace them."""
_SPACES = dict.fromkeys("\u00a0\u2002\u2003\u2007\u2009\u200a\u202f\u3000", " ")
"""Spaces of unusual widths, such as the no-break space, with the plain space that replaces them."""
_INVISIBLE = dict.fromkeys("\ufeff\u200b\u2060", "")
"""The byte order mark, the zero-width space and the word joiner, which are dropped."""
_PLAIN_CHARACTERS = str.maketrans({**_QUOTES, **_SPACES, **_INVISIBLE, "\r": ""})

# A string in typographic quotes gets plain quotes, unless it holds plain quotes itself. Its content stays as it is.
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
"""Matches a string or comment as a whole, or else one character of code. A string may lack its closing quotes."""


def plain(text: str) -> str:
    r"""Return ``text`` with plain quotes and spaces and without invisible characters, outside of strings and comments.

    Every ``\r\n`` becomes ``\n``, in strings and comments too.
    """
    return _PIECE.sub(_plain_piece, text.replace("\r\n", "\n"))


def _plain_piece(match: re.Match[str]) -> str:
    if match["double"] is not None:
        return f'"{match["in_double"]}"'
    if match["single"] is not None:
        return f"'{match['in_single']}'"
    return match["code"].translate(_PLAIN_CHARACTERS) if match["code"] else match[0]
