"""Run a regular expression. This is the program of a test run; the domain sets ``PATTERN`` in a line after it."""

import re

PATTERN = ""


def find(text: str) -> list[str]:
    """Return all matches, whole and from left to right. Raises re.error if the pattern is not valid."""
    return [match.group() for match in re.finditer(PATTERN, text)]
