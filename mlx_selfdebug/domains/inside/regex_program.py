"""Run a regular expression.

The text of this file is run as a program in the sandbox. ``domains/regex.py`` appends the line ``PATTERN = ...``, which holds the
model's pattern. The checks then call ``find``.
"""

import re

PATTERN = ""
"""The model's pattern."""


def find(text: str) -> list[str]:
    """Return the whole text of each match in ``text``, from left to right. Raises re.error if the pattern is not valid."""
    return [match.group() for match in re.finditer(PATTERN, text)]
