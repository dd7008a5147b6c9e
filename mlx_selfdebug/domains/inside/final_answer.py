r"""Find the final answer in a reply: the content of its last box, or else what follows the last words that announce an answer.

>>> final_answer(r"First \boxed{5}. No, it is \boxed{7}. (Put it in \boxed{}.)")
'7'
>>> final_answer("**Answer:** 72, because 8 times 9 is 72.")
'72'
"""

import re

PIECE = re.compile(r"\\(?:boxed|fbox)(?:\s*\{|\s+(?P<bare>-?\d[\d.,]*))|\\.|[{}]", re.DOTALL)
r"""Matches the beginning of a box, a number in a box without braces, an escaped character, or a brace."""
EMPTY = re.compile(
    r"(?:\\(?:text\w*|mathrm|[lcdv]?dots|q?quad|[,;:!_ ])|[\s{}.?_~$*\u2026-])*(?:(?:your|the|my|final|answer|here)\b[\s{}.]*)*",
    re.IGNORECASE,
)
"""Matches an answer that says nothing, such as a placeholder: spaces, dots and the words of "your final answer here"."""
EMPHASIS = re.compile(r"(?<!\w)(\*{1,3}|_{2,3}|`{1,3})(?=\S)([^\n]+?)(?<=\S)\1(?!\w)")
"""Matches emphasized text of Markdown with its marks: bold, italic or code."""
ANNOUNCEMENT = re.compile(
    r"""
      ^[#> \t-]*(?:(?:the|my|our|final)[ ]+)*answer[ \t]*$                               # a heading
    | \#{4}
    | <answer>
    | \banswers?\b (?:\s+(?:to|of|for|in)\b[^.:=\n]{0,80}?)? \s*
      (?: [:=] | \b(?:is|are|equals?|(?:would|will|must|should)\s+be|comes\s+to)\b (?:\s+(?:therefore|thus|simply|just))? [:=]? )
    """,
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
"""Matches the words or marks that announce an answer, such as "Answer:", "the answer is" or "####"."""
FORMULA = re.compile(r"\\\[(.+?)\\\]|\$\$(.+?)\$\$|\\\((.+?)\\\)|\$([^$\n]*[^$\s\d][^$\n]*|\d+)\$(?!\d)", re.DOTALL)
"""Matches a formula of LaTeX with its delimiters, but no prices: "$5 and $6" holds no formula."""
FENCE = re.compile(r"\A[ \t\n*_:]*`{3}[\w+-]*[ \t]*\n")
"""Matches the first line of a code block of Markdown at the beginning of a text. The line may name a language."""
EXPLANATION = re.compile(
    r"</answer>|\.(?=\s+[^\d\s$\\]|\s*$)|[,;]?\s+(?:because|since|so|which|where|as|after)\b|\s+\((?=[a-z]{2}|=)",
    re.IGNORECASE,
)
"""Matches the end of an answer within a sentence: the full stop, or the word or bracket with which an explanation begins."""


def final_answer(text: str) -> str | None:
    """Return the final answer in ``text``, without emphasis and without an explanation after it, or None if there is none."""
    boxes = [content for content in boxed(text) if not EMPTY.fullmatch(content)]
    if boxes:
        return boxes[-1].strip()
    plain = without_emphasis(text)
    for announcement in reversed(list(ANNOUNCEMENT.finditer(plain))):
        answer = announced(plain[announcement.end() :])
        if not EMPTY.fullmatch(answer):
            return answer
    return None


def boxed(text: str) -> list[str]:
    """Return the contents of the complete boxes in ``text``, in the order in which the boxes begin."""
    boxes = list[tuple[int, str]]()
    # For each open brace, the index where the content of its box begins, or 0 if the brace belongs to no box.
    open_braces = list[int]()
    for piece in PIECE.finditer(text):
        if piece["bare"]:
            boxes.append((piece.end(), piece["bare"].rstrip(".,")))
        elif piece[0] == "}" and open_braces:
            start = open_braces.pop()
            boxes += [(start, text[start : piece.start()])] if start else []
        elif piece[0] == "{":
            open_braces.append(0)
        elif piece[0].startswith(("\\boxed", "\\fbox")):
            open_braces.append(piece.end())
    return [content for _, content in sorted(boxes)]


def without_emphasis(text: str) -> str:
    r"""Return ``text`` without the marks of Markdown for bold, italic and code. The stars of a power, as in ``2**3``, stay."""
    # Marks may be nested, as in **`3`**, so they are removed twice.
    return EMPHASIS.sub(r"\2", EMPHASIS.sub(r"\2", text))


def announced(rest: str) -> str:
    """Return the answer at the beginning of ``rest``, the text after an announcement.

    It may be on the next line, or in a code block. If the answer begins with a formula and its line holds no other one, only the
    formula is returned.
    """
    rest = FENCE.sub("", rest).lstrip(" \t\n*_`:")
    formula = FORMULA.match(rest)
    if formula:
        after = rest[formula.end() :].partition("\n")[0]
        if not FORMULA.search(after) or EXPLANATION.match(after):
            return next(group for group in formula.groups() if group).strip()
    return EXPLANATION.split(rest.partition("\n")[0], maxsplit=1)[0].strip(" \t*_`")
