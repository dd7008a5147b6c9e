"""The program of a test run of a jq filter. ``FILTER`` is set behind it."""

from typing import Any

import jq

FILTER = ""


def outputs(value: Any) -> list[Any]:
    """All outputs for one input. Raises ValueError."""
    found: list[Any] = jq.compile(FILTER).input_value(value).all()
    return found
