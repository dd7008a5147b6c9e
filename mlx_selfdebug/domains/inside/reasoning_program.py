"""The program of a test run of a reasoning-gym task: its own scorer on the final answer. ``TEXT`` is set behind it."""

import json
import re

from reasoning_gym.factory import get_score_answer_fn

TEXT = ""
MAX_CHARS = 20_000
NUMBER = re.compile(r"-?[\d,.]+")


def answer(entry: str, form: str) -> str:
    """Empty if the scorer gives the final answer full marks; else what is wrong with it, which never tells the answer."""
    found = final(TEXT[-MAX_CHARS:])
    if not found:
        return f"no final answer was found; {form} is expected after 'Answer:'"
    record = json.loads(entry)
    score = get_score_answer_fn(record["metadata"]["source_dataset"])(found, record)
    return "" if score == 1 else f"the final answer was read as {found[:80]!r}, which is wrong; {form} is expected"


def final(text: str) -> str:
    """What follows the last ``Answer:``."""
    return text.rpartition("Answer:")[2].strip().strip("*`").strip() if "Answer:" in text else ""
