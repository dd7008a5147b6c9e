"""Pass messages between ranks while each of them goes on with its own work.

Messages travel in rounds. In a round, every rank sends as much of its messages as fits into a slot of fixed size, and receives the
slots of all ranks. A round is begun without waiting for it, and its result is taken when the next one is begun. So a rank waits
only if another one is a whole round behind.

All ranks see the same rounds in the same order. What they compute from the messages alone, they need not agree on.
"""

from __future__ import annotations

import json
import time
import zlib
from typing import Any

import numpy as np

from mlx_selfdebug.distributed.group import Group

INTERVAL_S = 1.0
"""The time between two rounds while a rank has other work, in seconds."""
SLOT_BYTES = 1 << 17
"""The number of bytes that a rank sends per round. Longer messages take several rounds."""
_LENGTH_BYTES = 4


class Exchange:
    """The rounds of messages between the ranks of a group."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._outgoing = bytearray()
        self._incoming = [bytearray() for _ in range(group.size)]
        self._round: Any = None
        """The slots of the round that is under way, or None before the first."""
        self._begun_at = 0.0

    def send(self, message: Any) -> None:
        """Queue a message, which is JSON data, for the next rounds. This rank receives it, too."""
        packed = zlib.compress(json.dumps(message).encode())
        self._outgoing += len(packed).to_bytes(_LENGTH_BYTES, "big") + packed

    def is_due(self, *, idle: bool) -> bool:
        """Return whether it is time for the next round. An idle rank has nothing else to do, so for it that is always so."""
        return idle or self._round is None or time.monotonic() - self._begun_at >= INTERVAL_S

    def receive(self) -> list[list[Any]]:
        """Return the messages of each rank that the round under way completes, in order. Without a round there are none.

        Raises DistributedError if another rank has gone.
        """
        if self._round is None:
            return [[] for _ in range(self._group.size)]
        self._group.evaluate(self._round)
        for buffer, slot in zip(self._incoming, np.array(self._round), strict=True):
            data = slot.tobytes()
            length = int.from_bytes(data[:_LENGTH_BYTES], "big")
            buffer += data[_LENGTH_BYTES : _LENGTH_BYTES + length]
        self._round = None
        return [_take_messages(buffer) for buffer in self._incoming]

    def begin_round(self) -> None:
        """Send what is queued, as far as it fits."""
        room = SLOT_BYTES - _LENGTH_BYTES
        part = bytes(self._outgoing[:room])
        del self._outgoing[:room]
        slot = np.zeros((1, SLOT_BYTES), np.uint8)
        framed = len(part).to_bytes(_LENGTH_BYTES, "big") + part
        slot[0, : len(framed)] = np.frombuffer(framed, np.uint8)
        self._round = self._group.begin_gather(slot)
        self._begun_at = time.monotonic()


def _take_messages(buffer: bytearray) -> list[Any]:
    """Remove the complete messages from the beginning of ``buffer`` and return them."""
    messages = []
    while len(buffer) >= _LENGTH_BYTES:
        end = _LENGTH_BYTES + int.from_bytes(buffer[:_LENGTH_BYTES], "big")
        if len(buffer) < end:
            break
        messages.append(json.loads(zlib.decompress(bytes(buffer[_LENGTH_BYTES:end]))))
        del buffer[:end]
    return messages
