"""Check the answer to a task of reasoning-gym with the scorer of the task's generator.

This is the program of a test run; the domain sets ``TEXT``, the reply, in a line after it.
"""

import json
import re
from typing import Any

from reasoning_gym.factory import get_score_answer_fn

from mlx_selfdebug.domains.inside.final_answer import final_answer, without_emphasis
from mlx_selfdebug.domains.inside.plain_number import digits, numbers

TEXT = ""
MAX_REPLY_CHARS = 20_000
"""The maximum number of characters, from the end of a reply, that are read."""
LABEL = re.compile(r"(?<![A-Za-z])answer[*_`]*\s*:", re.IGNORECASE)
"""Matches the label "Answer:", also with the marks that close emphasis before the colon."""


def answer(entry: str, form: str) -> str:
    """Return in words what is wrong with the final answer, or an empty string if the scorer gives it full marks.

    ``entry`` is the generator's record as JSON, and ``form`` says what form of answer is expected. The words never reveal the right
    answer.
    """
    record = json.loads(entry)
    given = readings(TEXT[-MAX_REPLY_CHARS:], record)
    if not given:
        return f"no final answer was found; {form} is expected after 'Answer:'"
    score = get_score_answer_fn(record["metadata"]["source_dataset"])
    if any(score(reading, record) == 1 for reading in given):
        return ""
    return f"the final answer was read as {given[0][:80]!r}, which is wrong; {form} is expected"


def readings(text: str, record: dict[str, Any]) -> list[str]:
    """Return the ways to read the final answer, usually the longest first. The first is quoted to the model if all are wrong.

    The answer is read as it is written, and without emphasis, a box, a unit or a full stop around it. If the right answer has
    several lines, such as a grid, the only reading is everything after the last label "Answer:".
    """
    expected = str(record["answer"])
    stripped = (part.strip().strip("*`").strip() for part in LABEL.split(text)[1:])
    labelled = [part for part in stripped if part]
    if "\n" in expected:
        return labelled[-1:]
    final = final_answer(text)
    lines = [without_emphasis(part.partition("\n")[0]).strip() for part in labelled[-1:]]
    plain = [digits(final)] if final and numbers(expected) else []
    return list(dict.fromkeys(reading for reading in [*labelled[-1:], *lines, final, *plain] if reading))
