"""Represent the candidate's objects as handles: what the checks do to a handle is done in the candidate's process.

The comparison that decides a check is never done there. Between a handle and plain data, ``==``, ordering, hash and truth are
refused, since an object of the candidate could claim to equal anything. The exceptions are objects that stand for plain data, like
named tuples and arrays: for ``==``, that data is fetched and compared here. Two handles are compared by the candidate. Both objects
are its own, so it can forge nothing that the check did not leave to it.

Calls, items and operators may bring plain data back, which is then compared here. There is one exception: an operator whose other
side is the checks' own data shows the candidate that data (``abs(f(3) - 9) < 1e-6``). Its result therefore stays a handle, and so
does everything that further operators make of it.

Checks that use no objects (see objects.py) expect plain data. For them, a handle has no attribute whose name plain data has too,
since ``f(3).count(9) == 1`` would leave the answer to the candidate, and ``in`` looks at the elements of the handle alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, time
from typing import Any, Protocol

from mlx_selfdebug.sandbox.grading.objects import PLAIN_NAMES, REDUCTIONS
from mlx_selfdebug.sandbox.grading.signals import CandidateError, base_name
from mlx_selfdebug.sandbox.wire.codec import OpaqueValueError, identifier

MAX_LENGTH = 1 << 24
"""The maximum length that a handle may report."""
_HASH_BASE = 0x5E1FDEB06
_get = object.__getattribute__
_LOCAL = frozenset(
    {"__array__", "__class__", "__copy__", "__deepcopy__", "__reduce__", "__reduce_ex__", "__getstate__"}
)
_OF_MEMORY = ("__array_", "__arrow_", "__cuda_array_", "__dataframe__", "__dlpack")
"""How the names begin under which libraries ask an object where in memory its data lie. The candidate must not answer that."""
_PLAIN_FORMS = (tuple, list, set, datetime, time)
_AT_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+(?=>)")
_EXPECTED_OF_DATA = frozenset(name for name in PLAIN_NAMES if not name.startswith("__"))


class Owner(Protocol):
    """The candidate to which handles belong."""

    decoding: bool
    """Whether a value of the candidate is being put together right now. Handles may only be hashed meanwhile."""
    expects_objects: bool
    """Whether the checks work with objects (see objects.py)."""

    def operate(self, name: str, handle: Handle, *args: Any, **kwargs: Any) -> Any: ...


class Handle:
    """An object of the candidate. A handle is ``mixed`` if an operator made it from data of the checks."""

    __slots__ = ("__selfdebug_mixed__", "__selfdebug_name__", "__selfdebug_number__", "__selfdebug_owner__")

    def __init__(self, owner: Owner, number: int, name: str) -> None:
        put = object.__setattr__
        put(self, "__selfdebug_owner__", owner)
        put(self, "__selfdebug_number__", number)
        put(self, "__selfdebug_name__", name)
        put(self, "__selfdebug_mixed__", False)

    def __getattribute__(self, name: str) -> Any:
        if name in _LOCAL:
            return _get(self, name)
        if name.startswith(_OF_MEMORY):
            raise AttributeError(name)
        if name in _EXPECTED_OF_DATA and not owner_of(self).expects_objects:
            raise refused(self)
        if is_mixed(self) and (name in REDUCTIONS or not owner_of(self).expects_objects):
            raise refused(self)
        return _operate(self, "getattr", name)

    def __setattr__(self, name: str, value: Any) -> None:
        _operate(self, "setattr", name, value)

    def __delattr__(self, name: str) -> None:
        _operate(self, "delattr", name)

    def __dir__(self) -> Any:
        return _operate(self, "dir")

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return owner_of(self).operate("call", self, *args, **kwargs)

    def __len__(self) -> int:
        length = _plain_of(self, "len", int)
        if not 0 <= length <= MAX_LENGTH:
            raise refused(self)
        return int(length)

    def __getitem__(self, key: Any) -> Any:
        return _operate(self, "getslice", *_slice(key)) if type(key) is slice else _operate(self, "getitem", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        if type(key) is slice:
            _operate(self, "setslice", value, *_slice(key))
        else:
            _operate(self, "setitem", key, value)

    def __delitem__(self, key: Any) -> None:
        if type(key) is slice:
            _operate(self, "delslice", *_slice(key))
        else:
            _operate(self, "delitem", key)

    def __contains__(self, item: Any) -> bool:
        if owner_of(self).expects_objects:
            return bool(_plain_of(self, "contains", bool, item))
        if not _plain_of(self, "iterable", bool):
            raise refused(self)
        return any(item is other or item == other for other in self)

    def __iter__(self) -> Iterator[Any]:
        return _handle_of(self, "iter")

    def __reversed__(self) -> Iterator[Any]:
        return _handle_of(self, "reversed")

    def __next__(self) -> Any:
        return _operate(self, "next")

    def __str__(self) -> str:
        return _stable(_plain_of(self, "str", str))

    def __repr__(self) -> str:
        return _stable(_plain_of(self, "repr", str))

    def __format__(self, spec: str) -> str:
        return _stable(_plain_of(self, "format", str, spec))

    def __enter__(self) -> Any:
        return _operate(self, "enter")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        if isinstance(error, OpaqueValueError) or (kind and not issubclass(kind, Exception | CandidateError)):
            return False
        # The candidate must not swallow a failed check, nor learn from its message what was expected.
        may_swallow = error is not None and not isinstance(error, AssertionError)
        swallowed = _plain_of(self, "exit", bool, base_name(kind) if kind else "", str(error) if may_swallow else "")
        return bool(swallowed) and may_swallow

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Handle):
            return self is other or bool(_plain_of(self, "eq", bool, other))
        # Between arrays this is no bool but an array of the checks' own.
        return _plain_form(self) == other  # type: ignore[no-any-return]

    def __ne__(self, other: object) -> bool:
        if isinstance(other, Handle):
            return not self == other
        return _plain_form(self) != other  # type: ignore[no-any-return]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return sys.modules["numpy"].array(_plain_form(self), dtype=dtype)

    def __hash__(self) -> int:
        if not owner_of(self).decoding:
            raise refused(self)
        return _HASH_BASE + number_of(self)

    def __bool__(self) -> bool:
        raise refused(self)

    def __instancecheck__(self, instance: Any) -> bool:
        if not isinstance(instance, Handle):
            raise refused(self)
        return bool(_plain_of(instance, "isinstance", bool, self))

    def __copy__(self) -> Handle:
        return _handle_of(self, "copy")

    def __deepcopy__(self, _memo: object) -> Handle:
        return _handle_of(self, "deepcopy")

    def __reduce_ex__(self, _protocol: object) -> Any:
        raise refused(self)

    def __int__(self) -> int:
        return int(_number(self, "int", int))

    def __float__(self) -> float:
        return float(_number(self, "float", float))

    def __complex__(self) -> complex:
        return complex(_number(self, "complex", complex))

    def __index__(self) -> int:
        return int(_number(self, "index", int))


class EntryPoint:
    """The tested function or class as the checks see it. Its attributes are those of the candidate's object."""

    def __init__(self, call: Callable[..., Any], handle: Callable[[], Handle], name: str) -> None:
        self._selfdebug_call = call
        self._selfdebug_handle = handle
        self.__name__ = self.__qualname__ = name

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._selfdebug_call(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selfdebug_handle(), name)

    def __repr__(self) -> str:
        return f"<{self.__name__}>"

    def __instancecheck__(self, instance: Any) -> bool:
        return Handle.__instancecheck__(self._selfdebug_handle(), instance)


def _stable(text: str) -> str:
    """Return the text without the addresses of the default ``repr``, which differ from run to run."""
    return _AT_ADDRESS.sub("", text)


def _slice(key: slice) -> tuple[Any, Any, Any]:
    return key.start, key.stop, key.step


def owner_of(handle: Handle) -> Owner:
    owner: Owner = _get(handle, "__selfdebug_owner__")
    return owner


def number_of(handle: Handle) -> int:
    number: int = _get(handle, "__selfdebug_number__")
    return number


def is_mixed(handle: Handle) -> bool:
    return bool(_get(handle, "__selfdebug_mixed__"))


def name_of(handle: Handle) -> str:
    """Return the name of the object's type, as the candidate reported it."""
    name: str = _get(handle, "__selfdebug_name__")
    return name


def text_of(handle: Handle) -> str:
    """Return the text of a handle in facts. The candidate is not asked for it."""
    return f"<{identifier(name_of(handle))}>"


def refused(handle: Handle) -> OpaqueValueError:
    return OpaqueValueError(f"{text_of(handle)} is not plain data")


def own_isinstance(value: Any, kinds: Any) -> bool:
    """Return what ``isinstance`` means in checks: a handle is an instance of the candidate's own classes alone."""
    if type(value) is not Handle:
        return isinstance(value, kinds)
    options: tuple[Any, ...] = kinds if type(kinds) is tuple else (kinds,)
    return any(isinstance(value, kind) for kind in options if type(kind) in (Handle, EntryPoint))


def own_callable(value: Any) -> bool:
    """Return what ``callable`` means in checks: for a handle, the candidate is asked."""
    return bool(_plain_of(value, "callable", bool)) if type(value) is Handle else callable(value)


def _operate(handle: Handle, name: str, *args: Any) -> Any:
    return owner_of(handle).operate(name, handle, *args)


def _handle_of(handle: Handle, name: str, *args: Any) -> Handle:
    """Return the result of an operation as a handle, even if it is plain data.

    The candidate is asked to keep the result, and is refused if it sends data all the same.
    """
    result = owner_of(handle).operate("+" + name, handle, *args)
    if not isinstance(result, Handle):
        raise refused(handle)
    return result


def _plain_of(handle: Handle, name: str, kind: type, *args: Any) -> Any:
    result = _operate(handle, name, *args)
    if type(result) is not kind:
        raise refused(handle)
    return result


def _plain_form(handle: Handle) -> Any:
    """Return the plain data that the object stands for. Raises OpaqueValueError if it stands for none."""
    form = None if is_mixed(handle) else _operate(handle, "plain")
    if type(form) not in _PLAIN_FORMS:
        raise refused(handle)
    return form


def _number(handle: Handle, name: str, kind: type) -> Any:
    if is_mixed(handle):
        raise refused(handle)
    return _plain_of(handle, name, kind)


def _mix(handle: Handle, name: str, *args: Any) -> Handle:
    result = _handle_of(handle, name, *args)
    object.__setattr__(result, "__selfdebug_mixed__", True)
    return result


def _operator(name: str) -> Callable[..., Any]:
    def apply(self: Handle, *others: Any) -> Any:
        are_candidates = [type(other) is Handle and not is_mixed(other) for other in others]
        # If every operand is the candidate's own, the operation shows the candidate no data of the checks.
        if is_mixed(self) or not all(are_candidates):
            return _mix(self, name, *others)
        return _operate(self, name, *others)

    return apply


def _rounding(self: Handle, n_digits: int | None = None) -> Any:
    digits = () if n_digits is None else (n_digits,)
    return _mix(self, "round", *digits) if is_mixed(self) else _operate(self, "round", *digits)


def _ordering(name: str) -> Callable[[Handle, object], bool]:
    def compare(self: Handle, other: object) -> bool:
        if type(other) is not Handle:
            raise refused(self)
        return bool(_plain_of(self, name, bool, other))

    return compare


_ARITHMETIC = (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow"),
    *("lshift", "rshift", "and", "xor", "or"),
)
for _name in _ARITHMETIC:
    setattr(Handle, f"__{_name}__", _operator(_name))
    setattr(Handle, f"__r{_name}__", _operator(f"r{_name}"))
    if _name != "divmod":
        setattr(Handle, f"__i{_name}__", _operator(f"i{_name}"))
for _name in ("neg", "pos", "invert", "abs"):
    setattr(Handle, f"__{_name}__", _operator(_name))
for _name in ("lt", "le", "gt", "ge"):
    setattr(Handle, f"__{_name}__", _ordering(_name))
setattr(Handle, "__round__", _rounding)  # noqa: B010
