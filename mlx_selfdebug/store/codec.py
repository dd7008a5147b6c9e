"""Convert values to plain JSON data and back, and check the data against the type hints of the dataclasses.

It supports strings, whole numbers of 64 bits, floats, booleans, literals, tuples of one type, mappings of strings to one type,
optional values and dataclasses.

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
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_Parser = Callable[[Any, str, list[str]], Any]
_NAMES = {str: "a text", int: "a whole number of 64 bits", float: "a number", bool: "true or false"}


class MisfitError(ValueError):
    """An error for data that does not fit its type. ``problems`` holds one line per wrong field, as ``where: what``."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def parse(hint: Any, data: Any) -> Any:
    """Convert plain data to a value of the type ``hint``. Raises MisfitError, which lists every part that does not fit."""
    problems: list[str] = []
    value = _parser(hint)(data, "", problems)
    if problems:
        raise MisfitError(problems)
    return value


def plain(value: Any) -> Any:
    """Convert a value to plain data that ``parse`` reads back."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


@cache
def hints_of(cls: Any) -> Mapping[str, Any]:
    """Return the type of each field of a dataclass, by name."""
    hints = get_type_hints(cls)
    return {item.name: hints[item.name] for item in fields(cls)}


@cache
def _parser(hint: Any) -> _Parser:
    """Return the parser of a type. It is built once per type, because a run of 20,000 attempts has a million values."""
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
        return partial(_optional, _parser(next(kind for kind in get_args(hint) if kind is not type(None))))
    if is_dataclass(hint):
        return _record_parser(hint)
    return partial(_number if hint in (int, float) else _scalar, hint)


def _scalar(kind: type, data: Any, where: str, problems: list[str]) -> Any:
    return data if type(data) is kind else _wrong(f"{_short(data)} is not {_NAMES[kind]}", where, problems)


def _number(kind: type, data: Any, where: str, problems: list[str]) -> Any:
    fits = (type(data) is int and -(2**63) <= data < 2**63) or (kind is float and type(data) is float)
    return kind(data) if fits else _wrong(f"{_short(data)} is not {_NAMES[kind]}", where, problems)


def _one_of(allowed: tuple[Any, ...], data: Any, where: str, problems: list[str]) -> Any:
    if data in allowed:
        return data
    examples = ", ".join(map(str, allowed[:3])) + (", ..." if len(allowed) > 3 else "")
    return _wrong(f"{_short(data)} is not one of {examples}", where, problems)


def _tuple(inner: _Parser, data: Any, where: str, problems: list[str]) -> Any:
    if not isinstance(data, list):
        return _wrong(f"{_short(data)} is not a list", where, problems)
    return tuple(inner(item, f"{where}[{i}]", problems) for i, item in enumerate(data))


def _mapping(inner: _Parser, data: Any, where: str, problems: list[str]) -> Any:
    if not isinstance(data, dict):
        return _wrong(f"{_short(data)} is not an object", where, problems)
    return {key: inner(value, f"{where}.{key}" if where else key, problems) for key, value in data.items()}


def _optional(inner: _Parser, data: Any, where: str, problems: list[str]) -> Any:
    return None if data is None else inner(data, where, problems)


def _record(
    cls: Any, parsers: Mapping[str, _Parser], required: Set[str], data: Any, where: str, problems: list[str]
) -> Any:
    if not isinstance(data, dict):
        return _wrong(f"{_short(data)} is not an object", where, problems)
    prefix, before = f"{where}." if where else "", len(problems)
    for name in data.keys() - parsers.keys():
        _wrong("unknown", prefix + name, problems)
    for name in sorted(required - data.keys()):
        _wrong("missing", prefix + name, problems)
    values = {name: parsers[name](data[name], prefix + name, problems) for name in data if name in parsers}
    return cls(**values) if len(problems) == before else None


def _record_parser(cls: Any) -> _Parser:
    parsers = {name: _parser(kind) for name, kind in hints_of(cls).items()}
    return partial(_record, cls, parsers, _required(cls))


def _required(cls: Any) -> Set[str]:
    return frozenset(f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING)


def _wrong(problem: str, where: str, problems: list[str]) -> None:
    problems.append(f"{where}: {problem}" if where else problem)


def _short(data: Any, width: int = 40) -> str:
    text = repr(data) if isinstance(data, str) else json.dumps(data, default=repr)
    return text if len(text) <= width else text[: width - 3] + "..."
