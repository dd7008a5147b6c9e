"""Pass messages between ranks while each of them goes on with its own work.

Messages travel in rounds. In a round, every rank sends one slot of ``SLOT_BYTES`` bytes and receives the slots of all ranks. A rank
begins a round without waiting for the other ranks, and takes its result only before it begins the next round. So a rank waits only
if another rank is a whole round behind:

    exchange.send({"done": [3]})     # once or more often
    exchange.begin_round()           # the message is under way; now work for a second
    exchange.receive()               # [[{"done": [3]}], [{"done": [7]}]]: by rank, here 0 and 1

A message on its way is compressed JSON after its length, a number of four bytes (big-endian). A slot begins with the number of its
bytes that are in use, of the same form. The bytes of a rank's messages then follow each other from slot to slot, so a long message
may fill several slots, and a slot may hold several short messages:

    slot     00 00 00 2a   00 00 00 0f <15 bytes>   00 00 00 13 <19 bytes>   zeros up to the end

All ranks receive the same messages in the same order. A plan that each of them computes from the messages alone is therefore the
same on all ranks, and they need not agree on it.
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
"""The number of bytes in which the length of a message, or of the used part of a slot, is written."""


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
        """Queue a message, which is JSON data, for the next rounds. The sender receives it too, like every other rank."""
        packed = zlib.compress(json.dumps(message).encode())
        self._outgoing += len(packed).to_bytes(_LENGTH_BYTES, "big") + packed

    def is_due(self, *, idle: bool) -> bool:
        """Return whether it is time to receive the messages of the last round and to begin the next one.

        It is always time on an ``idle`` rank, which has no other work than to wait for messages.
        """
        return idle or self._round is None or time.monotonic() - self._begun_at >= INTERVAL_S

    def receive(self) -> list[list[Any]]:
        """Wait for the round that is under way, and return the messages that are now complete, as a list for each rank.

        If no round is under way, all lists are empty. Raises DistributedError if another rank has gone.
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
        """Begin a round that sends as much of the queued messages as fits into a slot. The rest waits for later rounds."""
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
