"""Recognise the form of a file's records: if a file is loaded under a wrong name, the error says under which name it can be loaded.

>>> advice(Path("all.jsonl"), {"task_id": 11, "text": "Add.", "code": "", "test_list": []}, asked={"id", "statement"})
"its records have MBPP's form; load it as mbpp:all.jsonl, mbpp-train:all.jsonl or mbpp-validation:all.jsonl"
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_selfdebug.errors import TaskError


@dataclass(frozen=True)
class Form:
    """A form that records can have: the fields of a published set or of our own task files."""

    possessive: str
    """Whose form it is, in the possessive that messages use, such as "MBPP's"."""
    fields: frozenset[str]
    """The fields by which the form is recognised. A record may have others."""
    sets: tuple[str, ...] = ()
    """The names of the sets that are read from files of this form."""
    conversion: str = ""
    """What the user can do with a file of this form if no set is read from it."""


FORMS = (
    Form("EvalPlus's releases'", frozenset({"base_input", "plus_input"}), ("humanevalplus", "mbppplus")),
    Form("HumanEvalPack's", frozenset({"buggy_solution", "example_test"}), ("humanevalpack", "humanevalfix")),
    Form(
        "HumanEval's",
        frozenset({"prompt", "canonical_solution", "test", "entry_point"}),
        ("humaneval", "humanevalplus"),
    ),
    Form("MBPP+'s", frozenset({"code", "test_list", "test"}), ("mbppplus",)),
    Form("MBPP's", frozenset({"code", "test_list"}), ("mbpp", "mbpp-train", "mbpp-validation")),
    Form("Spider's", frozenset({"db_id", "question", "query"}), ("spider",)),
    Form(
        "BIRD's",
        frozenset({"db_id", "question", "SQL"}),
        conversion="rename its field SQL to query, call the folder of the databases database, and load it as spider:{path}",
    ),
    Form("GeoQuery's", frozenset({"sentences", "sql"}), ("geoquery", "geoquery-train")),
    Form("GSM8K's", frozenset({"question", "answer"}), ("gsm8k", "gsm8k-train")),
    Form(
        "our own tasks'",
        frozenset({"id", "statement", "entry_point", "hidden"}),
        conversion="load it by its path alone: {path}",
    ),
)
"""The known forms. The first one whose fields a record has is its form, so a form stands before those with fewer of its fields."""


def advice(path: Path, record: Mapping[str, Any], asked: Collection[str]) -> str:
    """Return which form a record has and how to load its file, for an error message.

    Args:
        path: The file, as it is named in the advice.
        record: A record of the file.
        asked: The fields that were expected of the record.

    Returns an empty string if the form is not known, or if it is the one that was expected.
    """
    form = next((form for form in FORMS if form.fields <= record.keys()), None)
    if form is None or form.fields <= set(asked):
        return ""
    names = [f"{name}:{path}" for name in form.sets]
    listed = " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"its records have {form.possessive} form; " + (form.conversion.format(path=path) or f"load it as {listed}")


def refuse_other_form(path: Path, record: object, asked: Collection[str]) -> None:
    """Raise TaskError with ``advice`` if a record has another form than the one that was expected.

    ``record`` is any JSON value of the file ``path``, and ``asked`` has the fields that were expected.
    """
    if isinstance(record, dict) and (text := advice(path, record, asked)):
        raise TaskError(f"{path}: {text}")
