"""Run a jq filter. This is the program of a test run; the domain sets ``FILTER`` in a line after it."""

from typing import Any

import jq

FILTER = ""


def outputs(value: Any) -> list[Any]:
    """Return all outputs of the filter for one input. Raises ValueError if the filter does not compile or fails."""
    values: list[Any] = jq.compile(FILTER).input_value(value).all()
    return values
