"""Replace the code of functions that are loaded already.

The result is the same as loading the changed file anew, on two conditions: only the body of the function differs, and the function
was not called while the project was loaded. Otherwise something that was computed at that time could depend on the old body.
"""

from __future__ import annotations
import __future__

import gc
import os
import sys
from collections.abc import Iterator
from types import CodeType, FrameType, FunctionType
from typing import Any

from .messages import SwapRequest

_FUTURES = 0
"""The compiler flags of all ``from __future__`` imports together."""
for _name in __future__.all_feature_names:
    _FUTURES |= getattr(__future__, _name).compiler_flag

Place = tuple[str, int, str]
"""The file of a function, the number of its first line (decorators included), and its name without the names of its classes."""


class Functions:
    """The loaded functions that can be swapped, by their places.

    Call ``watch`` before the project is loaded, and ``stop_watching`` and ``find`` afterwards.
    """

    def __init__(self) -> None:
        self._functions: dict[Place, list[FunctionType]] = {}
        """One place has several functions if its ``def`` was run several times."""
        self._called: dict[int, CodeType] = {}
        """The code of the functions that were called while this object watched, by ``id``."""

    def watch(self) -> None:
        """Record all functions that are called from now on."""
        called = self._called

        def note_call(frame: FrameType, _event: str, _argument: Any) -> None:
            called[id(frame.f_code)] = frame.f_code  # keeps the code alive, so that its id is not used again

        sys.settrace(note_call)

    def stop_watching(self) -> None:
        sys.settrace(None)

    def find(self) -> None:
        """Find the loaded functions that can be swapped: those that were not called while this object watched."""
        called = {_place_of(code) for code in self._called.values()}
        self._called.clear()
        real_paths: dict[str, str] = {}
        for candidate in gc.get_objects():
            # ``isinstance`` would ask the object for its ``__class__``, which may run code of the project.
            if type(candidate) is FunctionType:
                place = _place_of(candidate.__code__)
                name = place[0]
                path = real_paths.get(name) or real_paths.setdefault(name, os.path.realpath(name))
                if place not in called:
                    self._functions.setdefault((path, *place[1:]), []).append(candidate)

    def swap(self, swap: SwapRequest) -> bool:
        """Replace the code of a function, and return whether that was possible. If not, nothing has changed."""
        place = os.path.realpath(swap["path"]), swap["first"], swap["name"]
        functions = self._functions.get(place, [])
        if not functions:
            return False
        old = functions[0].__code__
        try:
            module = compile(swap["program"], old.co_filename, "exec", flags=old.co_flags & _FUTURES, dont_inherit=True)
        except (SyntaxError, ValueError):
            return False
        new = next((code for code in _codes_in(module) if _place_of(code)[1:] == place[1:]), None)
        # A function accepts new code only if the code uses the same variables of enclosing functions.
        if new is None or any(new.co_freevars != function.__code__.co_freevars for function in functions):
            return False
        for function in functions:
            function.__code__ = new
        return True


def _place_of(code: CodeType) -> Place:
    return code.co_filename, code.co_firstlineno, code.co_name


def _codes_in(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of all functions and classes inside ``code``, at any depth."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes_in(constant)
