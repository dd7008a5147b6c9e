"""Values from and to plain JSON data, checked against the dataclasses' own type hints.

>>> from mlx_selfdebug.sandbox.verdict import Verdict
>>> parse(Verdict, {"outcome": "passed"}).n_checks
0
>>> parse(Verdict, {"outcome": "pased"})
Traceback (most recent call last):
    ...
mlx_selfdebug.store.values.MisfitError: outcome: 'pased' is none of passed, failed, raised, ...
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

INT64 = range(-(2**63), 2**63)
_NAMES = {str: "a text", int: "a whole number of 64 bits", float: "a number", bool: "true or false"}


class MisfitError(ValueError):
    """Data that is not of the type it should have. ``problems`` has one line a field that is wrong: ``where: what``."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def parse(hint: Any, data: Any) -> Any:
    """Plain data as a value of the type ``hint``. Raises MisfitError with everything that does not fit."""
    problems: list[str] = []
    value = _parse(hint, data, "", problems)
    if problems:
        raise MisfitError(problems)
    return value


def plain(value: Any) -> Any:
    """A value as plain data that ``parse`` reads back."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


@cache
def hints_of(cls: Any) -> Mapping[str, Any]:
    """Field name -> type, for a dataclass."""
    hints = get_type_hints(cls)
    return {item.name: hints[item.name] for item in fields(cls)}


def _parse(hint: Any, data: Any, where: str, problems: list[str]) -> Any:
    origin = get_origin(hint)
    if hint is Any:
        return data
    if origin is Literal:
        return _one_of(get_args(hint), data, where, problems)
    if origin is tuple:
        return _tuple(get_args(hint)[0], data, where, problems)
    if origin in (Union, types.UnionType):
        inner = next(kind for kind in get_args(hint) if kind is not type(None))
        return None if data is None else _parse(inner, data, where, problems)
    if is_dataclass(hint):
        return _record(hint, data, where, problems)
    return _scalar(hint, data, where, problems)


def _scalar(kind: type, data: Any, where: str, problems: list[str]) -> Any:
    whole = type(data) is int and data in INT64
    fits = whole if kind is int else whole or type(data) is float if kind is float else type(data) is kind
    if not fits:
        return _wrong(f"{_short(data)} is not {_NAMES[kind]}", where, problems)
    return float(data) if kind is float else data


def _one_of(allowed: tuple[Any, ...], data: Any, where: str, problems: list[str]) -> Any:
    if data not in allowed:
        named = ", ".join(map(str, allowed[:3])) + (", ..." if len(allowed) > 3 else "")
        return _wrong(f"{_short(data)} is none of {named}", where, problems)
    return data


def _tuple(inner: Any, data: Any, where: str, problems: list[str]) -> Any:
    if not isinstance(data, list):
        return _wrong(f"{_short(data)} is not a list", where, problems)
    return tuple(_parse(inner, item, f"{where}[{i}]", problems) for i, item in enumerate(data))


def _record(cls: Any, data: Any, where: str, problems: list[str]) -> Any:
    if not isinstance(data, dict):
        return _wrong(f"{_short(data)} is not an object", where, problems)
    prefix, hints, before = f"{where}." if where else "", hints_of(cls), len(problems)
    for name in data.keys() - hints.keys():
        _wrong("unknown", prefix + str(name), problems)
    for name in _required(cls) - data.keys():
        _wrong("missing", prefix + name, problems)
    values = {name: _parse(hints[name], data[name], prefix + name, problems) for name in hints if name in data}
    return cls(**values) if len(problems) == before else None


@cache
def _required(cls: Any) -> frozenset[str]:
    return frozenset(item.name for item in fields(cls) if not _has_default(item))


def _has_default(item: Field[Any]) -> bool:
    return item.default is not MISSING or item.default_factory is not MISSING


def _wrong(what: str, where: str, problems: list[str]) -> None:
    problems.append(f"{where}: {what}" if where else what)


def _short(data: Any, width: int = 40) -> str:
    text = repr(data) if isinstance(data, str) else json.dumps(data, default=repr)
    return text if len(text) <= width else text[: width - 3] + "..."
