"""The program that runs a jq filter in a test run. The domain sets ``FILTER`` in a line after it."""

from typing import Any

import jq

FILTER = ""


def outputs(value: Any) -> list[Any]:
    """Return all outputs of the filter for one input. Raises ValueError."""
    values: list[Any] = jq.compile(FILTER).input_value(value).all()
    return values
