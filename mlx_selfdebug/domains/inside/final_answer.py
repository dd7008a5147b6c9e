r"""Find the final answer in a reply: what the last box holds, or else what stands after the last words that announce an answer.

>>> final_answer(r"First \boxed{5}. No, it is \boxed{7}. (Put it in \boxed{}.)")
'7'
>>> final_answer("**Answer:** 72, because 8 times 9 is 72.")
'72'
"""

import re

PIECE = re.compile(r"\\(?:boxed|fbox)(?:\s*\{|\s+(?P<bare>-?\d[\d.,]*))|\\.|[{}]", re.DOTALL)
EMPTY = re.compile(
    r"(?:\\(?:text\w*|mathrm|[lcdv]?dots|q?quad|[,;:!_ ])|[\s{}.?_~$*\u2026-])*(?:(?:your|the|my|final|answer|here)\b[\s{}.]*)*",
    re.IGNORECASE,
)
EMPHASIS = re.compile(r"(?<!\w)(\*{1,3}|_{2,3}|`{1,3})(?=\S)([^\n]+?)(?<=\S)\1(?!\w)")
MARK = re.compile(
    r"""
      ^[#> \t-]*(?:(?:the|my|our|final)[ ]+)*answer[ \t]*$                               # a heading
    | \#{4}
    | <answer>
    | \banswers?\b (?:\s+(?:to|of|for|in)\b[^.:=\n]{0,80}?)? \s*
      (?: [:=] | \b(?:is|are|equals?|(?:would|will|must|should)\s+be|comes\s+to)\b (?:\s+(?:therefore|thus|simply|just))? [:=]? )
    """,
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
DISPLAY = re.compile(r"\\\[(.+?)\\\]|\$\$(.+?)\$\$|\\\((.+?)\\\)|\$([^$\n]*[^$\s\d][^$\n]*|\d+)\$(?!\d)", re.DOTALL)
ENDS = re.compile(
    r"</answer>|\.(?=\s+[^\d\s$\\]|\s*$)|[,;]?\s+(?:because|since|so|which|where|as|after)\b|\s+\((?=[a-z]{2}|=)",
    re.IGNORECASE,
)
"""Matches where an answer in a sentence ends and its explanation begins."""


def final_answer(text: str) -> str | None:
    """Return the final answer in ``text``, without emphasis and without an explanation after it, or None if there is none."""
    boxes = [content for content in boxed(text) if not EMPTY.fullmatch(content)]
    if boxes:
        return boxes[-1].strip()
    plain = without_emphasis(text)
    for mark in reversed(list(MARK.finditer(plain))):
        answer = announced(plain[mark.end() :])
        if not EMPTY.fullmatch(answer):
            return answer
    return None


def boxed(text: str) -> list[str]:
    """Return what the complete boxes of ``text`` hold, in the order in which they begin."""
    held, opened = list[tuple[int, str]](), list[int]()
    for piece in PIECE.finditer(text):
        if piece["bare"]:
            held.append((piece.end(), piece["bare"].rstrip(".,")))
        elif piece[0] == "}" and opened:
            start = opened.pop()
            held += [(start, text[start : piece.start()])] if start else []
        elif piece[0] == "{" or piece[0].startswith(("\\boxed", "\\fbox")):
            opened.append(piece.end() if piece[0] != "{" else 0)
    return [content for _, content in sorted(held)]


def without_emphasis(text: str) -> str:
    r"""Return ``text`` without the marks of Markdown for bold, italic and code. Those of a power, ``2**3``, stay."""
    return EMPHASIS.sub(r"\2", EMPHASIS.sub(r"\2", text))


def announced(rest: str) -> str:
    """Return the answer at the beginning of ``rest``, which follows the words that announce it, perhaps on the next line."""
    rest = rest.lstrip(" \t\n*_`:")
    display = DISPLAY.match(rest)
    if display:
        after = rest[display.end() :].partition("\n")[0]
        if not DISPLAY.search(after) or ENDS.match(after):
            return next(group for group in display.groups() if group).strip()
    return ENDS.split(rest.partition("\n")[0], maxsplit=1)[0].strip(" \t*_`")
