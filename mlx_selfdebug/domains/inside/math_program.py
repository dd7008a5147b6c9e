"""The program of a test run of mathematics: reads the final answer out of a text with math-verify. ``TEXT`` is set behind it."""

import re

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

TEXT = ""
MAX_CHARS = 20_000
NUMBER = re.compile(r"-?\d{1,15}")
UNITS = re.compile(r"\\(?:text|mathrm)\{[^}]*\}|(?<=[\d}])\s*(?:\\?%|[A-Za-z ]+)$")
CONFIG = (LatexExtractionConfig(), ExprExtractionConfig())


def answer(key: str, form: str) -> str:
    """Empty if the text ends with an answer equal to ``key``; else what is wrong with it, which never tells the key."""
    found = boxed(TEXT[-MAX_CHARS:])
    if found is None:
        return f"no final answer was found; {form} in \\boxed{{}} is expected"
    if form.endswith("number"):
        found = UNITS.sub("", found).strip() or found
    plain = found.replace(",", "").replace("\\$", "").replace("$", "").strip()
    if NUMBER.fullmatch(plain) and NUMBER.fullmatch(key):
        return "" if int(plain) == int(key) else wrong(plain, form)
    read = parse(f"\\boxed{{{found}}}", CONFIG, parsing_timeout=None)
    if not read:
        return f"the final answer {found[:60]!r} cannot be read; {form} is expected"
    if verify(parse(f"${key}$", CONFIG, parsing_timeout=None), read, timeout_seconds=None):
        return ""
    return wrong(str(read[0])[:60], form)


def wrong(read: str, form: str) -> str:
    return f"the final answer was read as {read}, which is wrong; {form} is expected"


def boxed(text: str) -> str | None:
    """What the last complete ``\\boxed{...}`` holds; where there is none, what follows the last ``####`` or 'answer is'."""
    start = text.rfind("\\boxed{")
    while start >= 0:
        depth = 0
        for place in range(start + len("\\boxed"), len(text)):
            depth += (text[place] == "{") - (text[place] == "}")
            if depth == 0:
                return text[start + len("\\boxed{") : place].strip() or None
        start = text.rfind("\\boxed{", 0, start)
    said = re.findall(r"(?:####|answer is:?)[ \t]*([^\n]+)", text, re.IGNORECASE)
    return said[-1].strip().rstrip(".").strip() or None if said else None
