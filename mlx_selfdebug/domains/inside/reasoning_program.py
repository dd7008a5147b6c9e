"""Check the final answer to a task of reasoning-gym with the scorer of the task's generator.

The text of this file is run as a program in the sandbox. ``domains/reasoning.py`` appends the line ``TEXT = ...``, which holds the
model's reply. The checks then call ``answer``.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from reasoning_gym.factory import create_dataset

from mlx_selfdebug.domains.inside.final_answer import final_answer, without_emphasis
from mlx_selfdebug.domains.inside.plain_number import digits, numbers

TEXT = ""
"""The model's reply."""
MAX_REPLY_CHARS = 20_000
"""Only this many characters at the end of a reply are read."""
LABEL = re.compile(r"(?<![A-Za-z])answer[*_`]*\s*:", re.IGNORECASE)
"""Matches the label "Answer:", also with the marks that close emphasis before the colon."""
BLOCK = re.compile(r"[\s*_]*`{3}[\w+-]*[ \t]*\n(.*?)(?:`{3}|\Z)", re.DOTALL)
"""Matches a code block of Markdown. Its first line may name a language, and its end may be missing."""
FLOAT = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
"""Matches a number, perhaps with decimals and an exponent."""
RELATIVE, ABSOLUTE = 1e-9, 1e-6
"""The largest differences of a number from the right answer: relative to its size, and absolute. Both limits must be kept.

They allow for right answers that the generators have rounded.
"""


def answer(entry: str, form: str, settings: str = "{}") -> str:
    """Return why the final answer in ``TEXT`` is wrong, or "" if it is right. Tasks call their entry point ``answer``.

    ``entry`` is the generator's record and ``settings`` the settings with which it was made, both as JSON. ``form`` says what form
    of answer is expected, such as "a whole number". The text never reveals the right answer.
    """
    record = json.loads(entry)
    given = readings(TEXT[-MAX_REPLY_CHARS:], str(record["answer"]))
    if not given:
        return f"no final answer was found; {form} is expected after 'Answer:'"
    score = create_dataset(record["metadata"]["source_dataset"], **json.loads(settings)).score_answer
    if any(is_right(reading, record, score) for reading in given):
        return ""
    return f"the final answer was read as {given[0][:80]!r}, which is wrong; {form} is expected"


def readings(text: str, expected: str) -> list[str]:
    """Return the texts that may be meant as the answer, without repeats. If all are wrong, the model is shown the first.

    The first reading is all that follows the last label "Answer:", or the code block that follows the label. Further readings are
    the first line of that, the final answer without its box and explanation, and the number in the final answer if a number is
    expected. If the right answer, ``expected``, has several lines, such as a grid, only the first reading is returned.
    """
    labelled = [part for part in map(labelled_text, LABEL.split(text)[1:]) if part]
    last = labelled[-1] if labelled else ""
    if "\n" in expected:
        return [last] if last else []
    final = final_answer(text) or ""
    first_line = without_emphasis(last.partition("\n")[0]).strip()
    number = digits(final) if numbers(expected) else ""
    return list(dict.fromkeys(reading for reading in (last, first_line, final, number) if reading))


def labelled_text(part: str) -> str:
    """Return the text after a label without marks of emphasis around it, or the content of the code block that it begins with."""
    block = BLOCK.match(part)
    return (block[1] if block else part.strip().strip("*`")).strip()


def is_right(reading: str, record: dict[str, Any], score: Callable[[str, dict[str, Any]], float]) -> bool:
    """Return whether a reading is the generator's own answer, or gets full marks and fulfils the condition in ``STRICTER``.

    ``record`` is the generator's record, and ``score`` the scorer, which returns 1 for a right answer.
    """
    if reading == record["answer"]:
        return True  # Some scorers refuse it, because they compare with tuples, which JSON has turned into lists.
    if not str(record["answer"]):
        # The task asks for "" as the answer. The scorers would give full marks to any text without a number.
        return not reading.strip("'\"")
    try:
        has_full_marks = score(reading, record) == 1
    except Exception:  # Scorers raise all kinds of errors for a text that they cannot read.
        return False
    condition = STRICTER.get(record["metadata"]["source_dataset"])
    return has_full_marks and (condition is None or condition(reading, record))


def same_number(reading: str, record: dict[str, Any]) -> bool:
    """Return whether a reading states the number of the right answer."""
    expected = numbers(record["answer"])
    return any(
        abs(value - right) <= min(RELATIVE * abs(right), ABSOLUTE) for value in numbers(reading) for right in expected
    )


def same_numbers(reading: str, record: dict[str, Any]) -> bool:
    """Return whether a reading holds the numbers of the right answer and no others, in any order."""
    return floats(reading) == floats(record["answer"])


def same_hundredths(reading: str, record: dict[str, Any]) -> bool:
    """Return whether a reading holds the numbers of the right answer, rounded to two digits, and no others, in any order."""
    return [round(value, 2) for value in floats(reading)] == [round(value, 2) for value in floats(record["answer"])]


def as_many_numbers(reading: str, record: dict[str, Any]) -> bool:
    """Return whether a reading holds as many numbers as the right answer."""
    return len(floats(reading)) == len(floats(record["answer"]))


def given_numbers(reading: str, record: dict[str, Any]) -> bool:
    """Return whether a reading uses each number that the task gives, and no other."""
    return sorted(map(int, re.findall(r"\d+", reading))) == sorted(record["metadata"]["numbers"])


def same_text(reading: str, record: dict[str, Any]) -> bool:
    """Return whether a reading is the text of the right answer, apart from case and spaces."""
    return "".join(reading.split()).casefold() == "".join(record["answer"].split()).casefold()


def floats(text: str) -> list[float]:
    """Return the numbers in a text, sorted."""
    return sorted(map(float, FLOAT.findall(text)))


STRICTER: dict[str, Callable[[str, dict[str, Any]], bool]] = {
    "advanced_geometry": as_many_numbers,  # accepts a point with further coordinates
    "coin_flip": same_number,  # accepts "0" and "0.1" for 0.125
    "figlet_font": same_text,  # accepts a longer word of which ten letters are right
    "game_of_life": same_numbers,  # accepts further rows
    "game_of_life_halting": same_text,  # accepts any text
    "gsm_symbolic": same_number,  # accepts "-5" and "5 or 6" for 5
    "letter_jumble": same_text,  # accepts further words
    "number_format": same_number,  # accepts numbers that are off by less than 0.01
    "number_sorting": same_numbers,  # accepts numbers that are off by 1
    "polynomial_equations": same_numbers,  # ignores solutions that it cannot read, such as "x = 2"
    "pool_matrix": same_hundredths,  # accepts numbers that are off by 1 %
    "puzzle24": given_numbers,  # accepts any four numbers that make 24
    "word_sorting": same_text,  # accepts further words
}
"""A further condition for right answers, by generator. The comments say to which wrong answers the scorer gives full marks."""
