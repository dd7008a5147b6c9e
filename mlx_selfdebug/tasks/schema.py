"""Check one object of a task file, field by field, and build a task from it.

``FIELDS`` has the rule for each field. Code in an object is parsed but not run: auditing/verify.py tests whether a reference passes
its checks.

    >>> [str(problem) for problem in problems_of({"id": "a", "statment": "Add."})][0]
    "statment: unknown field, 'Add.', did you mean 'statement'?"
"""

from __future__ import annotations

import ast
import keyword
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from mlx_selfdebug.errors import nearest
from mlx_selfdebug.parsing import parse_quietly
from mlx_selfdebug.values.checks import Checks, Kind
from mlx_selfdebug.values.task import Task

MAX_ID_LENGTH = 200
"""The largest number of characters of an id."""
DIFFICULTIES = ("easy", "medium", "hard")
KINDS = get_args(Kind)
_ALLOWED_CHECKS = (
    'expected a list of assert statements, [] for none, {"source": "def check(candidate): ...", "setup": "..."}, '
    'or for a program {"io": [["its input", "its output"]]}'
)
_CHECK_FIELDS = ("source", "setup", "kind", "io")
"""The fields of checks that are given as an object."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with an object of a task file."""

    field: str
    """The field with the problem, such as "public[2]" for an entry of a list."""
    what: str
    """What is wrong, in words."""
    value: object
    """The value that the object has in this field, or None if it has none."""
    allowed: str
    """What the field may hold, in words."""

    def __str__(self) -> str:
        shown = [] if self.value in ("", None) else [_short(self.value)]
        return f"{self.field}: " + ", ".join([self.what, *shown, self.allowed])


def problems_of(record: Mapping[str, Any]) -> list[Problem]:
    """Return everything that is wrong with an object of a task file. If nothing is, ``build`` can make a task of it."""
    problems = [_unknown(name, value) for name, value in record.items() if name not in FIELDS]
    for name, field in FIELDS.items():
        if name in record:
            problems += field.test(name, record[name])
        elif field.required:
            problems.append(Problem(name, "missing", None, field.allowed))
    if not problems and record.get("domain", "python") == "python":
        problems += [*_entry_point_problems(record), *_reference_problems(record)]
    return problems


def build(record: Mapping[str, Any], source: str) -> Task:
    """Build the task of an object that has no problems. ``source`` is the source of the task."""
    setup = record.get("setup", "")
    return Task(
        id=record["id"],
        domain=record.get("domain", "python"),
        statement=record["statement"],
        entry_point=record["entry_point"],
        starter_code=record.get("starter_code", ""),
        public=_checks(record["public"], setup),
        hidden=_checks(record["hidden"], setup),
        data=record.get("data", ""),
        reference=record.get("reference", ""),
        wrong=tuple(record.get("wrong", ())),
        source=source,
        difficulty=record.get("difficulty", ""),
        pass_rate=record.get("pass_rate"),
    )


def _checks(value: Any, setup: str) -> Checks:
    """Build checks from one of their three forms. ``setup`` is that of the object, which a setup of the checks replaces."""
    if isinstance(value, list):
        return Checks.from_asserts(value, setup)
    if "io" in value:
        return Checks.from_io((stdin, stdout) for stdin, stdout in value["io"])
    return Checks.from_source(value["source"], value.get("setup", setup), value.get("kind", "call"))


def _short(value: object) -> str:
    """Return the ``repr`` of a value, with long texts and lists shortened."""
    shortener = reprlib.Repr()
    shortener.maxstring = shortener.maxother = 60
    return shortener.repr(value)


def _unknown(name: str, value: object) -> Problem:
    """Return the problem that a field is not known, with the known field of the most similar name if there is one."""
    near = nearest(name, FIELDS)
    allowed = f"did you mean {near!r}?" if near else f"the known fields are {', '.join(FIELDS)}"
    return Problem(name, "unknown field", value, allowed)


def _text(name: str, value: object, allowed: str = "") -> Iterator[Problem]:
    """Yield a problem if ``value`` is not a string that can be written as UTF-8. By default, the field's own rule is cited."""
    if not isinstance(value, str):
        yield Problem(name, "not a string", value, allowed or FIELDS[name].allowed)
    elif not value.isascii() and not _encodes(value):
        yield Problem(name, "contains half a surrogate pair", value, allowed or FIELDS[name].allowed)


def _encodes(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _satisfies(test: Callable[[str], bool]) -> Callable[[str, object], Iterator[Problem]]:
    """Return a ``Field.test`` that yields a problem if the value is not a string, or if ``test`` is false for it."""

    def check(name: str, value: object) -> Iterator[Problem]:
        problems = list(_text(name, value))
        yield from problems
        if not problems and isinstance(value, str) and not test(value):
            yield Problem(name, "empty" if value == "" else "not allowed", value, FIELDS[name].allowed)

    return check


def _is_id(value: str) -> bool:
    return 0 < len(value) <= MAX_ID_LENGTH and value.isprintable() and " " not in value


def _is_name(value: str) -> bool:
    return value.isidentifier() and not keyword.iskeyword(value)


def _texts(name: str, value: object) -> Iterator[Problem]:
    """Yield what is wrong with a list of strings, none of which may be empty."""
    allowed = FIELDS[name].allowed
    if not isinstance(value, list):
        yield Problem(name, "not a list", value, allowed)
        return
    for position, item in enumerate(value):
        where = f"{name}[{position}]"
        yield from [Problem(where, "empty", item, allowed)] if item == "" else _text(where, item, allowed)


def _share(name: str, value: object) -> Iterator[Problem]:
    """Yield a problem if ``value`` is not a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        yield Problem(name, "not allowed", value, FIELDS[name].allowed)


def _code(name: str, value: object) -> Iterator[Problem]:
    """Yield a problem if ``value`` is not a string of Python source that parses."""
    allowed = "expected Python source"
    problems = list(_text(name, value, allowed))
    yield from problems
    if not problems and isinstance(value, str):
        yield from _parse_problems(name, value, allowed)


def _parse_problems(name: str, source: str, allowed: str) -> Iterator[Problem]:
    """Yield a problem, which cites the rule ``allowed``, if ``source`` does not parse as Python."""
    try:
        parse_quietly(source)
    except (SyntaxError, ValueError) as error:
        where = f" in its line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        what = error.msg if isinstance(error, SyntaxError) else str(error)
        yield Problem(name, f"does not parse{where} ({what})", source, allowed)


def _any_checks(name: str, value: object) -> Iterator[Problem]:
    """Yield what is wrong with checks, which are a list of asserts or an object."""
    if isinstance(value, list):
        for position, item in enumerate(value):
            yield from _assert_problems(f"{name}[{position}]", item)
    elif isinstance(value, dict):
        yield from _check_object_problems(name, value)
    else:
        yield Problem(name, "of the wrong type", value, _ALLOWED_CHECKS)


def _assert_problems(name: str, value: object) -> Iterator[Problem]:
    """Yield a problem if an entry of a list of checks does not parse or has no assert statement."""
    allowed = "expected an assert statement"
    problems = list(_text(name, value, allowed))
    if not problems and isinstance(value, str):
        problems = list(_parse_problems(name, value, allowed))
    yield from problems
    if not problems and isinstance(value, str):
        nodes = parse_quietly(value).body
        if not any(isinstance(node, ast.Assert) for node in nodes):
            yield Problem(name, "asserts nothing", value, allowed)


def _check_object_problems(name: str, value: Mapping[str, object]) -> Iterator[Problem]:
    """Yield what is wrong with checks that are given as an object."""
    known = f"the known fields are {', '.join(_CHECK_FIELDS)}"
    for key in value:
        if key not in _CHECK_FIELDS:
            yield Problem(f"{name}.{key}", "unknown field", value[key], known)
    if "io" in value:
        yield from _io_problems(name, value)
        return
    if value.get("kind", "call") not in KINDS:
        yield Problem(f"{name}.kind", "not allowed", value["kind"], f"expected one of {', '.join(KINDS)}")
    allowed = "expected def check(candidate): ..."
    if "source" not in value:
        yield Problem(f"{name}.source", "missing", None, allowed)
    problems = [
        problem for key in ("source", "setup") if key in value for problem in _code(f"{name}.{key}", value[key])
    ]
    yield from problems
    source = value.get("source")
    if not problems and isinstance(source, str) and not _defines(source, "check"):
        yield Problem(f"{name}.source", "defines no function check(candidate)", source, allowed)


def _io_problems(name: str, value: Mapping[str, object]) -> Iterator[Problem]:
    """Yield what is wrong with checks that are given as pairs of input and output."""
    cases, allowed = value["io"], 'expected a list of pairs of strings, [["its input", "its output"]]'
    for key in value:
        if key != "io":
            yield Problem(f"{name}.{key}", "not allowed beside io", value[key], "expected io alone")
    if not isinstance(cases, list) or not cases:
        yield Problem(f"{name}.io", "not allowed", cases, allowed)
        return
    for position, case in enumerate(cases):
        is_pair = isinstance(case, list) and len(case) == 2 and all(isinstance(t, str) and _encodes(t) for t in case)
        if not is_pair:
            yield Problem(f"{name}.io[{position}]", "not a pair of strings", case, allowed)


def _entry_point_problems(record: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem if the entry point is empty though no checks run a whole program."""
    if record["entry_point"] == "" and not any(_is_program(record[name]) for name in ("public", "hidden")):
        yield Problem("entry_point", "empty", "", FIELDS["entry_point"].allowed)


def _is_program(value: Any) -> bool:
    """Return whether checks run a whole program instead of calling an entry point."""
    return isinstance(value, dict) and ("io" in value or value.get("kind") == "program")


def _reference_problems(record: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem if the reference does not parse or does not define the entry point."""
    source, entry_point = record.get("reference", ""), record["entry_point"]
    problems = list(_parse_problems("reference", source, "expected a complete program"))
    yield from problems
    if source and not problems and entry_point and not _defines(source, entry_point, or_class=True):
        allowed = "expected a complete program that defines the entry point"
        yield Problem("reference", f"does not define {entry_point!r}", source, allowed)


def _defines(source: str, name: str, *, or_class: bool = False) -> bool:
    """Return whether ``source`` defines a function, or with ``or_class`` a class, of this name at its top level."""
    kinds: tuple[type[ast.FunctionDef | ast.ClassDef], ...] = (ast.FunctionDef,)
    if or_class:
        kinds = (ast.FunctionDef, ast.ClassDef)
    return any(isinstance(node, kinds) and node.name == name for node in parse_quietly(source).body)


@dataclass(frozen=True)
class Field:
    """The rule for one field of an object."""

    test: Callable[[str, object], Iterator[Problem]]
    """Yields what is wrong with a value, given the name of the field and the value."""
    allowed: str
    """What the field may hold, in words."""
    required: bool = False


FIELDS: Mapping[str, Field] = {
    "id": Field(
        _satisfies(_is_id), f"expected 1 to {MAX_ID_LENGTH} printable characters without spaces", required=True
    ),
    "statement": Field(
        _satisfies(lambda value: bool(value.strip())), "expected a string that says what is asked", required=True
    ),
    "entry_point": Field(
        _satisfies(lambda value: value == "" or _is_name(value)),
        "expected the name of the function or class that is tested, or an empty string for a program",
        required=True,
    ),
    "public": Field(_any_checks, _ALLOWED_CHECKS, required=True),
    "hidden": Field(_any_checks, _ALLOWED_CHECKS, required=True),
    "domain": Field(_satisfies(str.isidentifier), "expected the name of a domain, such as python"),
    "starter_code": Field(_text, "expected a string, the code that the answer begins with"),
    "data": Field(_text, "expected a string, the data that the domain's tests need beside the checks"),
    "reference": Field(_text, "expected a string, a complete program that passes all checks"),
    "wrong": Field(_texts, "expected a list of strings, answers that must not pass"),
    "setup": Field(_code, "expected Python source that runs before the checks"),
    "difficulty": Field(_satisfies(lambda value: value in DIFFICULTIES), f"expected one of {', '.join(DIFFICULTIES)}"),
    "pass_rate": Field(_share, "expected a number from 0 to 1, the share of drafts that passed"),
}
"""The rule for each field, the required fields first."""
