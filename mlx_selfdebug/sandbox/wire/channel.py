"""The trusted end of the channel: frames with a kind, an id and a length, each wait bounded."""

from __future__ import annotations

import select
import socket
import time
from dataclasses import dataclass

from mlx_selfdebug.sandbox.wire.codec import HEADER_BYTES, pack_header, unpack_header


class ChannelError(Exception):
    """Base of what can go wrong on a channel."""


class ChannelClosedError(ChannelError):
    """The other side closed its end or died."""


class ChannelTimeoutError(ChannelError):
    """Nothing, or not enough, came in time."""


class FrameError(ChannelError):
    """A frame longer than allowed."""


@dataclass(frozen=True)
class Frame:
    kind: int
    id: int
    body: bytes


class Channel:
    """Takes over ``end``, a connected stream socket."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._poll = select.poll()

    def send(self, kind: int, id_: int, body: bytes, timeout_s: float) -> None:
        """Raises ChannelClosedError or ChannelTimeoutError."""
        self.send_raw(pack_header(kind, id_, len(body)) + body, timeout_s)

    def send_raw(self, data: bytes, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline)
            except OSError as error:
                raise ChannelClosedError(str(error)) from None

    def receive(self, max_bytes: int, timeout_s: float) -> Frame:
        """One frame with a body of up to ``max_bytes``. Raises ChannelClosedError, ChannelTimeoutError or FrameError."""
        deadline = time.monotonic() + timeout_s
        kind, id_, length = unpack_header(self._read(HEADER_BYTES, deadline))
        if length > max_bytes:
            raise FrameError(f"a frame of {length} bytes")
        return Frame(kind, id_, self._read(length, deadline))

    def close(self) -> None:
        self._socket.close()

    def _read(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                more = self._socket.recv(min(size - len(data), 1 << 20))
            except BlockingIOError:
                self._wait(select.POLLIN, deadline)
                continue
            except OSError as error:
                raise ChannelClosedError(str(error)) from None
            if not more:
                raise ChannelClosedError("the channel was closed")
            data += more
        return bytes(data)

    def _wait(self, event: int, deadline: float) -> None:
        left = deadline - time.monotonic()
        self._poll.register(self._socket, event)
        if left <= 0 or not self._poll.poll(left * 1000):
            raise ChannelTimeoutError("no answer in time")
