"""Framing: whatever bytes come, a frame or one of the channel's own errors, in bounded time."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlx_selfdebug.sandbox.wire.channel import (
    Channel,
    ChannelClosedError,
    ChannelError,
    ChannelTimeoutError,
    FrameError,
)
from mlx_selfdebug.sandbox.wire.codec import HEADER_BYTES, RETURNED, pack_header, unpack_header


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    yield channel, theirs
    channel.close()
    theirs.close()


@given(st.integers(0, 255), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_a_header_comes_back(kind: int, id_: int, length: int) -> None:
    header = pack_header(kind, id_, length)
    assert len(header) == HEADER_BYTES
    assert unpack_header(header) == (kind, id_, length)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=100))
def test_any_bytes_give_frames_or_a_channel_error(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    theirs.sendall(data)
    theirs.close()
    try:
        while True:
            assert len(channel.receive(50, 1).body) <= 50
    except ChannelError:
        pass
    finally:
        channel.close()


def test_a_frame_in_pieces_is_put_together(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    data = pack_header(RETURNED, 7, 3) + b"abc"
    for i in range(len(data)):
        theirs.send(data[i : i + 1])
    frame = channel.receive(10, 1)
    assert (frame.kind, frame.id, frame.body) == (RETURNED, 7, b"abc")


def test_a_frame_longer_than_allowed_is_refused_before_it_is_read(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.send(pack_header(RETURNED, 7, 2**32 - 1))
    with pytest.raises(FrameError):
        channel.receive(10, 1)


def test_half_a_frame_runs_into_the_deadline(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.send(pack_header(RETURNED, 7, 3) + b"a")
    started = time.monotonic()
    with pytest.raises(ChannelTimeoutError):
        channel.receive(10, 0.05)
    assert time.monotonic() - started < 5


def test_a_reader_that_never_reads_runs_into_the_deadline(ends: tuple[Channel, socket.socket]) -> None:
    channel, _ = ends
    with pytest.raises(ChannelTimeoutError):
        channel.send(RETURNED, 7, bytes(16 << 20), 0.05)


def test_a_closed_end_is_told_from_a_slow_one(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.close()
    with pytest.raises(ChannelClosedError):
        channel.receive(10, 1)
    with pytest.raises(ChannelClosedError):
        channel.send(RETURNED, 7, b"", 1)
