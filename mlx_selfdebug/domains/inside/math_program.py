r"""The program that checks an answer of mathematics in a test run.

A number is read and compared here, exactly. Any other answer is read by math-verify, after decimals have become fractions: what
math-verify compares is then exact too, where it would round decimals to six places. ``0.333333`` is not ``\frac{1}{3}``.

The domain sets ``TEXT`` in a line after it.
"""

import re
from typing import Any

from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify
from sympy import Expr, Rational, Set

from mlx_selfdebug.domains.inside.final_answer import final_answer
from mlx_selfdebug.domains.inside.plain_number import GROUPED, cleaned, keep_a_number, numbers

TEXT = ""
MAX_REPLY_CHARS = 20_000
DIGITS = 400
"""The digits to which numbers inside sets, intervals and matrices are compared if sympy cannot decide whether they are equal."""
DECIMAL_POINT = re.compile(r"(\d*)\.(\d+)(\s*\^)?")
TRAILING_UNIT = re.compile(
    r"(?<=[\d})])(?:\s|~|\\[,;: ])*(?:\\(?:text|mathrm|mbox)\s*\{(?P<text>[^{}]*)\}|(?P<word>[A-Za-z]{2,}))"
    r"(?:\s*\^\s*(?:\{\s*-?\d\s*\}|-?\d))?\s*$"
)
VARIABLES = re.compile(r"[a-df-hj-np-tv-z]{2,3}")
"""Matches a short word that reads as a product of variables, whose order does not count."""
CONFIG = (
    LatexExtractionConfig(normalization_config=NormalizationConfig(malformed_operators=True, nits=True, units=False)),
)


def answer(key: str, form: str) -> str:
    """Return what is wrong with the final answer, or an empty string if it equals ``key``. The words never reveal the key."""
    final = final_answer(TEXT[-MAX_REPLY_CHARS:])
    if final is None:
        return f"no final answer was found; {form} in \\boxed{{}} is expected"
    wrong = f"the final answer was read as {final[:60]}, which is wrong; {form} is expected"
    stated, expected = numbers(final), numbers(key)
    if stated and expected:
        return wrong if stated.isdisjoint(expected) else ""
    if words(key) and words(final) and not VARIABLES.fullmatch(words(key)):
        return "" if words(final) == words(key) else wrong
    read = [Rational(value) for value in stated] or symbolic(final)
    if not read:
        return f"the final answer {final[:60]!r} cannot be read; {form} is expected"
    if expected and isinstance(read[0], Set):
        return wrong
    return "" if equal([Rational(value) for value in expected] or symbolic(key), read) else wrong


def equal(wanted: list[Any], read: list[Any]) -> bool:
    """Return whether an answer equals the key. Sympy decides on two numbers if it can, and math-verify on everything else."""
    first = [wanted[0], read[0]] if wanted else []
    if first and all(isinstance(value, Expr) and value.is_number for value in first):
        same = (first[0].doit() - first[1].doit()).equals(0)
        if same is not None:
            return bool(same)
    return bool(verify(wanted, read, numeric_precision=DIGITS, timeout_seconds=None))


def words(text: str) -> str:
    """Return the letters and words that ``text`` consists of, or an empty string if it holds anything else."""
    plain = " ".join(cleaned(text).strip(" .:;'\"()").casefold().split())
    return plain if re.fullmatch(r"[^\W\d_]+(?:[ '-][^\W\d_]+)*", plain) else ""


def symbolic(latex: str) -> list[Any]:
    """Return ``latex`` as math-verify reads it, with exact fractions for decimals and without a unit at its end."""
    unit = TRAILING_UNIT.search(latex)
    if unit and keep_a_number("", unit["word"] or f" {unit['text']}"):
        latex = latex[: unit.start()]
    latex = latex.replace("\\!", "").replace("{,}", ",")
    latex = GROUPED.sub(lambda grouped: re.sub(r"\D", "", grouped[0]), latex)
    return list(parse(f"\\boxed{{{DECIMAL_POINT.sub(fraction, latex)}}}", CONFIG, parsing_timeout=None))


def fraction(decimal: re.Match[str]) -> str:
    r"""Return a decimal as a fraction in LaTeX, in brackets if a power follows: ``0.5`` is ``\frac{5}{10}``."""
    exact = f"\\frac{{{int(decimal[1] + decimal[2])}}}{{{10 ** len(decimal[2])}}}"
    return f"({exact})^" if decimal[3] else exact
