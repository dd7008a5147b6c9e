"""Recognise the form of a file's records, so that a file given under the wrong name is refused with the right one.

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
    """A form that records can have."""

    whose: str
    fields: frozenset[str]
    """The fields by which the form is recognised."""
    sets: tuple[str, ...] = ()
    """The names of the sets that are read from files of this form."""
    conversion: str = ""
    """What to do with a file if no set is read from this form."""


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
"""The known forms. A form comes before those whose fields it has too."""


def advice(path: Path, record: Mapping[str, Any], asked: Collection[str]) -> str:
    """Return what the form of ``record`` is and how to load its file, or "" if the form is not known or is the one asked for.

    ``asked`` has the fields that were expected.
    """
    form = next((form for form in FORMS if form.fields <= record.keys()), None)
    if form is None or form.fields <= set(asked):
        return ""
    names = [f"{name}:{path}" for name in form.sets]
    listed = " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"its records have {form.whose} form; " + (form.conversion.format(path=path) or f"load it as {listed}")


def refuse_other_form(path: Path, record: object, asked: Collection[str]) -> None:
    """Raise TaskError if ``record``, from the file ``path``, has a known form other than the one whose fields are asked for."""
    if isinstance(record, dict) and (text := advice(path, record, asked)):
        raise TaskError(f"{path}: {text}")
