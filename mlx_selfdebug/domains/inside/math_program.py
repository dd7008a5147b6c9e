r"""Check the final answer of a reply against the key of a mathematics problem.

Numbers are read and compared here, exactly. Any other answer is read by math-verify, after its decimals were written as fractions:
math-verify rounds decimals to six places, but compares fractions exactly. So ``0.333333`` is not ``\frac{1}{3}``.

The text of this file is run as a program in the sandbox. ``domains/mathematics.py`` appends the line ``TEXT = ...``, which holds
the model's reply. The checks then call ``answer``.
"""

import re
from typing import Any

from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify
from sympy import Expr, Rational, Set

from mlx_selfdebug.domains.inside.final_answer import final_answer
from mlx_selfdebug.domains.inside.plain_number import GROUPED, cleaned, keeps_value, numbers

TEXT = ""
"""The model's reply."""
MAX_REPLY_CHARS = 20_000
"""Only this many characters at the end of a reply are read."""
DIGITS = 400
"""The digits to which numbers in sets, intervals and matrices are compared if sympy cannot decide whether they are equal."""
DECIMAL_POINT = re.compile(r"(\d*)\.(\d+)(\s*\^)?")
"""Matches a decimal, and the sign of a power after it."""
TRAILING_UNIT = re.compile(
    r"(?<=[\d})])(?:\s|~|\\[,;: ])*(?:\\(?:text|mathrm|mbox)\s*\{(?P<text>[^{}]*)\}|(?P<word>[A-Za-z]{2,}))"
    r"(?:\s*\^\s*(?:\{\s*-?\d\s*\}|-?\d))?\s*$"
)
"""Matches a unit after a number at the end of an answer, as a word or in a command of LaTeX, with its power."""
VARIABLES = re.compile(r"[a-df-hj-np-tv-z]{2,3}")
"""Matches two or three letters without e, i, o and u. They read as a product of variables, whose order does not count."""
CONFIG = (
    LatexExtractionConfig(normalization_config=NormalizationConfig(malformed_operators=True, nits=True, units=False)),
)
"""How math-verify reads an answer. It removes no units: ``symbolic`` does that, and only where they leave the value as it is."""


def answer(key: str, form: str) -> str:
    """Return why the final answer in ``TEXT`` is wrong, or "" if it equals ``key``. Tasks call their entry point ``answer``.

    ``form`` says what form of answer is expected, such as "a whole number". The text never reveals the key.
    """
    final = final_answer(TEXT[-MAX_REPLY_CHARS:])
    if final is None:
        return f"no final answer was found; {form} in \\boxed{{}} is expected"
    wrong = f"the final answer was read as {final[:60]}, which is wrong; {form} is expected"
    stated, expected = numbers(final), numbers(key)
    if stated and expected:
        return wrong if stated.isdisjoint(expected) else ""
    if words(key) and words(final) and not VARIABLES.fullmatch(words(key)):
        return "" if words(final) == words(key) else wrong
    parsed_final = [Rational(value) for value in stated] or symbolic(final)
    if not parsed_final:
        return f"the final answer {final[:60]!r} cannot be read; {form} is expected"
    if expected and isinstance(parsed_final[0], Set):
        return wrong
    parsed_key = [Rational(value) for value in expected] or symbolic(key)
    return "" if equal(parsed_key, parsed_final) else wrong


def equal(key: list[Any], final: list[Any]) -> bool:
    """Return whether an answer equals the key. Both are lists of readings, as math-verify gives them, and ``final`` is not empty.

    Sympy decides on two numbers if it can, and math-verify decides on everything else.
    """
    firsts = [key[0], final[0]] if key else []
    if firsts and all(isinstance(value, Expr) and value.is_number for value in firsts):
        is_same = (firsts[0].doit() - firsts[1].doit()).equals(0)  # None if sympy cannot decide
        if is_same is not None:
            return bool(is_same)
    return bool(verify(key, final, numeric_precision=DIGITS, timeout_seconds=None))


def words(text: str) -> str:
    """Return the words of ``text`` in lower case, or an empty string if it does not consist of words or letters alone."""
    plain = " ".join(cleaned(text).strip(" .:;'\"()").casefold().split())
    return plain if re.fullmatch(r"[^\W\d_]+(?:[ '-][^\W\d_]+)*", plain) else ""


def symbolic(latex: str) -> list[Any]:
    """Return the readings of ``latex`` by math-verify, with fractions for decimals and without a unit at the end."""
    unit = TRAILING_UNIT.search(latex)
    if unit and keeps_value("", unit["word"] or f" {unit['text']}"):
        latex = latex[: unit.start()]
    latex = latex.replace("\\!", "").replace("{,}", ",")
    latex = GROUPED.sub(lambda grouped: re.sub(r"\D", "", grouped[0]), latex)
    return list(parse(f"\\boxed{{{DECIMAL_POINT.sub(fraction, latex)}}}", CONFIG, parsing_timeout=None))


def fraction(decimal: re.Match[str]) -> str:
    r"""Return a matched decimal as a fraction in LaTeX, in brackets if a power follows: ``0.5`` becomes ``\frac{5}{10}``."""
    exact = f"\\frac{{{int(decimal[1] + decimal[2])}}}{{{10 ** len(decimal[2])}}}"
    return f"({exact})^" if decimal[3] else exact
