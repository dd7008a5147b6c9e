"""Keep track, in the grader, of the checks' callables and the candidate's objects that have crossed the channel as references."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

from mlx_selfdebug.sandbox.grading.handles import EntryPoint, Handle, Owner, name_of, number_of, owner_of
from mlx_selfdebug.sandbox.wire import codec

MAX_HANDLES = 1 << 16
"""The maximum number of objects of a candidate that the checks may have handles of, per run."""
MAX_CALLBACKS = 1 << 14
"""The maximum number of callables that the checks may pass to a candidate, per run."""
_PLAIN_TYPES = frozenset(
    {"bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "set", "str", "tuple"}
)
"""Names of the built-in types that a candidate may refer to even if the checks did not send them."""


class References:
    """A table that maps the numbers in references to the callables and objects that they stand for.

    The checks give numbers to their callables, and the candidate gives numbers to its objects.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._callables: list[Callable[..., Any]] = []  # the checks' callables, each at the index that is its number
        self._numbers: dict[int, int] = {}  # the numbers of these callables, by ``id`` of the callable
        self._handles: dict[int, Handle] = {}  # by the number of the candidate's object
        self._built_ins = set(_PLAIN_TYPES)  # the names of built-ins that the candidate may refer to

    def refer(self, value: Any) -> tuple[bytes, int, str] | None:
        """Return the kind, the number and the name of the reference as which ``value`` travels, or None if it cannot travel."""
        if type(value) is Handle:
            own = owner_of(value) is self._owner
            return (codec.HANDLE, number_of(value), name_of(value)) if own else None
        if type(value) is EntryPoint:
            return codec.HANDLE, 0, ""
        if not callable(value):
            return None
        name = getattr(value, "__name__", "")
        if type(name) is str and getattr(builtins, name, None) is value:
            self._built_ins.add(name)
            return codec.BUILTIN, 0, name
        number = self._numbers.get(id(value))
        if number is None:
            number = len(self._callables)
            if number >= MAX_CALLBACKS:
                return None
            self._callables.append(value)
            self._numbers[id(value)] = number
        return codec.CALLBACK, number, name if type(name) is str and name.isidentifier() else "callback"

    def resolve(self, tag: bytes, number: int, name: str) -> Any:
        """Return the callable, the built-in or the handle that a reference from the candidate stands for.

        Raises CodecError if the candidate refers to a callable or a built-in that it was never given, and LimitError if it refers
        to too many objects of its own.
        """
        if tag == codec.CALLBACK:
            return self.callback(number)
        if tag == codec.BUILTIN:
            if name not in self._built_ins:
                raise codec.CodecError("the reference is to a built-in that was not sent")
            return getattr(builtins, name)
        handle = self._handles.get(number)
        if handle is None:
            if number >= MAX_HANDLES:
                raise codec.LimitError("there are too many handles")
            handle = self._handles[number] = Handle(self._owner, number, name)
        return handle

    def entry(self) -> Handle:
        """Return the handle of the entry point, which is the candidate's object number 0."""
        handle: Handle = self.resolve(codec.HANDLE, 0, "function")
        return handle

    def callback(self, number: object) -> Callable[..., Any]:
        """Return the callable of the checks with that number. Raises CodecError if the candidate was never given one."""
        if type(number) is not int or not 0 <= number < len(self._callables):
            raise codec.CodecError("the reference is to a callable that was not sent")
        return self._callables[number]
