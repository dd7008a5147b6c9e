"""Send and receive frames at the trusted end of a channel. Every wait is bounded.

A frame is a message with a kind, an id and a body. On the socket, the kind takes 1 byte, the id 8 bytes, the length of the body 4
bytes, and the body follows. Numbers begin with their lowest byte. The frame of kind 2 with the id 5 and the body ``b"ab"`` is
``02 05 00 00 00 00 00 00 00 02 00 00 00 61 62``.
"""

from __future__ import annotations

import select
import socket
import time
from dataclasses import dataclass

from mlx_selfdebug.sandbox.wire.codec import HEADER_BYTES, pack_header, unpack_header


class ChannelError(Exception):
    """The base class of the errors of a channel."""


class ChannelClosedError(ChannelError):
    """The error of a channel whose other side closed its end or died."""


class ChannelTimeoutError(ChannelError):
    """The error of a channel whose other side did not send or receive a whole frame in time."""


class FrameError(ChannelError):
    """The error of a channel whose other side announced a frame that is longer than allowed."""


@dataclass(frozen=True)
class Frame:
    """One message on a channel."""

    kind: int
    """What the message means: one of the kinds in codec.py and messages.py."""
    id: int
    """The number of the request or run to which the message belongs, for most kinds."""
    body: bytes
    """The content of the message, which is an encoded value for most kinds."""


class Channel:
    """The trusted end of a connected stream socket. The channel owns the socket and closes it."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._poll = select.poll()

    def send(self, kind: int, id_: int, body: bytes, timeout_s: float) -> None:
        """Send one frame. Raises ChannelClosedError or ChannelTimeoutError."""
        self.send_raw(pack_header(kind, id_, len(body)) + body, timeout_s)

    def send_raw(self, data: bytes, timeout_s: float) -> None:
        """Send frames that are already packed. Raises ChannelClosedError or ChannelTimeoutError."""
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
        """Receive one frame with a body of up to ``max_bytes`` and return it.

        Raises ChannelClosedError, ChannelTimeoutError or FrameError.
        """
        deadline = time.monotonic() + timeout_s
        kind, id_, length = unpack_header(self._read(HEADER_BYTES, deadline))
        if length > max_bytes:
            raise FrameError(f"a frame has {length} bytes; at most {max_bytes} are allowed")
        return Frame(kind, id_, self._read(length, deadline))

    def close(self) -> None:
        self._socket.close()

    def _read(self, size: int, deadline: float) -> bytes:
        """Return exactly ``size`` bytes. Raises ChannelClosedError or ChannelTimeoutError."""
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
                raise ChannelClosedError("the other side closed the channel")
            data += more
        return bytes(data)

    def _wait(self, event: int, deadline: float) -> None:
        """Wait until the socket is ready for ``event``. Raises ChannelTimeoutError at the deadline."""
        left = deadline - time.monotonic()
        self._poll.register(self._socket, event)
        if left <= 0 or not self._poll.poll(left * 1000):
            raise ChannelTimeoutError("the other side did not answer in time")
