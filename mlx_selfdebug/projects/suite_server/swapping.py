"""Put other code into functions that are loaded already.

That is the same as loading their file with the other code if nothing but the function's body differs and if the function was not
called while the project was loaded: nothing that was computed then can depend on it.
"""

from __future__ import annotations
import __future__

import gc
import os
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FrameType, FunctionType
from typing import Any

_FUTURES = 0
for _name in __future__.all_feature_names:
    _FUTURES |= getattr(__future__, _name).compiler_flag

Place = tuple[str, int, str]
"""A function's file, its first line, decorators included, and its name."""


class Functions:
    """The functions that are loaded, by their places."""

    def __init__(self) -> None:
        self._found: dict[Place, list[FunctionType]] = {}
        self._called: dict[int, CodeType] = {}

    def watch(self) -> None:
        """Take note of the functions that are called from now on."""
        called = self._called

        def call(frame: FrameType, _event: str, _argument: Any) -> None:
            called[id(frame.f_code)] = frame.f_code

        sys.settrace(call)

    def stop_watching(self) -> None:
        sys.settrace(None)

    def find(self) -> None:
        """Find all functions that can be swapped."""
        called = {_place_of(code) for code in self._called.values()}
        self._called.clear()
        paths: dict[str, str] = {}
        for thing in gc.get_objects():
            if type(thing) is FunctionType:
                name = thing.__code__.co_filename
                path = paths.get(name) or paths.setdefault(name, os.path.realpath(name))
                place = _place_of(thing.__code__)
                if place not in called:
                    self._found.setdefault((path, *place[1:]), []).append(thing)

    def swap(self, swap: Mapping[str, Any]) -> bool:
        """Put other code into a function, and return whether that was possible."""
        place = os.path.realpath(swap["path"]), swap["first"], swap["name"]
        functions = self._found.get(place, [])
        if not functions:
            return False
        old = functions[0].__code__
        try:
            module = compile(swap["program"], old.co_filename, "exec", flags=old.co_flags & _FUTURES, dont_inherit=True)
        except (SyntaxError, ValueError):
            return False
        new = next((code for code in _codes_in(module) if _place_of(code)[1:] == place[1:]), None)
        if new is None or any(new.co_freevars != function.__code__.co_freevars for function in functions):
            return False
        for function in functions:
            function.__code__ = new
        return True


def _place_of(code: CodeType) -> Place:
    return code.co_filename, code.co_firstlineno, code.co_name


def _codes_in(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes_in(constant)
