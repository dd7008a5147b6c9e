r"""Read the exact value of a text that states one number, with a currency, a unit, an ordinal's ending or words around it.

``numbers`` returns no value for a text that states no number or several, or whose words change the number, as in "5 or more".

>>> numbers(r"\$1{,}234.50 \text{ per day}"), numbers(r"3^{\text{rd}}"), numbers("5x"), numbers("5 or 6")
(frozenset({Fraction(2469, 2)}), frozenset({Fraction(3, 1)}), frozenset(), frozenset())

A text is read in four steps: ``cleaned`` makes its signs plain, ``only_number`` finds the number in it, ``value_of`` computes the
value, and ``keeps_value`` decides whether the text around the number leaves the value as it is.
"""

import re
from fractions import Fraction

MAX_CHARS = 4_000
"""Longer texts are not read."""
GAP = r"(?:\\[,;: ]|~|\\thinspace\b ?|[ '_\u00a0\u2009\u202f])"
"""Matches one sign other than a comma that may separate thousands: a space, also of LaTeX, an apostrophe or an underscore."""
GROUPED = re.compile(rf"(?<![\d.,])\d{{1,3}}(?:(?:,\d{{3}})+|(?:,?{GAP}\d{{3}})+)(?!\d|,\d)")
"""Matches the whole part of a number whose thousands are separated by commas, spaces or the like, as in 1,000 or 1\\,000."""
DECIMAL = r"(?:\d+(?:\.\d*)?|\.\d+)"
"""Matches a decimal without a sign: "12", "12.", "1.5" or ".5"."""
NUMBER = re.compile(
    rf"""
      (?P<sign>[+-]\s*)?
      (?: (?P<whole>\d+)?\s*\\frac\s*\{{\s*(?P<top>[+-]?\s*{DECIMAL})\s*\}}\s*\{{\s*(?P<bottom>[+-]?\s*{DECIMAL})\s*\}}
        | (?:(?P<ones>\d+)\s+)?(?P<over>{DECIMAL})\s*/\s*(?P<under>{DECIMAL})
        | (?P<decimal>{DECIMAL})
          (?: \s*(?:\\times|\\cdot|[\u00d7*x])\s*10\s*\^\s*(?:\{{\s*(?P<power>[+-]?\d{{1,4}})\s*\}}|(?P<digits>[+-]?\d{{1,4}}))
            | [eE](?P<exponent>[+-]?\d{{1,4}}) )? )
    """,
    re.VERBOSE,
)
r"""Matches a number with its sign, in one of three forms: ``\frac{1}{2}``, ``1/2``, or a decimal.

A fraction may follow a whole number, as in ``1 1/2``. A decimal may have a power of ten, as in ``1.5 \times 10^3`` or ``1.5e3``.
"""
WRAPPER = re.compile(
    r"\\(?:(?:text|math)(?:bf|it|rm|sf|tt|normal)?|mbox|fbox|boxed|bm|boldsymbol|emph|underline|operatorname)\s*\{([^{}]*)\}"
)
"""Matches a command of LaTeX that only changes how its argument looks."""
Replacements = tuple[tuple[re.Pattern[str], str], ...]
"""Patterns, each with the text that takes the place of its matches. They are applied in their order."""
BEFORE_UNWRAPPING: Replacements = (
    (re.compile("[\u2212\u2012\u2013\u2014\uff0d]"), "-"),  # minus signs and dashes
    (re.compile(r"\\(?:left|right|displaystyle|textstyle)(?![A-Za-z])|\\!|\\[()\[\]]"), ""),  # layout without meaning
    (re.compile(r"\{\s*([,.])\s*\}"), r"\1"),  # 1{,}234
)
"""The replacements that are made before the commands of ``WRAPPER`` are removed."""
AFTER_UNWRAPPING: Replacements = (
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\frac\s*(\d)\s*(\d)"), r"\\frac{\1}{\2}"),  # \frac12
    (re.compile(r"\\(?:pounds|euro|yen|text(?:dollar|sterling|euro|yen))(?![A-Za-z])"), ""),
    (re.compile("\\\\?[$\u20ac\u00a3\u00a5\u20b9\u20bd\u20a9]"), ""),  # signs of currencies
    (re.compile(r"\^\s*\{?\s*\\circ(?![A-Za-z])\s*\}?|\\degree(?![A-Za-z])"), "\u00b0"),  # 90^\circ
    (re.compile(r"\^\s*\{?\s*(st|nd|rd|th)(?![A-Za-z])\s*\}?"), r"\1"),  # 3^{rd}
    (re.compile(r"\\approx(?![A-Za-z])|\u2248"), "="),
    (re.compile(r"\\cdot(?=\s*[A-Za-z])"), "\u00b7"),  # a product of units, as in 5 N \cdot m
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\b([ap])\.\s?m\b\.?"), r"\1m"),  # 5 p.m.
)
"""The replacements that are made after the commands of ``WRAPPER`` are removed, and before a number is read."""
SPACE = re.compile(r"\\[,;: ]|~|\\(?:q?quad|thinspace|enspace)(?![A-Za-z])|[\s\u00a0\u2009\u202f]+")
"""Matches what becomes a single space: a command of LaTeX for one, or any white space."""
NEGATED = re.compile(r"\b(?:minus|negative) (?=[\d.\\])", re.IGNORECASE)
"""Matches a minus sign that is written as a word before a number."""
UNIT_POWER = re.compile(
    r"(?<=[A-Za-z])\s*\^\s*(?:\{\s*-?[1-4]\s*\}|-?[1-4](?!\d))|[\u00b2\u00b3]|(?<=[cm]m|.m|ft|in)[23](?![\w.])"
)
"""Matches the power of a unit, as in m^2 or cm2, whose digit is no number of the text."""
RELATION = re.compile(r"[<>\u2260\u2264\u2265\u00b1|!]|\\(?:neq?|leq?|geq?|lt|gt|in|pm|mp|sim|to)(?![A-Za-z])")
"""Matches a sign of an inequality or the like. A text with one states no single number."""

ABBREVIATIONS = frozenset((
    "m", "g", "s", "h", "l", "L", "C", "F", "K", "N", "J", "W", "V", "cm", "mm", "km", "dm", "nm", "ft", "in", "yd", "mi",
    "kg", "mg", "lb", "lbs", "oz", "ml", "mL", "dl", "cl", "kl", "gal", "hr", "hrs", "min", "mins", "sec", "secs", "ms",
    "am", "pm", "mph", "kmh", "kph", "cc", "kB", "MB", "GB", "TB", "Hz", "kHz", "MHz", "GHz", "kW", "kWh", "Pa", "kPa",
    "mol", "st", "nd", "rd", "th", "USD", "EUR", "GBP", "INR", "Rs", "rs", "US", "sq", "cu", "pts", "pct", "deg", "rad",
))  # fmt: skip
"""Units and endings that may stand right after a number. Any other short word there could be a product of variables."""
SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
"""The factors of words that multiply the number before them, as in "5 million"."""
SCALE = re.compile(rf"\s*({'|'.join(SCALES)})\b", re.IGNORECASE)
CHANGING = re.compile(
    r"\b(?:or|not|half|halves|thirds?|fourths?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?|\w+dths?|root|sqrt|plus|minus|"
    r"negative|divided|multiplied|modulo|mod|factorial|infinity|log|ln|exp|sin|cos|tan|cot|csc|pi|theta|alpha|beta|gamma|delta|"
    r"lambda|sigma|omega|phi|hundreds?|thousands?|millions?|billions?|trillions?|power|at (?:least|most)|"
    r"and (?:a|an|one|two|three|four|five|six|seven|eight|nine))\b"
    r"|\b(?:than|almost|nearly|under|over|above|below|between|twice|double|triple|thrice|times|squared?|cubed?)\b[^#]*#"
    r"|#\s*(?:squared|cubed)\b",
    re.IGNORECASE,
)
"""Matches words that change the value of a number, or make it no number at all. ``#`` stands for the number.

Some change it wherever they are, some only before the number, such as "more than #", and some only after it, such as "# squared".
"""
FORMULA_SIGN = re.compile(r"[^\w\s.,:;'\"(){}#/\u00b7%\u00b0\u00a2\u2019-]|[\d_]|\w\(*#")
"""Matches what prose around a number does not hold: an operator or another digit, or a letter right before the number (``#``)."""
MIN_PLAIN_WORD = 4
"""A word with fewer letters could be a product of variables, as in 5ab."""


def numbers(text: str) -> frozenset[Fraction]:
    """Return the values that the number in ``text`` may have. There are none if the text states no number or several.

    "50%" may mean 50 or 1/2, and "5 dozen" may mean 5 or 60. Any other number has one value.
    """
    number = only_number(text)
    value = value_of(number) if number else None
    if number is None or value is None:
        return frozenset()
    before, after = number.string[: number.start()], number.string[number.end() :]
    while scale := SCALE.match(after):
        value, after = value * SCALES[scale[1].lower()], after[scale.end() :]
    if not keeps_value(before, after):
        return frozenset()
    if re.search(r"%|\bpercent|\bpct\b", after, re.IGNORECASE):
        return frozenset((value, value / 100))
    if re.search(r"\bdozens?\b", after, re.IGNORECASE):
        return frozenset((value, value * 12))
    return frozenset((value,))


def digits(text: str) -> str:
    """Return the number in ``text`` as it is written, or an empty string if the text states no number or changes its value."""
    number = only_number(text)
    if number is None or numbers(text).isdisjoint(numbers(number[0])):
        return ""
    # Spaces after the sign are dropped. The space in a mixed number, such as 1 1/2, has to stay.
    return re.sub(r"(?<=[+-])\s+", "", number[0]).strip()


def only_number(text: str) -> re.Match[str] | None:
    """Return the match of the only number after the last equals sign of the cleaned text, or None if there is none or several."""
    text = cleaned(text) if len(text) <= MAX_CHARS else ""
    head, _, tail = text.rpartition("=")
    if RELATION.search(text) or re.search(r"[,;]|\b(?:and|or)\b", head):
        return None
    matches = list(NUMBER.finditer(UNIT_POWER.sub("", tail)))
    return matches[0] if len(matches) == 1 else None


def cleaned(text: str) -> str:
    """Return ``text`` with plain signs and digits, and without currencies and commands of LaTeX that only change how it looks."""
    text = replaced(text, BEFORE_UNWRAPPING)
    # Commands may be nested. Spaces separate a word from the number, but an ending of one or two letters ("th") stays with it.
    while (unwrapped := WRAPPER.sub(lambda m: f" {m[1]} " if len(m[1].strip()) > 2 else m[1], text)) != text:
        text = unwrapped
    text = replaced(text, AFTER_UNWRAPPING)
    text = GROUPED.sub(lambda grouped: re.sub(r"\D", "", grouped[0]), text)
    return NEGATED.sub("-", SPACE.sub(" ", text)).strip()


def replaced(text: str, replacements: Replacements) -> str:
    """Return ``text`` after all of the replacements."""
    for pattern, replacement in replacements:
        text = pattern.sub(replacement, text)
    return text


def value_of(number: re.Match[str]) -> Fraction | None:
    """Return the exact value of a match of ``NUMBER``, or None if it divides by zero."""
    if number["decimal"]:
        power = int(number["power"] or number["digits"] or number["exponent"] or 0)
        value = Fraction(number["decimal"]) * Fraction(10) ** power
    else:
        top, bottom = (number["top"] or number["over"]), (number["bottom"] or number["under"])
        below = Fraction(bottom.replace(" ", ""))
        if not below:
            return None
        value = int(number["whole"] or number["ones"] or 0) + Fraction(top.replace(" ", "")) / below
    return -value if (number["sign"] or "").startswith("-") else value


def keeps_value(before: str, after: str) -> bool:
    """Return whether the text around a number leaves its value unchanged.

    Units and plain words do. Variables, operators, other digits and words such as "twice" do not.
    """
    around = f"{before}#{after}"
    if FORMULA_SIGN.search(around) or CHANGING.search(around):
        return False
    # Right after the number, a short word has to be a known unit or ending.
    adjacent = re.match(r"[^\W\d_]+", after)
    if adjacent and len(adjacent[0]) < MIN_PLAIN_WORD and adjacent[0] not in ABBREVIATIONS:
        return False
    return all(map(is_plain_word, re.findall(r"[^\W\d_]+", around)))


def is_plain_word(word: str) -> bool:
    """Return whether ``word`` is a word or a unit, and not likely a product of variables: it is long, known, or has a vowel."""
    is_known = word in ABBREVIATIONS or word in ("a", "A", "I")
    has_vowel = len(word) > 1 and re.search("[aeiou]", word, re.IGNORECASE) is not None
    return len(word) >= MIN_PLAIN_WORD or is_known or has_vowel
