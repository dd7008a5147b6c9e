"""Represent the candidate's objects as handles. What the checks do to a handle is done to the object in the candidate's process.

The comparison that decides a check is never made there, since an object of the candidate could claim to equal anything:

- Between a handle and plain data, ``==`` and ordering are refused, and so are the hash and the truth value of a handle.
- Some objects stand for plain data, such as named tuples and arrays. For ``==``, that data is fetched and compared here.
- Two handles are compared by the candidate. Both objects are its own, so the check itself leaves the answer to the candidate.

Calls, items and operators may return plain data, which is then compared here. An operator whose other side is the checks' own data
shows that data to the candidate, as in ``abs(f(3) - 9) < 1e-6``. Its result is therefore kept as a handle, which is called mixed,
and so are the results of all further operators on it.

Checks that work with no objects (see objects.py) expect plain data. For them, a handle lacks every attribute whose name plain data
has too, since ``f(3).count(9) == 1`` would leave the answer to the candidate. An ``in`` compares the elements of the handle here.
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
"""The maximum length that an object of the candidate may claim to have."""
_HASH_BASE = 0x5E1FDEB06
"""An arbitrary number, to which the number of a handle is added to make its hash."""
_LOCAL_NAMES = frozenset(
    {"__array__", "__class__", "__copy__", "__deepcopy__", "__reduce__", "__reduce_ex__", "__getstate__"}
)
"""Attributes of the handle itself. Python and NumPy read them, and must not get the attributes of the candidate's object."""
_MEMORY_PREFIXES = ("__array_", "__arrow_", "__cuda_array_", "__dataframe__", "__dlpack")
"""Beginnings of the names by which libraries ask an object where its data lie in memory. The candidate must not answer that."""
_PLAIN_DATA_NAMES = frozenset(name for name in PLAIN_NAMES if not name.startswith("__"))
"""Attributes that checks of plain data may read."""
_PLAIN_FORMS = (tuple, list, set, datetime, time)
"""The types of plain data that an object may stand for (see ``plain_form`` in processes/unboxing.py)."""
# The address in the default repr of an object, such as "<Node object at 0x7f3a5c0d1e80>", differs from run to run.
_AT_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+(?=>)")
_get = object.__getattribute__  # attributes of the handle itself, since Handle asks the candidate for all others


class Owner(Protocol):
    """The candidate to which handles belong."""

    decoding: bool
    """Whether a value of the candidate is being put together right now. Handles may be hashed only during that time."""
    expects_objects: bool
    """Whether the checks work with objects of the candidate (see objects.py)."""

    def operate(self, name: str, handle: Handle, *args: Any, **kwargs: Any) -> Any:
        """Let the candidate perform an operation on the object of ``handle``, and return the result."""


class Handle:
    """A stand-in for an object of the candidate, known to it by a number.

    A handle is mixed if it is the result of an operator that was given data of the checks. Operations that the candidate must not
    answer raise OpaqueValueError.
    """

    __slots__ = ("__selfdebug_mixed__", "__selfdebug_name__", "__selfdebug_number__", "__selfdebug_owner__")

    def __init__(self, owner: Owner, number: int, name: str) -> None:
        put = object.__setattr__
        put(self, "__selfdebug_owner__", owner)
        put(self, "__selfdebug_number__", number)
        put(self, "__selfdebug_name__", name)
        put(self, "__selfdebug_mixed__", False)

    def __getattribute__(self, name: str) -> Any:
        if name in _LOCAL_NAMES:
            return _get(self, name)
        if name.startswith(_MEMORY_PREFIXES):
            raise AttributeError(name)
        if name in _PLAIN_DATA_NAMES and not owner_of(self).expects_objects:
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
        return _operate(self, "getslice", *_slice_parts(key)) if type(key) is slice else _operate(self, "getitem", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        if type(key) is slice:
            _operate(self, "setslice", value, *_slice_parts(key))
        else:
            _operate(self, "setitem", key, value)

    def __delitem__(self, key: Any) -> None:
        if type(key) is slice:
            _operate(self, "delslice", *_slice_parts(key))
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
        return _without_addresses(_plain_of(self, "str", str))

    def __repr__(self) -> str:
        return _without_addresses(_plain_of(self, "repr", str))

    def __format__(self, spec: str) -> str:
        return _without_addresses(_plain_of(self, "format", str, spec))

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
        # If ``other`` is an array, this is an array of bools rather than a bool.
        return _plain_form(self) == other  # type: ignore[no-any-return]

    def __ne__(self, other: object) -> bool:
        if isinstance(other, Handle):
            return not self == other
        return _plain_form(self) != other  # type: ignore[no-any-return]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        # The caller is NumPy, so it has been imported.
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
    """The tested function or class as the checks see it. Its attributes are those of the candidate's function or class."""

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


def owner_of(handle: Handle) -> Owner:
    """Return the candidate to which the object of a handle belongs."""
    owner: Owner = _get(handle, "__selfdebug_owner__")
    return owner


def number_of(handle: Handle) -> int:
    """Return the number by which the candidate knows the object of a handle."""
    number: int = _get(handle, "__selfdebug_number__")
    return number


def is_mixed(handle: Handle) -> bool:
    """Return whether the handle is the result of an operator that was given data of the checks."""
    return bool(_get(handle, "__selfdebug_mixed__"))


def name_of(handle: Handle) -> str:
    """Return the name of the object's type, as the candidate reported it."""
    name: str = _get(handle, "__selfdebug_name__")
    return name


def text_of(handle: Handle) -> str:
    """Return the text that stands for a handle in the records of failures, which the candidate is not asked for."""
    return f"<{identifier(name_of(handle))}>"


def refused(handle: Handle) -> OpaqueValueError:
    """Return the error of an operation that the candidate must not answer."""
    return OpaqueValueError(f"{text_of(handle)} is not plain data")


def own_isinstance(value: Any, kinds: Any) -> bool:
    """Return what ``isinstance`` returns in checks, where a handle can only be an instance of the candidate's own classes."""
    if type(value) is not Handle:
        return isinstance(value, kinds)
    options: tuple[Any, ...] = kinds if type(kinds) is tuple else (kinds,)
    return any(isinstance(value, kind) for kind in options if type(kind) in (Handle, EntryPoint))


def own_callable(value: Any) -> bool:
    """Return what ``callable`` returns in checks, where the candidate answers for a handle."""
    return bool(_plain_of(value, "callable", bool)) if type(value) is Handle else callable(value)


def _operate(handle: Handle, name: str, *args: Any) -> Any:
    return owner_of(handle).operate(name, handle, *args)


def _handle_of(handle: Handle, name: str, *args: Any) -> Handle:
    """Return the result of an operation as a handle, even if it is plain data.

    The ``+`` tells the candidate to keep the result in its process. If it sends data all the same, OpaqueValueError is raised.
    """
    result = owner_of(handle).operate("+" + name, handle, *args)
    if not isinstance(result, Handle):
        raise refused(handle)
    return result


def _plain_of(handle: Handle, name: str, kind: type, *args: Any) -> Any:
    """Return the result of an operation. Raises OpaqueValueError unless it is of the type ``kind``."""
    result = _operate(handle, name, *args)
    if type(result) is not kind:
        raise refused(handle)
    return result


def _plain_form(handle: Handle) -> Any:
    """Return the plain data that an object stands for. Raises OpaqueValueError if it stands for none, or if the handle is mixed."""
    form = None if is_mixed(handle) else _operate(handle, "plain")
    if type(form) not in _PLAIN_FORMS:
        raise refused(handle)
    return form


def _number(handle: Handle, name: str, kind: type) -> Any:
    if is_mixed(handle):
        raise refused(handle)
    return _plain_of(handle, name, kind)


def _mixed(handle: Handle, name: str, *args: Any) -> Handle:
    """Return the result of an operator as a mixed handle."""
    result = _handle_of(handle, name, *args)
    object.__setattr__(result, "__selfdebug_mixed__", True)
    return result


def _without_addresses(text: str) -> str:
    return _AT_ADDRESS.sub("", text)


def _slice_parts(key: slice) -> tuple[Any, Any, Any]:
    return key.start, key.stop, key.step


def _operator(name: str) -> Callable[..., Any]:
    """Return the method of Handle for an arithmetic operator."""

    def apply(self: Handle, *others: Any) -> Any:
        # If every operand is an unmixed object of the candidate, the operation shows it no data of the checks.
        if is_mixed(self) or not all(type(other) is Handle and not is_mixed(other) for other in others):
            return _mixed(self, name, *others)
        return _operate(self, name, *others)

    return apply


def _round(self: Handle, n_digits: int | None = None) -> Any:
    """Round an object. The number of digits alone does not make the result mixed."""
    digits = () if n_digits is None else (n_digits,)
    return _mixed(self, "round", *digits) if is_mixed(self) else _operate(self, "round", *digits)


def _ordering(name: str) -> Callable[[Handle, object], bool]:
    """Return the method of Handle for ``<``, ``<=``, ``>`` or ``>=``."""

    def compare(self: Handle, other: object) -> bool:
        if type(other) is not Handle:
            raise refused(self)
        return bool(_plain_of(self, name, bool, other))

    return compare


_ARITHMETIC = (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow"),
    *("lshift", "rshift", "and", "xor", "or"),
)
# Each operator has a method, a reflected one and, except for divmod, one that works in place.
for _name in _ARITHMETIC:
    setattr(Handle, f"__{_name}__", _operator(_name))
    setattr(Handle, f"__r{_name}__", _operator(f"r{_name}"))
    if _name != "divmod":
        setattr(Handle, f"__i{_name}__", _operator(f"i{_name}"))
for _name in ("neg", "pos", "invert", "abs"):
    setattr(Handle, f"__{_name}__", _operator(_name))
for _name in ("lt", "le", "gt", "ge"):
    setattr(Handle, f"__{_name}__", _ordering(_name))
setattr(Handle, "__round__", _round)  # noqa: B010
