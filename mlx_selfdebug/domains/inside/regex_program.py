"""The program that runs a regular expression in a test run. The domain sets ``PATTERN`` in a line after it."""

import re

PATTERN = ""


def find(text: str) -> list[str]:
    """Return all whole matches from left to right. Raises re.error."""
    return [match.group() for match in re.finditer(PATTERN, text)]
