"""Convert values to plain JSON data and back, and check the data against the type hints of the dataclasses.

The supported types are strings, whole numbers of 64 bits, floats, booleans, literals, tuples of one type (``tuple[T, ...]``),
mappings from strings to one type, optional values and dataclasses. ``Any`` accepts all data unchecked.

    >>> from mlx_selfdebug.values.verdict import Verdict
    >>> parse(Verdict, {"outcome": "passed"}).n_checks
    0
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping, Set
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache, partial
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")

_Parser = Callable[[Any, str, list[str]], Any]
"""A function that takes plain data, the path to it in the whole (such as ``public.failures[2]``) and a list of problems.

It returns the value. If the data does not fit, it adds a problem to the list instead, and what it returns is not used.
"""
_TYPE_NAMES = {str: "a text", int: "a whole number of 64 bits", float: "a number", bool: "true or false"}


class MisfitError(ValueError):
    """An error for data that does not fit its type. ``problems`` holds one line per wrong field, as ``path: problem``."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def parse(hint: type[T], data: Any) -> T:
    """Convert plain data to a value of the type ``hint``. Raises MisfitError, which lists every part that does not fit."""
    problems: list[str] = []
    value: T = _parser(cast(Any, hint))(data, "", problems)
    if problems:
        raise MisfitError(problems)
    return value


def plain(value: Any) -> Any:
    """Convert a value to plain data that ``parse`` reads back."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


@cache
def hints_of(cls: Any) -> Mapping[str, Any]:
    """Return the type of each field of the dataclass ``cls``, by the field's name."""
    hints = get_type_hints(cls)
    return {item.name: hints[item.name] for item in fields(cls)}


@cache
def _parser(hint: Any) -> _Parser:
    """Return the parser of a type. Each parser is built only once, because a run of 20,000 attempts has a million values."""
    origin = get_origin(hint)
    if hint is Any:
        return lambda data, _where, _problems: data
    if origin is Literal:
        return partial(_one_of, get_args(hint))
    if origin is tuple:
        return partial(_tuple, _parser(get_args(hint)[0]))
    if origin is Mapping:
        return partial(_mapping, _parser(get_args(hint)[1]))
    if origin in (Union, types.UnionType):
        inner = next(kind for kind in get_args(hint) if kind is not type(None))
        return partial(_optional, _parser(inner))
    if is_dataclass(hint):
        parsers = {name: _parser(kind) for name, kind in hints_of(cast(Any, hint)).items()}
        required = frozenset(f.name for f in fields(hint) if f.default is MISSING and f.default_factory is MISSING)
        return partial(_record, hint, parsers, required)
    return partial(_number if hint in (int, float) else _text_or_bool, hint)


def _text_or_bool(kind: type, data: Any, path: str, problems: list[str]) -> Any:
    return data if type(data) is kind else _add_problem(f"{_short(data)} is not {_TYPE_NAMES[kind]}", path, problems)


def _number(kind: type, data: Any, path: str, problems: list[str]) -> Any:
    # isinstance would let booleans through, which are whole numbers to Python.
    fits = (type(data) is int and -(2**63) <= data < 2**63) or (kind is float and type(data) is float)
    return kind(data) if fits else _add_problem(f"{_short(data)} is not {_TYPE_NAMES[kind]}", path, problems)


def _one_of(allowed: tuple[Any, ...], data: Any, path: str, problems: list[str]) -> Any:
    if data in allowed:
        return data
    examples = ", ".join(map(str, allowed[:3])) + (", ..." if len(allowed) > 3 else "")
    return _add_problem(f"{_short(data)} is not one of {examples}", path, problems)


def _tuple(inner: _Parser, data: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(data, list):
        return _add_problem(f"{_short(data)} is not a list", path, problems)
    return tuple(inner(item, f"{path}[{i}]", problems) for i, item in enumerate(data))


def _mapping(inner: _Parser, data: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(data, dict):
        return _add_problem(f"{_short(data)} is not an object", path, problems)
    return {key: inner(value, f"{path}.{key}" if path else key, problems) for key, value in data.items()}


def _optional(inner: _Parser, data: Any, path: str, problems: list[str]) -> Any:
    return None if data is None else inner(data, path, problems)


def _record(
    cls: Any, parsers: Mapping[str, _Parser], required: Set[str], data: Any, path: str, problems: list[str]
) -> Any:
    """Return a value of the dataclass ``cls``. ``required`` holds the names of its fields without a default."""
    if not isinstance(data, dict):
        return _add_problem(f"{_short(data)} is not an object", path, problems)
    prefix, n_before = f"{path}." if path else "", len(problems)
    for name in data.keys() - parsers.keys():
        _add_problem("unknown", prefix + name, problems)
    for name in sorted(required - data.keys()):
        _add_problem("missing", prefix + name, problems)
    values = {name: parsers[name](data[name], prefix + name, problems) for name in data if name in parsers}
    return cls(**values) if len(problems) == n_before else None


def _add_problem(problem: str, path: str, problems: list[str]) -> None:
    problems.append(f"{path}: {problem}" if path else problem)


def _short(data: Any, width: int = 40) -> str:
    """Return data as text for a message, cut to ``width`` characters."""
    text = repr(data) if isinstance(data, str) else json.dumps(data, default=repr)
    return text if len(text) <= width else text[: width - 3] + "..."
