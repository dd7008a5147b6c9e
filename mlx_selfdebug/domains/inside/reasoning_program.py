"""The program that checks an answer to a reasoning-gym task in a test run, with the scorer of the task's generator.

The domain sets ``TEXT`` in a line after it.
"""

import json
import re

from reasoning_gym.factory import get_score_answer_fn

TEXT = ""
MAX_CHARS = 20_000
NUMBER = re.compile(r"-?[\d,.]+")


def answer(entry: str, form: str) -> str:
    """Return what is wrong with the final answer, or an empty string if the scorer gives it full marks.

    The words never reveal the right answer.
    """
    given = final(TEXT[-MAX_CHARS:])
    if not given:
        return f"no final answer was found; {form} is expected after 'Answer:'"
    record = json.loads(entry)
    score = get_score_answer_fn(record["metadata"]["source_dataset"])(given, record)
    return "" if score == 1 else f"the final answer was read as {given[:80]!r}, which is wrong; {form} is expected"


def final(text: str) -> str:
    """Return what follows the last ``Answer:``, or an empty string."""
    return text.rpartition("Answer:")[2].strip().strip("*`").strip() if "Answer:" in text else ""
