"""Run a jq filter.

The text of this file is run as a program in the sandbox. ``domains/jq.py`` appends the line ``FILTER = ...``, which holds the
model's filter. The checks then call ``outputs``.
"""

from typing import Any

import jq

FILTER = ""
"""The model's filter."""


def outputs(value: Any) -> list[Any]:
    """Return all outputs of the filter for the input ``value``. Raises ValueError if the filter does not compile or fails."""
    values: list[Any] = jq.compile(FILTER).input_value(value).all()
    return values
