"""Answer requests in lines of JSON on the channel that a confined command finds as its standard input."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

CHANNEL = 9
MAX_TEXT = 4000
"""The number of characters that are kept of a message or a goal."""


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer each request with ``answer`` until the channel is closed."""
    # No program that is started from here may find the channel.
    os.dup2(0, CHANNEL, inheritable=False)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    with os.fdopen(CHANNEL, "r+b", buffering=0) as channel:
        received = b""
        while more := channel.read(1 << 20):
            *lines, received = (received + more).split(b"\n")
            for line in lines:
                channel.write(json.dumps(answer(json.loads(line))).encode() + b"\n")
