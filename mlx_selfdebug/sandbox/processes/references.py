"""Keep track, in the candidate's process, of the objects that cross the channel as references.

An object of the candidate gets a number, by which the checks can have operations performed on it. A callable of the checks gets a
stand-in here, which calls it over the channel.

This module is loaded without the package around it (see ``candidate.py``), so it imports nothing of the package. It is as
untrusted as everything that runs in the candidate's process.
"""

from __future__ import annotations

import _operator as operator
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mlx_selfdebug.sandbox.processes import unboxing
    from mlx_selfdebug.sandbox.wire import codec
else:
    import _selfdebug_codec as codec
    import _selfdebug_unboxing as unboxing

MAX_HANDLES = 1 << 16
"""The maximum number of objects that get a number."""
_type_name = type.__dict__["__name__"].__get__  # the name of a type, even if its metaclass defines another __name__


class Kept:
    """A wrapper around a value that travels as a handle, even if the value is plain data."""

    def __init__(self, value: Any) -> None:
        self.value = value


class References:
    """A table of the candidate's objects and of the checks' callables, by their numbers.

    ``ask`` calls a callable of the checks by its number. The candidate's objects are kept alive until the process ends, so that a
    number always means the same object.
    """

    def __init__(self, ask: Callable[[int, tuple[Any, ...], dict[str, Any]], Any]) -> None:
        self._ask = ask
        self._objects: list[Any] = []  # the candidate's objects, each at the index that is its number
        self._numbers: dict[Any, int] = {}  # the numbers of these objects, by ``_key``
        self._stand_ins: dict[int, Callable[..., Any]] = {}  # by the number of the callable that each calls
        # The references by which objects came from the checks, by ``id`` of the object. The objects go back by the same references.
        self._received: dict[int, tuple[bytes, int, str]] = {}

    def refer(self, value: Any) -> tuple[bytes, int, str] | None:
        """Return the kind, the number and the name of the reference as which ``value`` travels, or None if there are too many."""
        kind = type(value)
        if kind is Kept:
            value = value.value
            kind = type(value)
        if id(value) in self._received:
            return self._received[id(value)]
        key = _key(kind, value)
        number = self._numbers.get(key)
        if number is None:
            number = len(self._objects)
            if number >= MAX_HANDLES:
                return None
            self._objects.append(value)
            self._numbers[key] = number
        return codec.HANDLE, number, _type_name(kind)

    def resolve(self, tag: bytes, number: int, name: str) -> Any:
        """Return the object, the built-in or the stand-in that a reference from the checks means."""
        if tag == codec.HANDLE:
            return self._objects[number]
        if tag == codec.BUILTIN:
            value = getattr(sys.modules["builtins"], name)
        else:
            value = self._stand_ins.get(number)
            if value is None:
                value = self._stand_ins[number] = _stand_in(self._ask, number, name)
        self._received[id(value)] = tag, number, name
        return value


def _key(kind: type, value: Any) -> Any:
    """Return the key by which an object is recognised: its id, unless it is a bound method.

    Python makes a new object each time a bound method is read. All objects of the same method must share a number.
    """
    if kind is _METHOD:
        return id(value.__self__), id(value.__func__)
    if kind is _BUILTIN_METHOD and value.__self__ is not None:
        return id(value.__self__), value.__name__
    return id(value)


_METHOD = type(References(lambda *_: None).refer)  # types.MethodType, which would have to be imported
_BUILTIN_METHOD = type("".join)


def _stand_in(ask: Callable[..., Any], number: int, name: str) -> Callable[..., Any]:
    """Return a function called ``name`` that calls the callable of the checks with this number."""

    def callback(*args: Any, **kwargs: Any) -> Any:
        return ask(number, args, kwargs)

    callback.__name__ = callback.__qualname__ = name
    return callback


def operate(name: str, target: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Perform an operation on an object for the checks, and return its result.

    If the name begins with ``+``, the result stays in this process, and a handle of it is returned.
    """
    if name[:1] == "+":
        return Kept(_OPERATIONS[name[1:]](target, *args, **kwargs))
    return _OPERATIONS[name](target, *args, **kwargs)


def _call(target: Any, /, *args: Any, **kwargs: Any) -> Any:
    return target(*args, **kwargs)


def _power(left: Any, right: Any, modulus: Any = None) -> Any:
    return left**right if modulus is None else pow(left, right, modulus)


def _leave(target: Any, name: str, message: str) -> bool:
    """Leave a ``with`` block of the checks, and return whether the exception in it is swallowed.

    ``name`` is the name of the exception's built-in type, or empty if there was no exception.
    """
    if not name:
        return bool(type(target).__exit__(target, None, None, None))
    error = built_in_error(name, message)
    return bool(type(target).__exit__(target, type(error), error, None))


def built_in_error(name: str, message: str) -> BaseException:
    """Return an exception of the built-in type with this name, or an Exception if that type takes more than a message."""
    kind = getattr(sys.modules["builtins"], name, Exception)
    try:
        error = kind(message)
    except Exception:
        return Exception(message)
    return error if isinstance(error, BaseException) else Exception(message)


def _copied(name: str) -> Callable[[Any], Any]:
    """Return the function ``copy.copy`` or ``copy.deepcopy``, for which the module is imported only when it is called."""
    return lambda target: getattr(__import__("copy"), name)(target)


def _reflected(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return ``function`` with its operands swapped, as a reflected operator such as ``__radd__`` needs it."""
    return lambda target, other: function(other, target)


_BINARY: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "matmul": operator.matmul,
    "truediv": operator.truediv,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "divmod": divmod,
    "pow": _power,
    "lshift": operator.lshift,
    "rshift": operator.rshift,
    "and": operator.and_,
    "xor": operator.xor,
    "or": operator.or_,
}
_IN_PLACE: dict[str, Callable[..., Any]] = {
    "iadd": operator.iadd,
    "isub": operator.isub,
    "imul": operator.imul,
    "imatmul": operator.imatmul,
    "itruediv": operator.itruediv,
    "ifloordiv": operator.ifloordiv,
    "imod": operator.imod,
    "ipow": operator.ipow,
    "ilshift": operator.ilshift,
    "irshift": operator.irshift,
    "iand": operator.iand,
    "ixor": operator.ixor,
    "ior": operator.ior,
}
_OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": _call,
    "getattr": getattr,
    "setattr": setattr,
    "delattr": delattr,
    "dir": dir,
    "len": len,
    "getitem": operator.getitem,
    "setitem": operator.setitem,
    "delitem": operator.delitem,
    "getslice": lambda target, *parts: target[slice(*parts)],
    "setslice": lambda target, value, *parts: operator.setitem(target, slice(*parts), value),
    "delslice": lambda target, *parts: operator.delitem(target, slice(*parts)),
    "contains": operator.contains,
    "iterable": lambda target: hasattr(type(target), "__iter__") or hasattr(type(target), "__getitem__"),
    "iter": iter,
    "reversed": reversed,
    "next": next,
    "str": str,
    "repr": repr,
    "format": format,
    "enter": lambda target: type(target).__enter__(target),
    "exit": _leave,
    "callable": callable,
    "isinstance": isinstance,
    "plain": unboxing.plain_form,
    "copy": _copied("copy"),
    "deepcopy": _copied("deepcopy"),
    "int": int,
    "float": float,
    "complex": complex,
    "index": operator.index,
    "round": round,
    "abs": abs,
    "neg": operator.neg,
    "pos": operator.pos,
    "invert": operator.invert,
    "eq": lambda target, other: bool(target == other),
    "lt": lambda target, other: bool(target < other),
    "le": lambda target, other: bool(target <= other),
    "gt": lambda target, other: bool(target > other),
    "ge": lambda target, other: bool(target >= other),
    **_BINARY,
    **{"r" + name: _reflected(function) for name, function in _BINARY.items()},
    **_IN_PLACE,
}
