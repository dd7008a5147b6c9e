"""The re-entrant exchange against a candidate that sends any frames in any order: a value, an exception, or its end; no hang."""

from __future__ import annotations

import os
import socket
import time
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_selfdebug.sandbox.grading import remote
from mlx_selfdebug.sandbox.grading.handles import Handle
from mlx_selfdebug.sandbox.grading.remote import RemoteCandidate
from mlx_selfdebug.sandbox.grading.signals import CandidateDied, CandidateError, StopChecks
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.wire import codec
from mlx_selfdebug.sandbox.wire.channel import Channel

ID = 7
LIMITS = Limits(wall_s=2.0, output_bytes=1 << 12)
NO_CHANGE = (None, None)


def reference(tag: bytes, number: int, name: bytes = b"x") -> bytes:
    return tag + number.to_bytes(4, "little") + len(name).to_bytes(4, "little") + name


def pair(result: bytes) -> bytes:
    return b"t\2\0\0\0" + result + b"N"


def call_back(number: int, argument: bytes) -> bytes:
    return b"t\3\0\0\0" + codec.encode(number) + b"t\1\0\0\0" + argument + b"D\0\0\0\0"


tags = st.sampled_from([codec.HANDLE, codec.CALLBACK, codec.BUILTIN])
parts = st.one_of(
    st.sampled_from([codec.encode(v) for v in (None, 9, "x", [1], {}, ("E", "ValueError", "no", 1), ("E", "StopIteration", "", 0), 0)]),
    st.builds(reference, tags, st.sampled_from([0, 1, 2, 99, 70_000, 2**32 - 1]), st.sampled_from([b"x", b"int", b"eval", b"\xff"])),
)  # fmt: skip
bodies = st.one_of(
    parts.map(pair), st.builds(call_back, st.integers(-1, 3), parts), parts, st.binary(max_size=30), st.just(b"")
)
kinds = st.one_of(
    st.sampled_from([codec.RETURNED, codec.RAISED, codec.CALL_BACK, codec.CALL_BACK, codec.EXITED, codec.TOO_LARGE]),
    st.integers(0, 255),
)
frames = st.builds(
    lambda kind, id_, body: codec.pack_header(kind, id_, len(body)) + body,
    kinds,
    st.sampled_from([ID, ID, ID, ID, ID, 0, 8]),
    bodies,
)


def candidate_that_sends(data: bytes) -> tuple[RemoteCandidate, list[socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.sendall(data)
    theirs.shutdown(socket.SHUT_WR)
    return RemoteCandidate(Channel(ours), LIMITS, "def f(x): pass\n"), [ours, theirs]


def use(value: Any) -> Any:
    if type(value) is Handle:
        return [value.name, value(3), len(value), list(value), value[0], value == value.other]
    return value


@settings(max_examples=1500, deadline=None)
@given(st.lists(frames, max_size=8), st.binary(max_size=5))
def test_any_frames_give_a_value_an_exception_or_the_end(sent: list[bytes], rest: bytes) -> None:
    candidate, ends = candidate_that_sends(b"".join(sent) + rest)
    started = time.monotonic()
    calls: list[Any] = []

    def callback(value: Any = None) -> Any:
        calls.append(value)
        return use(candidate.call(value)) if len(calls) % 2 else value

    with mock.patch.object(remote.os, "urandom", return_value=ID.to_bytes(8, "little")):
        for _ in range(4):
            try:
                use(candidate.call(callback, int))
            except (CandidateError, CandidateDied, StopChecks, codec.OpaqueValueError, StopIteration):
                continue
    assert candidate.death is not None or not rest
    assert time.monotonic() - started < LIMITS.wall_s
    for end in ends:
        end.close()


@settings(max_examples=300, deadline=None)
@given(st.lists(frames, max_size=4))
def test_nothing_but_what_the_checks_passed_is_ever_called(sent: list[bytes]) -> None:
    candidate, ends = candidate_that_sends(b"".join(sent))
    called: list[int] = []
    with mock.patch.object(remote.os, "urandom", return_value=ID.to_bytes(8, "little")):
        try:
            candidate.call(lambda *_: called.append(0), lambda *_: called.append(1))
        except (CandidateError, CandidateDied):
            pass
    assert set(called) <= {0, 1}
    for end in ends:
        end.close()


def test_a_dead_candidate_is_not_asked_again() -> None:
    candidate, ends = candidate_that_sends(codec.pack_header(codec.RETURNED, ID, 0))
    for _ in range(3):
        try:
            candidate.call(1)
        except CandidateDied:
            continue
    assert candidate.death is not None
    assert candidate.death.outcome == "protocol_error"
    assert os.urandom(1)
    for end in ends:
        end.close()
