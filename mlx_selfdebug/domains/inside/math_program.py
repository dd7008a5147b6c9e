"""The program that checks an answer of mathematics in a test run. It reads the final answer out of a text with math-verify.

The domain sets ``TEXT`` in a line after it.
"""

import re

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

TEXT = ""
MAX_CHARS = 20_000
NUMBER = re.compile(r"-?\d{1,15}")
UNITS = re.compile(r"\\(?:text|mathrm)\{[^}]*\}|(?<=[\d}])\s*(?:\\?%|[A-Za-z ]+)$")
CONFIG = (LatexExtractionConfig(), ExprExtractionConfig())


def answer(key: str, form: str) -> str:
    """Return what is wrong with the final answer, or an empty string if it equals ``key``. The words never reveal the key."""
    final = boxed(TEXT[-MAX_CHARS:])
    if final is None:
        return f"no final answer was found; {form} in \\boxed{{}} is expected"
    if form.endswith("number"):
        final = UNITS.sub("", final).strip() or final
    plain = final.replace(",", "").replace("\\$", "").replace("$", "").strip()
    if NUMBER.fullmatch(plain) and NUMBER.fullmatch(key):
        return "" if int(plain) == int(key) else wrong(plain, form)
    read = parse(f"\\boxed{{{final}}}", CONFIG, parsing_timeout=None)
    if not read:
        return f"the final answer {final[:60]!r} cannot be read; {form} is expected"
    if verify(parse(f"${key}$", CONFIG, parsing_timeout=None), read, timeout_seconds=None):
        return ""
    return wrong(str(read[0])[:60], form)


def wrong(read: str, form: str) -> str:
    return f"the final answer was read as {read}, which is wrong; {form} is expected"


def boxed(text: str) -> str | None:
    """Return what the last complete ``\\boxed{...}`` holds, or else what follows the last ``####`` or 'answer is', or None."""
    start = text.rfind("\\boxed{")
    while start >= 0:
        depth = 0
        for place in range(start + len("\\boxed"), len(text)):
            depth += (text[place] == "{") - (text[place] == "}")
            if depth == 0:
                return text[start + len("\\boxed{") : place].strip() or None
        start = text.rfind("\\boxed{", 0, start)
    answers = re.findall(r"(?:####|answer is:?)[ \t]*([^\n]+)", text, re.IGNORECASE)
    return answers[-1].strip().rstrip(".").strip() or None if answers else None
