"""The program of a test run of a regular expression. ``PATTERN`` is set behind it."""

import re

PATTERN = ""


def find(text: str) -> list[str]:
    """All matches, whole, from left to right. Raises re.error."""
    return [match.group() for match in re.finditer(PATTERN, text)]
