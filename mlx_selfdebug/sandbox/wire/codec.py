"""Encode values and the headers of frames as bytes, and decode them again. Both sides of the test runner share this module.

Plain data of exact types can be encoded: None, bool, int, float, complex, str (with lone surrogates), bytes, bytearray, list,
tuple, set, frozenset, dict, range, Decimal, Fraction, date, time, datetime, timedelta, timezone, Counter, deque and OrderedDict. A
time or datetime must have no time zone or a ``timezone``. A defaultdict arrives as a dict.

Any other value, such as an instance of a subclass, is treated in one of three ways:

- If the encoder's ``unbox`` makes plain data of it, that data is sent.
- Otherwise, if the encoder's ``refer`` makes a reference, that is sent: a kind, a number and the name of the value's type. The
  decoder's ``resolve`` turns it into an object again.
- Otherwise only the name of its type is sent. It arrives as an ``Opaque``, which refuses to be compared.

The depth of a value, its number of parts, the size of its integers and its length in bytes are bounded on both sides.

No pickle is used, since reading one can run code that the other side chose. An encoded value begins with a tag of one byte, which
says what follows. A list, for example, is ``l``, the number of its items in 4 bytes, and the items:

    >>> encode([True, "ab"])
    b'l\\x02\\x00\\x00\\x00Ts\\x02\\x00\\x00\\x00ab'
    >>> decode(encode([1, (2.5, "a")]), 100)
    [1, (2.5, 'a')]

In the candidate's process this module is loaded without the package around it (see ``processes/candidate.py``). So it imports
nothing of the package and as little as possible of the standard library.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # type checkers take this for typing.TYPE_CHECKING, which would have to be imported
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sized
    from typing import Any

MAX_DEPTH = 200
"""The maximum depth of nested values."""
MAX_NODES = 1 << 18
"""The maximum number of parts of a value, at all depths together."""
MAX_INT_BYTES = 1 << 15
"""The maximum length of an int."""
MAX_FRACTION_BITS = 1 << 13
"""The maximum length of a numerator or denominator.

It is less than that of an int, because ``Fraction`` cancels common factors, which takes long for large numbers.
"""
MAX_EXPONENT = 10**5
"""The maximum exponent of a Decimal. To convert one with a larger exponent to an int would take all memory."""
MAX_NAME_BYTES = 80
"""The maximum length of the name of a type. Longer names are cut."""
MAX_EQUAL_HASHES = 64
"""The maximum number of members of a set or dict whose hash another member has too.

The time to build a set grows with the square of this number, so without a bound a hostile process could take hours of it.
"""
MAX_TRACED_CALLS = 64
"""The number of calls in a traced run whose lines are counted."""
MAX_TRACED_LINES = 100_000
"""The number of lines that a traced call may run, each counted as often as it runs, before it is stopped."""

# The kinds of frames that a candidate sends, and those that it receives. The kinds for all other channels are in messages.py.
READY, LOADED, LOAD_FAILED, MISSING, RETURNED, RAISED, EXITED, NO_MEMORY, TOO_LARGE, CALL_BACK, TRACED = range(1, 12)
LOAD, CALL, OPERATE, GIVEN_BACK, FAILED_BACK, LOAD_TRACED = range(16, 22)
HANDLE, CALLBACK, BUILTIN = b"P", b"K", b"G"
"""The kinds of references: to an object of the candidate, to a callable of the checks, and to a built-in by its name."""
PROGRAM = "__main__"
"""The entry point of a whole program. Each call of it runs the source once."""
HEADER_BYTES = 13
"""The length of the header of a frame: a kind of 1 byte, an id of 8 bytes, and the length of the body in 4 bytes."""


class CodecError(ValueError):
    """An error about bytes that no encoder wrote."""


class LimitError(CodecError):
    """An error about a value that is too large, too deep or has too many parts."""


class OpaqueValueError(Exception):
    """An error about a value that is not plain data and was compared or tested for truth.

    It is not a TypeError, because checks may expect and catch TypeErrors.
    """


class Opaque:
    """A stand-in for a value that is not plain data. It refuses to be compared or tested for truth, and shows its type's name."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def _refuse(self, *_: object) -> bool:
        raise OpaqueValueError(f"{self!r} is not plain data")

    # If equality answered False, checks with `!=` and `not ... ==` would pass.
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = _refuse
    __hash__ = object.__hash__


def identifier(name: str) -> str:
    """Return ``name`` if it can be the name of a type, and "object" otherwise. The candidate may have chosen any text."""
    return name if name.isidentifier() else "object"


def pack_header(kind: int, id_: int, length: int) -> bytes:
    """Return the header of a frame whose body has ``length`` bytes."""
    return bytes((kind,)) + id_.to_bytes(8, "little") + length.to_bytes(4, "little")


def unpack_header(header: bytes) -> tuple[int, int, int]:
    """Return the kind of a frame, its id, and the length of its body in bytes."""
    return header[0], int.from_bytes(header[1:9], "little"), int.from_bytes(header[9:13], "little")


def encode(value: Any, max_bytes: int = 1 << 30) -> bytes:
    """Return ``value`` as bytes. Raises LimitError if it exceeds ``max_bytes`` or the bounds of this module."""
    encoder = Encoder(max_bytes)
    encoder.put(value, 0)
    return bytes(encoder.out)


class Encoder:
    """A writer of one value to the byte array ``out``.

    Its methods raise LimitError if the value exceeds ``max_bytes`` or the bounds of this module.
    """

    def __init__(self, max_bytes: int) -> None:
        self.out = bytearray()
        self.nodes = 0
        self.max_bytes = max_bytes
        self.foreign = ""
        """The name of the type of a part that could be sent neither as plain data nor as a reference, or an empty text."""
        self.unbox: Callable[[Any], Any] | None = None
        """Returns the plain data that an object stands for, or the object itself if it stands for none."""
        self.refer: Callable[[Any], tuple[bytes, int, str] | None] | None = None
        """Returns the kind, the number and the name of the reference to an object, or None if it cannot be referred to."""

    def put(self, value: Any, depth: int) -> None:
        """Write a value that is nested ``depth`` deep."""
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH or len(self.out) > self.max_bytes:
            raise LimitError("the value is too large")
        kind = type(value)
        write = _WRITERS.get(kind)
        if write is not None:
            write(self, value, depth)
        else:
            self._put_rare(kind, value, depth)

    def _put_rare(self, kind: type, value: Any, depth: int) -> None:
        """Write a value that is of a rarer type, or that is to be unboxed, sent as a reference, or named only."""
        for module, name, tag, parts in _RARE:
            if kind is getattr(sys.modules.get(module), name, None):
                plain = parts(value)
                if plain is not None:
                    self.out += tag
                    self.put(plain, depth + 1)
                    return
        if kind is Opaque:
            self.opaque(value.name)
            return
        unboxed = self.unbox(value) if self.unbox else value
        if unboxed is not value:
            self.put(unboxed, depth + 1)
            return
        reference = self.refer(value) if self.refer else None
        if reference is None:
            self.foreign = kind.__name__
            self.opaque(kind.__name__)
        else:
            tag, number, name = reference
            self.sized(tag + number.to_bytes(4, "little"), name.encode("utf-8", "replace")[:MAX_NAME_BYTES])

    def sized(self, tag: bytes, data: bytes | bytearray) -> None:
        """Write a tag, the length of ``data`` and ``data``."""
        if len(self.out) + len(data) > self.max_bytes:
            raise LimitError("the value is too large")
        self.out += tag + len(data).to_bytes(4, "little")
        self.out += data

    def integer(self, value: int, _depth: int) -> None:
        """Write an integer as its bytes, lowest first, with their number before them."""
        size = value.bit_length() // 8 + 1
        if size > MAX_INT_BYTES:
            raise LimitError("the integer is too large")
        self.sized(b"i", value.to_bytes(size, "little", signed=True))

    def many(self, tag: bytes, items: Iterable[Any], count: int, depth: int) -> None:
        """Write a tag, the number of the items, and the items, which are nested one level deeper."""
        self.out += tag + count.to_bytes(4, "little")
        for item in items:
            self.put(item, depth + 1)

    def pairs(self, tag: bytes, value: dict[Any, Any], depth: int) -> None:
        """Write a tag, the number of the dict's items, and each key with its value."""
        self.out += tag + len(value).to_bytes(4, "little")
        for key, item in dict.items(value):
            self.put(key, depth + 1)
            self.put(item, depth + 1)

    def constant(self, tag: bytes) -> None:
        self.out += tag

    def opaque(self, name: str) -> None:
        """Write the name of a type in place of a value."""
        self.sized(b"O", name.encode("utf-8", "surrogatepass")[:MAX_NAME_BYTES])


_WRITERS: dict[type, Callable[[Encoder, Any, int], None]] = {
    type(None): lambda e, _v, _d: e.constant(b"N"),
    bool: lambda e, v, _d: e.constant(b"T" if v else b"F"),
    int: Encoder.integer,
    float: lambda e, v, _d: e.sized(b"d", v.hex().encode()),
    complex: lambda e, v, _d: e.sized(b"c", f"{v.real.hex()} {v.imag.hex()}".encode()),
    str: lambda e, v, _d: e.sized(b"s", v.encode("utf-8", "surrogatepass")),
    bytes: lambda e, v, _d: e.sized(b"b", v),
    bytearray: lambda e, v, _d: e.sized(b"B", v),
    list: lambda e, v, d: e.many(b"l", v, len(v), d),
    tuple: lambda e, v, d: e.many(b"t", v, len(v), d),
    set: lambda e, v, d: e.many(b"S", v, len(v), d),
    frozenset: lambda e, v, d: e.many(b"Z", v, len(v), d),
    dict: lambda e, v, d: e.pairs(b"D", v, d),
    range: lambda e, v, d: e.many(b"r", (v.start, v.stop, v.step), 3, d),
}
_DATE = ("year", "month", "day")
_TIME = ("hour", "minute", "second", "microsecond")


def _fields(value: Any, names: tuple[str, ...]) -> tuple[Any, ...] | None:
    """Return the named fields of a date or time, and its time zone if it has one.

    Return None if the time zone is not a ``datetime.timezone``, so that the value is not plain data.
    """
    zone = getattr(value, "tzinfo", None)
    if zone is not None and type(zone) is not sys.modules["datetime"].timezone:
        return None
    fields = tuple(getattr(value, name) for name in names)
    return fields if zone is None else (*fields, zone)


# Each line has the module and the name of a type, its tag, and a function that returns the parts of a value as plain data, or None
# if the value is not plain data. The modules are looked up in sys.modules instead of imported, which would take time: a value of
# such a type can only exist where its module has been imported. A defaultdict has no tag, so its dict is written in its place.
_RARE: tuple[tuple[str, str, bytes, Callable[[Any], Any]], ...] = (
    ("collections", "Counter", b"C", dict),
    ("collections", "OrderedDict", b"o", dict),
    ("collections", "deque", b"q", lambda v: (list(v), v.maxlen)),
    ("collections", "defaultdict", b"", dict),
    ("decimal", "Decimal", b"M", str),
    ("fractions", "Fraction", b"Q", lambda v: (v.numerator, v.denominator)),
    ("datetime", "date", b"y", lambda v: _fields(v, _DATE)),
    ("datetime", "time", b"h", lambda v: _fields(v, _TIME)),
    ("datetime", "datetime", b"Y", lambda v: _fields(v, _DATE + _TIME)),
    ("datetime", "timezone", b"z", lambda v: v.__getinitargs__()),
    ("datetime", "timedelta", b"H", lambda v: (v.days, v.seconds, v.microseconds)),
)


def decode(data: bytes, max_bytes: int) -> Any:
    """Return the value that ``data`` encodes.

    Raises LimitError if it exceeds ``max_bytes`` or the bounds of this module, and CodecError on bytes that no encoder wrote.
    """
    return Decoder(data, max_bytes).whole()


class Decoder:
    """A reader of one value from bytes that an untrusted process may have written.

    The methods below ``whole`` read one part of the value from the current position. Whatever they raise on bytes that no encoder
    wrote, ``whole`` raises as CodecError.
    """

    def __init__(self, data: bytes, max_bytes: int) -> None:
        if len(data) > max_bytes:
            raise LimitError("the value is too large")
        self._data = data
        self._position = 0
        self._nodes = 0
        self.saw_opaque = False
        """Whether a part of the value that has been read was not plain data."""
        self.resolve: Callable[[bytes, int, str], Any] | None = None
        """Returns the object for the kind, the number and the name of a reference.

        It raises CodecError on a reference that was never given out.
        """

    def whole(self) -> Any:
        """Return the value. Raises CodecError on bytes that no encoder wrote, and on bytes after the value."""
        try:
            value = self.get(0)
        except (ValueError, TypeError, ArithmeticError, LookupError, OpaqueValueError) as error:
            raise error if isinstance(error, CodecError) else CodecError(str(error)) from None
        if self._position != len(self._data):
            raise CodecError("there are bytes after the value")
        return value

    def get(self, depth: int) -> Any:
        """Return the next value, which is nested ``depth`` deep."""
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise LimitError("the value is too large")
        read = _READERS.get(self._data[self._position : self._position + 1])
        if read is None:
            raise CodecError("the tag is unknown")
        self._position += 1
        return read(self, depth)

    def count(self) -> int:
        """Return the next number, which has 4 bytes."""
        self._position += 4
        if self._position > len(self._data):
            raise CodecError("the bytes are cut short")
        return int.from_bytes(self._data[self._position - 4 : self._position], "little")

    def sized(self) -> bytes:
        """Return the next bytes, before which their number stands."""
        size = self.count()
        self._position += size
        if self._position > len(self._data):
            raise CodecError("the bytes are cut short")
        return self._data[self._position - size : self._position]

    def integer(self, _depth: int) -> int:
        data = self.sized()
        if len(data) > MAX_INT_BYTES:
            raise LimitError("the integer is too large")
        return int.from_bytes(data, "little", signed=True)

    def real(self, _depth: int) -> float:
        return float.fromhex(self.sized().decode("ascii"))

    def pair_of_reals(self, _depth: int) -> complex:
        real, imag = self.sized().decode("ascii").split(" ")
        return complex(float.fromhex(real), float.fromhex(imag))

    def text(self, _depth: int) -> str:
        return self.sized().decode("utf-8", "surrogatepass")

    def items(self, depth: int) -> list[Any]:
        """Return the next items, before which their number stands."""
        count = self.count()
        if count > MAX_NODES:
            raise LimitError("the value is too large")
        return [self.get(depth + 1) for _ in range(count)]

    def unique(self, depth: int) -> list[Any]:
        """Return the members of a set, which may still contain equal ones."""
        return _require_spread_hashes(self.items(depth))

    def pairs(self, depth: int) -> dict[Any, Any]:
        count = self.count()
        if count > MAX_NODES:
            raise LimitError("the value is too large")
        items = [(self.get(depth + 1), self.get(depth + 1)) for _ in range(count)]
        _require_spread_hashes([key for key, _ in items])
        pairs = dict(items)
        _require_count(pairs, count)
        return pairs

    def opaque(self, _depth: int) -> Opaque:
        """Return the stand-in for a value of which only the name of its type was sent."""
        self.saw_opaque = True
        name = self.sized()[:MAX_NAME_BYTES].decode("utf-8", "replace")
        return Opaque(identifier(name))

    def reference(self, tag: bytes) -> Any:
        """Return the object of a reference, or an ``Opaque`` if there is no ``resolve``."""
        number = self.count()
        name = self.sized()[:MAX_NAME_BYTES].decode("utf-8", "replace")
        self.saw_opaque = self.saw_opaque or tag == HANDLE or self.resolve is None
        return self.resolve(tag, number, name) if self.resolve else Opaque(identifier(name))

    def parts(self, depth: int, *types: type) -> tuple[Any, ...]:
        """Return the next value, which must be a tuple of values of exactly these types."""
        value = self.get(depth + 1)
        if type(value) is not tuple or tuple(map(type, value)) != types:
            raise CodecError("the parts have the wrong types")
        return value

    def part(self, depth: int, kind: type) -> Any:
        """Return the next value, which must be of exactly this type."""
        value = self.get(depth + 1)
        if type(value) is not kind:
            raise CodecError("a part has the wrong type")
        return value

    def decimal(self, depth: int) -> Any:
        """Return the Decimal whose text comes next."""
        from decimal import Decimal, InvalidOperation

        try:
            value = Decimal(self.part(depth, str))
        except InvalidOperation:
            raise CodecError("the text is not a decimal number") from None
        if value.is_finite() and abs(value.adjusted()) > MAX_EXPONENT:
            raise LimitError("the decimal is too large")
        return value

    def deque(self, depth: int) -> Any:
        """Return the deque whose items and maximum length come next."""
        from collections import deque

        items, maxlen = self.get(depth + 1)
        if type(items) is not list or type(maxlen) not in (int, type(None)):
            raise CodecError("the parts have the wrong types")
        return deque(items, maxlen)

    def counter(self, depth: int) -> Any:
        from collections import Counter

        return Counter(self.part(depth, dict))

    def ordered(self, depth: int) -> Any:
        from collections import OrderedDict

        return OrderedDict(self.part(depth, dict))

    def fraction(self, depth: int) -> Any:
        """Return the fraction whose numerator and denominator come next."""
        from fractions import Fraction

        numerator, denominator = self.parts(depth, int, int)
        if max(numerator.bit_length(), denominator.bit_length()) > MAX_FRACTION_BITS:
            raise LimitError("the fraction is too large")
        return Fraction(numerator, denominator)

    def moment(self, depth: int, name: str, n_fields: int) -> Any:
        """Return a date, time, datetime or timedelta, whose type has this name and this number of fields."""
        import datetime

        fields = self.part(depth, tuple)
        numbers, zones = fields[:n_fields], fields[n_fields:]
        max_zones = 1 if name in ("time", "datetime") else 0
        if [*map(type, numbers)] != [int] * n_fields or [*map(type, zones)] != [datetime.timezone] * len(zones):
            raise CodecError("the parts have the wrong types")
        if len(zones) > max_zones:
            raise CodecError("there are too many parts")
        kind = getattr(datetime, name)
        return kind(*numbers, tzinfo=zones[0]) if zones else kind(*numbers)

    def timezone(self, depth: int) -> Any:
        """Return the time zone whose offset, and perhaps name, come next."""
        from datetime import timedelta, timezone

        parts = self.part(depth, tuple)
        if tuple(map(type, parts)) not in ((timedelta,), (timedelta, str)):
            raise CodecError("the parts have the wrong types")
        return timezone(*parts)


def _require_spread_hashes(items: list[Any]) -> list[Any]:
    """Return the items. Raises LimitError if the hashes of more than ``MAX_EQUAL_HASHES`` of them are repeated."""
    if len(items) - len({hash(item) for item in items}) > MAX_EQUAL_HASHES:
        raise LimitError("too many members have equal hashes")
    return items


def _require_count(value: Sized, count: int) -> None:
    """Raise CodecError unless the collection has ``count`` members, because then two of them were equal."""
    if len(value) != count:
        raise CodecError("a set or dict has the same member twice")


def _set_of(kind: type) -> Callable[[Decoder, int], Any]:
    """Return a function that reads a set of this type."""

    def read(decoder: Decoder, depth: int) -> Any:
        items = decoder.unique(depth)
        members: Sized = kind(items)
        _require_count(members, len(items))
        return members

    return read


_READERS: dict[bytes, Callable[[Decoder, int], Any]] = {
    b"N": lambda _r, _d: None,
    b"T": lambda _r, _d: True,
    b"F": lambda _r, _d: False,
    b"i": Decoder.integer,
    b"d": Decoder.real,
    b"c": Decoder.pair_of_reals,
    b"s": Decoder.text,
    b"b": lambda r, _d: r.sized(),
    b"B": lambda r, _d: bytearray(r.sized()),
    b"l": Decoder.items,
    b"t": lambda r, d: tuple(r.items(d)),
    b"S": _set_of(set),
    b"Z": _set_of(frozenset),
    b"D": Decoder.pairs,
    b"r": lambda r, d: range(*r.items(d)),
    b"O": Decoder.opaque,
    HANDLE: lambda r, _d: r.reference(HANDLE),
    CALLBACK: lambda r, _d: r.reference(CALLBACK),
    BUILTIN: lambda r, _d: r.reference(BUILTIN),
    b"C": Decoder.counter,
    b"o": Decoder.ordered,
    b"q": Decoder.deque,
    b"M": Decoder.decimal,
    b"Q": Decoder.fraction,
    b"y": lambda r, d: r.moment(d, "date", 3),
    b"h": lambda r, d: r.moment(d, "time", 4),
    b"Y": lambda r, d: r.moment(d, "datetime", 7),
    b"H": lambda r, d: r.moment(d, "timedelta", 3),
    b"z": Decoder.timezone,
}
