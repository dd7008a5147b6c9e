"""Keep track, at the trusted end, of the checks' callables and the candidate's objects that have gone over the channel."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

from mlx_selfdebug.sandbox.grading.handles import EntryPoint, Handle, Owner, name_of, number_of, owner_of
from mlx_selfdebug.sandbox.wire import codec

MAX_HANDLES = 1 << 16
"""The maximum number of objects of a candidate."""
MAX_CALLBACKS = 1 << 14
"""The maximum number of callables that the checks may pass to a candidate."""
_PLAIN_TYPES = frozenset(
    {"bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "set", "str", "tuple"}
)


class References:
    """A table of numbered references. A number that comes back means the callable or object that was given out under it."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._callables: list[Callable[..., Any]] = []
        self._numbers: dict[int, int] = {}
        self._handles: dict[int, Handle] = {}
        self._built_ins = set(_PLAIN_TYPES)

    def refer(self, value: Any) -> tuple[bytes, int, str] | None:
        """Return the reference with which ``value`` travels to the candidate, or None if it cannot."""
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
        """Return what the candidate refers to. Raises CodecError if the candidate was never given that."""
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
        """Return the handle of the entry point, which the candidate keeps under the first number."""
        handle: Handle = self.resolve(codec.HANDLE, 0, "function")
        return handle

    def callback(self, number: object) -> Callable[..., Any]:
        if type(number) is not int or not 0 <= number < len(self._callables):
            raise codec.CodecError("the reference is to a callable that was not sent")
        return self._callables[number]
