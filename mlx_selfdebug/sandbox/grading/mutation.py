"""Change the checks' own objects as a call of the candidate changed the copies of them that it got as arguments."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any


def mutate(old: Any, new: Any) -> Any:
    """Make ``old`` equal to ``new`` in place and return it, or return ``new`` if ``old`` cannot be changed.

    Parts that both have stay the same objects and are changed in place, too, so that other references to them see the change.
    """
    kind = type(old)
    # The types of two dicts may differ, since the codec turns a defaultdict into a dict.
    if isinstance(old, dict) and isinstance(new, dict):
        _change_dict(old, new)
        return old
    if kind is not type(new):
        return new
    if kind is tuple and len(old) == len(new):
        for before, after in zip(old, new, strict=True):
            mutate(before, after)
        return old
    change = _CHANGES.get(kind)
    if change is None:
        return new
    change(old, new)
    return old


def _change_list(old: list[Any] | deque[Any], new: list[Any] | deque[Any]) -> None:
    # The elements that only ``new`` has are taken as they are.
    items = [mutate(before, after) for before, after in zip(old, new, strict=False)]
    items += list(new)[len(items) :]
    old.clear()
    old.extend(items)


def _change_dict(old: dict[Any, Any], new: dict[Any, Any]) -> None:
    items = {key: mutate(old[key], value) if key in old else value for key, value in new.items()}
    dict.clear(old)
    dict.update(old, items)


def _change_set(old: set[Any], new: set[Any]) -> None:
    old.clear()
    old.update(new)


def _change_bytes(old: bytearray, new: bytearray) -> None:
    old[:] = new


_CHANGES: dict[type, Callable[[Any, Any], None]] = {
    list: _change_list,
    deque: _change_list,
    set: _change_set,
    bytearray: _change_bytes,
}
