"""Exchange messages with a confined command while it runs.

    with confined_session([python, "server.py"], folder=scratch.folder, readable=["server.py"]) as session:
        session.send({"run": 1})
        answer = session.receive(timeout_s=10)

The command is confined and limited like every other (``command.py``). Its standard input is one end of a socket pair, from which
it reads messages and to which it writes its answers. Each message and each answer is a JSON object on a line of its own. An
answer is data from an untrusted process, so whoever receives it has to check what it holds.
"""

from __future__ import annotations

import json
import os
import select
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from mlx_selfdebug.errors import SandboxError
from mlx_selfdebug.sandbox.command import NAMESPACES, Completed, prepare_confined
from mlx_selfdebug.sandbox.isolation import Level
from mlx_selfdebug.sandbox.limits import CommandLimits
from mlx_selfdebug.sandbox.prepared_command import CommandRequest
from mlx_selfdebug.sandbox.processes.confined import run
from mlx_selfdebug.sandbox.processes.outcome import Command, Outcome

MAX_MESSAGE_BYTES = 32 << 20
"""The largest number of bytes that may be received for one answer."""
_GRACE_S = 1.0
"""Seconds that a command has to end by itself once its channel is closed."""
_DEFAULT_LIMITS = CommandLimits()


class Session:
    """A confined command that is running, and the channel to it. One thread may send while another receives."""

    def __init__(self, channel: socket.socket, ended: Future[Outcome], level: Level, *, has_namespaces: bool) -> None:
        self.isolation: Level = level
        """How well the command is isolated."""
        self.has_namespaces = has_namespaces
        """Whether the command sees no processes but its own. Then it may end all that it sees without harm to others."""
        self._channel, self._ended = channel, ended
        self._received = bytearray()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message. If the command has ended, the message is lost without an error, and ``receive`` will return None."""
        with suppress(OSError):
            self._channel.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, timeout_s: float | None = None) -> dict[str, Any] | None:
        """Return the next answer, or None if the command has ended or sends no answer in time. By default, wait without limit.

        Raises SandboxError if the command sends a line that is not a JSON object, or more than 32 MiB without the end of a line.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        n_searched = 0
        while (end := self._received.find(b"\n", n_searched)) < 0:
            n_searched = len(self._received)
            more = self._read(deadline)
            if not more:
                return None
            self._received += more
            if len(self._received) > MAX_MESSAGE_BYTES:
                raise SandboxError(f"a confined command sent more than {MAX_MESSAGE_BYTES:,} bytes in one answer")
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return _parse_answer(line)

    @property
    def has_ended(self) -> bool:
        """Whether the command, and all that it started, has ended."""
        return self._ended.done()

    def completed(self, timeout_s: float = 30.0) -> Completed:
        """Wait until the command has ended, and return how it ended.

        Raises SandboxError if it could not be run, and TimeoutError if it runs for longer than ``timeout_s`` from now.
        """
        return Completed.from_outcome(self._ended.result(timeout_s), self.isolation)

    def _read(self, deadline: float | None) -> bytes:
        """Return the bytes that arrive next, or none if the command has ended or sends nothing until the deadline."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        wait_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        if not poll.poll(wait_ms):
            return b""
        try:
            return self._channel.recv(1 << 16)
        except OSError:
            return b""


@contextmanager
def confined_session(
    argv: Sequence[str],
    *,
    folder: str | os.PathLike[str],
    seen_at: str | os.PathLike[str] | None = None,
    readable: Sequence[str | os.PathLike[str]] = (),
    programs: Sequence[str | os.PathLike[str]] = (),
    environment: Mapping[str, str] | None = None,
    limits: CommandLimits = _DEFAULT_LIMITS,
    allow_network: bool = False,
    level: Level = "full",
) -> Iterator[Session]:
    """Start a confined command and yield a session with it. The command and all that it started are gone when the block ends.

    The arguments are those of ``run_confined``, which raises the same errors. The exception is a command that cannot be started:
    then ``receive`` returns None, and ``completed`` raises SandboxError.
    """
    request = CommandRequest(
        argv=tuple(argv),
        folder=os.fspath(folder),
        seen_at=os.fspath(seen_at or ""),
        readable=tuple(os.fspath(path) for path in readable),
        programs=tuple(os.fspath(path) for path in programs),
        environment=environment or {},
        limits=limits,
        network=allow_network,
    )
    with prepare_confined(request, level) as (command, isolation):
        ours, theirs = socket.socketpair()
        stop, ended = threading.Event(), Future[Outcome]()
        thread = threading.Thread(target=_run, args=(command, ours, theirs, stop, ended), name="confined session")
        thread.start()
        try:
            has_namespaces = bool(command.bubblewrap or command.required & NAMESPACES)
            yield Session(ours, ended, isolation, has_namespaces=has_namespaces)
        finally:
            with suppress(OSError):
                ours.shutdown(socket.SHUT_WR)
            thread.join(_GRACE_S)
            stop.set()
            thread.join()
            ours.close()


def _run(
    command: Command, ours: socket.socket, theirs: socket.socket, stop: threading.Event, ended: Future[Outcome]
) -> None:
    """Run the command with ``theirs`` as its channel until it ends or ``stop`` is set, and give the outcome to ``ended``."""
    try:
        ended.set_result(run(replace(command, channel=theirs.fileno()), stop))
    except BaseException as error:
        ended.set_exception(error)
    finally:
        theirs.close()
        # Whoever waits for an answer learns now that there will be none.
        with suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)


def _parse_answer(line: bytes) -> dict[str, Any]:
    """Return the answer in a line of JSON. Raises SandboxError if the line is not a JSON object."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SandboxError(f"a confined command sent an answer that is not JSON: {line[:100]!r}") from error
    if not isinstance(message, dict):
        raise SandboxError(f"a confined command sent an answer that is not an object: {line[:100]!r}")
    return message
