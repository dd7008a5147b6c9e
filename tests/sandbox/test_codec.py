"""The codec: what goes in comes out with its type, and no bytes make it fail in any other way than its own."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_selfdebug.sandbox.wire.codec import (
    HANDLE,
    MAX_DEPTH,
    CodecError,
    Decoder,
    Encoder,
    LimitError,
    Opaque,
    OpaqueValueError,
    decode,
    encode,
)

LARGE = 1 << 24
zones = st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23))) | st.builds(
    timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)), st.text()
)
text = st.text(st.characters(exclude_categories=()))
atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    text,
    st.binary(),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.dates(),
    zones,
    st.times(timezones=st.none() | zones),
    st.datetimes(timezones=st.none() | zones),
    st.timedeltas(),
    st.builds(range, st.integers(), st.integers(), st.integers(1, 9)),
)
keys = st.recursive(atoms, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4)
values = st.recursive(
    atoms | keys,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(keys, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
        | st.lists(inner, max_size=4).map(deque)
        | st.dictionaries(keys, inner, max_size=4).map(OrderedDict)
        | st.dictionaries(keys, st.integers(), max_size=4).map(Counter)
        | st.binary().map(bytearray)
    ),
    max_leaves=20,
)


def shape(value: Any) -> Any:
    """A value with the types of all its parts."""
    if isinstance(value, dict):
        return type(value), [(shape(k), shape(v)) for k, v in value.items()]
    if isinstance(value, list | tuple | deque):
        return type(value), [shape(item) for item in value]
    return type(value), repr(value) if isinstance(value, float) else value


@given(values)
def test_a_value_comes_back_equal_and_of_the_same_types(value: Any) -> None:
    assert shape(decode(encode(value), LARGE)) == shape(value)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_codec_error(data: bytes) -> None:
    with suppress(CodecError):
        decode(data, LARGE)


@settings(max_examples=300)
@given(values, st.data())
def test_a_damaged_value_gives_a_value_or_a_codec_error(value: Any, draw: st.DataObject) -> None:
    data = bytearray(encode(value))
    data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    with suppress(CodecError):
        decode(bytes(data), LARGE)


@given(values)
def test_no_value_can_be_cut_short(value: Any) -> None:
    with pytest.raises(CodecError):
        decode(encode(value)[:-1], LARGE)


class Thing:
    """Stands for an object of the candidate's."""


THINGS = [Thing() for _ in range(3)]
with_things = st.recursive(
    atoms | st.sampled_from(THINGS),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(st.sampled_from(THINGS) | st.integers(), max_size=3)
        | st.dictionaries(st.sampled_from(THINGS) | text, inner, max_size=3)
    ),
    max_leaves=12,
)


def resolve(tag: bytes, number: int, name: str) -> Thing:
    if tag != HANDLE or number >= len(THINGS) or name != "Thing":
        raise CodecError("never given out")
    return THINGS[number]


def encode_with_things(value: Any) -> bytes:
    encoder = Encoder(LARGE)
    encoder.refer = lambda part: (HANDLE, THINGS.index(part), "Thing") if part in THINGS else None
    encoder.put(value, 0)
    assert not encoder.foreign
    return bytes(encoder.out)


def decode_with_things(data: bytes) -> Any:
    decoder = Decoder(data, LARGE)
    decoder.resolve = resolve
    return decoder.whole()


@given(with_things)
def test_references_come_back_as_what_they_name(value: Any) -> None:
    assert shape(decode_with_things(encode_with_things(value))) == shape(value)


@settings(max_examples=300)
@given(with_things, st.data())
def test_damaged_references_give_a_value_or_a_codec_error(value: Any, draw: st.DataObject) -> None:
    data = bytearray(encode_with_things(value))
    data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.sampled_from(b"PKGOltSDi\0\xff"))
    with suppress(CodecError):
        decode_with_things(bytes(data))


def test_a_reference_nobody_resolves_arrives_opaque() -> None:
    decoder = Decoder(encode_with_things([THINGS[0]]), LARGE)
    assert repr(decoder.whole()) == "[<Thing>]"
    assert decoder.saw_opaque


def test_nan_comes_back_and_equals_nothing() -> None:
    value = [math.nan, complex(math.nan, 1)]
    back = decode(encode(value), LARGE)
    assert math.isnan(back[0])
    assert back != value


def test_negative_zero_keeps_its_sign() -> None:
    assert str(decode(encode([-0.0, math.inf]), LARGE)) == "[-0.0, inf]"


class Number(IntEnum):
    ONE = 1


class Zone(tzinfo):
    """A time zone of the candidate's own, whose offset it may choose at each question."""

    def utcoffset(self, _: datetime | None) -> timedelta:
        return timedelta(hours=1)


@pytest.mark.parametrize(
    "value",
    [
        Number.ONE,
        namedtuple("P", "x")(1),
        object(),
        map(abs, []),
        {}.keys(),
        int,
        len,
        math,
        datetime(2024, 1, 1, tzinfo=Zone()),
        time(1, tzinfo=Zone()),
        type("L", (list,), {})(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_plain_data_arrives_opaque(value: object) -> None:
    decoder = Decoder(encode([value]), LARGE)
    assert type(decoder.whole()[0]) is Opaque
    assert decoder.saw_opaque


def test_a_defaultdict_arrives_as_a_dict() -> None:
    back = decode(encode(defaultdict(int, a=1)), LARGE)
    assert (type(back), back) == (dict, {"a": 1})


def test_a_deque_keeps_its_bound() -> None:
    assert decode(encode(deque([1], 3)), LARGE).maxlen == 3


@pytest.mark.parametrize(
    "operation", [bool, lambda v: v == v, lambda v: v != 1, lambda v: v < 1, lambda v: v in [1], lambda v: [v] == [1]]
)
def test_an_opaque_value_refuses_to_be_judged(operation: Any) -> None:
    with pytest.raises(OpaqueValueError):
        operation(Opaque("generator"))


def test_an_opaque_name_is_a_name() -> None:
    assert repr(decode(encode(Opaque("0x7f> == 9")), LARGE)) == "<object>"


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_depth_is_bounded_on_both_sides() -> None:
    data = encode(nested(MAX_DEPTH))
    assert decode(data, LARGE) == nested(MAX_DEPTH)
    with pytest.raises(LimitError):
        encode(nested(MAX_DEPTH + 1))
    with pytest.raises(LimitError):
        decode(b"l\1\0\0\0" + data, LARGE)


@pytest.mark.parametrize("value", [10**90_000, list(range(300_000)), "x" * 2000], ids=["digits", "nodes", "bytes"])
def test_size_is_bounded(value: Any) -> None:
    with pytest.raises(LimitError):
        encode(value, 1000 if isinstance(value, str) else LARGE)
    with pytest.raises(LimitError):
        decode(encode("x" * 2000), 1000)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"?",
        b"NN",
        b"S\2\0\0\0TT",
        b"D\2\0\0\0TNTN",
        b"D\1\0\0\0l\0\0\0\0N",
        b"l\xff\xff\xff\xff",
        b"d\3\0\0\0xyz",
        b"s\1\0\0\0\xff",
        b"rTTF",
        b"qN",
        b"MN",
        b"QN",
        b"yt\1\0\0\0T",
        b"zt\0\0\0\0",
        b"zN",
        b"h" + encode((1, 2, 3, 4, 5)),
        b"h" + encode((1, 2, 3, 4, UTC, UTC)),
        b"y" + encode((2024, 1, 1, UTC)),
        b"z" + encode((timedelta(days=1),)),
        b"z" + encode((timedelta(0), 1)),
        b"z" + encode((timedelta(0), "UTC", "UTC")),
        b"CN",
    ],
)
def test_malformed_bytes_are_a_codec_error(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode(data, LARGE)


def test_keys_made_to_collide_are_refused() -> None:
    with pytest.raises(LimitError):
        decode(encode(dict.fromkeys(i * (2**61 - 1) for i in range(1000))), LARGE)


def test_numbers_that_would_take_all_memory_as_integers_are_refused() -> None:
    with pytest.raises(LimitError):
        decode(encode(Decimal("1e999999")), LARGE)
    with pytest.raises(LimitError):
        decode(encode(Fraction(1, 1 << 9000)), LARGE)


def test_utc_is_the_same_object_at_the_other_end() -> None:
    assert decode(encode(datetime(2024, 1, 1, tzinfo=UTC)), LARGE).tzinfo is UTC


def test_times_and_dates_are_plain_data() -> None:
    value = [date(2024, 2, 29), time(1, 2, 3, 4), datetime(2024, 2, 29, 1), timedelta(days=-1, seconds=3)]
    assert decode(encode(value), LARGE) == value
