"""The candidate as the trusted side sees it: a function whose calls are answered by another process, until it dies."""

from __future__ import annotations

import builtins
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlx_selfdebug.sandbox.grading.report import Silence
from mlx_selfdebug.sandbox.grading.text import scrub
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.verdict import ErrorFact, Outcome
from mlx_selfdebug.sandbox.wire import codec
from mlx_selfdebug.sandbox.wire.channel import Channel, ChannelClosedError, ChannelError, ChannelTimeoutError, Frame

MAX_LOST_CALLS = 2000
MAX_REQUEST_BYTES = 64 << 20


@dataclass(frozen=True)
class Death:
    """Why the candidate answers no more."""

    outcome: Outcome
    error: ErrorFact | None = None
    silence: Silence = ""


class CandidateError(BaseException):
    """The candidate raised. What the checks see is a subclass that is also the built-in type it raised."""

    fact: ErrorFact


class CandidateDied(BaseException):
    """The candidate answers no more. No ``except Exception`` of a check may swallow it."""


class StopChecks(BaseException):
    """The checks end here, with ``outcome`` if that decides the run."""

    def __init__(self, message: str, outcome: Outcome | None = None) -> None:
        super().__init__(message)
        self.outcome = outcome


class UnsendableError(Exception):
    """The checks pass something that is not plain data: their fault, not the candidate's."""


class RemoteCandidate:
    """Loads ``source`` at the other end of ``channel`` and calls its entry point. ``prelude`` runs before it in the same module.

    ``death`` is set once and for good; every later call raises CandidateDied.
    """

    def __init__(self, channel: Channel, limits: Limits, source: str) -> None:
        self.death: Death | None = None
        self.n_answers = 0
        self.n_calls = 0
        self.returned_opaque = False
        self.last_value: Any = None
        self._last_arguments: bytes | None = None
        self._channel = channel
        self._limits = limits
        self._lines = source.splitlines()
        self.wall_s = self._left_s = limits.wall_s

    def load(self, source: str, entry_point: str, prelude: str) -> None:
        """Run the source. ``death`` says what went wrong, if anything did."""
        frame = self._exchange(codec.LOAD, codec.encode((prelude, source, entry_point)))
        if frame is None or frame.kind == codec.LOADED:
            return
        try:
            content = codec.decode(frame.body, self._limits.output_bytes)
            self._die_loading(frame.kind, content, entry_point)
        except (codec.CodecError, TypeError, ValueError):
            self._die("protocol_error")

    def _die_loading(self, kind: int, content: Any, entry_point: str) -> None:
        if kind == codec.LOAD_FAILED:
            error = self._error(content)[0]
            self._die("policy_denied" if is_denial(error) else "load_error", error)
        elif kind == codec.NO_MEMORY:
            self._die("memory", self._error(content)[0])
        elif kind == codec.EXITED:
            self._die("early_exit", _exit_error(content))
        elif kind == codec.MISSING:
            self._die("missing_entry", ErrorFact("NameError", f"name {entry_point!r} is not defined as a function"))
        else:
            self._die("protocol_error")

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The candidate's value, or its exception raised as CandidateError. Raises CandidateDied, UnsendableError."""
        self.n_calls += 1
        if self.death:
            if self.n_calls > MAX_LOST_CALLS:
                raise StopChecks("calls after the candidate's end")
            raise CandidateDied(self.death.outcome)
        body = _arguments(args, kwargs)
        self._last_arguments = body
        frame = self._exchange(codec.CALL, body)
        if frame is not None:
            try:
                return self._answer(frame, args, kwargs)
            except codec.LimitError:
                self._die("output_limit")
            except codec.CodecError:
                self._die("protocol_error")
        raise CandidateDied(self.death.outcome if self.death else "")

    def last_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Those of the latest call, as they were before it."""
        if self._last_arguments is None:
            return None
        args, kwargs = codec.decode(self._last_arguments, len(self._last_arguments))
        return args, kwargs

    def _answer(self, frame: Frame, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if frame.kind == codec.TOO_LARGE:
            raise codec.LimitError
        if frame.kind not in (codec.RETURNED, codec.RAISED, codec.EXITED, codec.NO_MEMORY):
            raise codec.CodecError
        decoder = codec.Decoder(frame.body or codec.encode((None, None)), self._limits.output_bytes)
        content = decoder.whole()
        if type(content) is not tuple or len(content) != 2:
            raise codec.CodecError
        result, after = content
        if frame.kind == codec.EXITED:
            self._die("early_exit", _exit_error(result))
            raise CandidateDied("early_exit")
        if frame.kind == codec.NO_MEMORY:
            self._die("memory", self._error(result)[0] if result else ErrorFact("MemoryError", ""))
            raise CandidateDied("memory")
        error = self._error(result) if frame.kind == codec.RAISED else None
        self.n_answers += 1
        self.last_value = None if error else result
        self.returned_opaque = decoder.saw_opaque
        if after is not None:
            _mutate((args, kwargs), after)
        if error:
            raise _raisable(*error)
        return result

    def _exchange(self, kind: int, body: bytes) -> Frame | None:
        """The reply that carries this request's id; None if the candidate died over it."""
        id_ = int.from_bytes(os.urandom(8), "little")
        started = time.monotonic()
        try:
            self._channel.send(kind, id_, body, self._left_s)
            frame = self._channel.receive(self._limits.output_bytes + 64, self._left_s - (time.monotonic() - started))
        except ChannelTimeoutError:
            self._die("timeout_wall", silence="time")
            return None
        except ChannelClosedError:
            self._die("early_exit", silence="exit")
            return None
        except ChannelError:
            self._die("protocol_error")
            return None
        finally:
            self._left_s -= time.monotonic() - started
        if frame.id != id_:
            self._die("protocol_error")
            return None
        return frame

    def _die(self, outcome: Outcome, error: ErrorFact | None = None, silence: Silence = "") -> None:
        self.death = Death(outcome, error, silence)

    def _error(self, record: Any) -> tuple[ErrorFact, str]:
        """The fact and the built-in type's name. Raises CodecError if the record is none."""
        if type(record) is not tuple or tuple(map(type, record)) != (str, str, str, int):
            raise codec.CodecError("no error record")
        name, base, message, line = record
        source = self._lines[line - 1].rstrip() if 0 < line <= len(self._lines) else ""
        fact = ErrorFact(
            name if name.isidentifier() else "Exception", scrub(message), line if source else 0, scrub(source)
        )
        return fact, base


def is_denial(error: ErrorFact) -> bool:
    """Whether the operating system refused something: as good as always our confinement, and nothing an honest answer needs."""
    return error.type == "PermissionError" and error.message.startswith(("[Errno 1]", "[Errno 13]"))


def _exit_error(code: Any) -> ErrorFact:
    if type(code) is not int:
        raise codec.CodecError("no exit code")
    return ErrorFact("SystemExit", f"exit code {code}")


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    encoder = codec.Encoder(MAX_REQUEST_BYTES)
    try:
        encoder.put((args, kwargs), 0)
    except codec.LimitError as error:
        raise UnsendableError(f"an argument cannot be sent: {error}") from None
    if encoder.foreign:
        raise UnsendableError(f"an argument is not plain data but a {encoder.foreign}")
    return bytes(encoder.out)


def _raisable(fact: ErrorFact, base_name: str) -> CandidateError:
    base = getattr(builtins, base_name, Exception)
    if not (isinstance(base, type) and issubclass(base, BaseException)) or issubclass(base, BaseExceptionGroup):
        base = Exception
    kind = type(fact.type, (CandidateError, base), {"__init__": _no_init, "__str__": _message})
    error: CandidateError = kind(fact.message)
    error.fact = fact
    return error


def _no_init(self: CandidateError, *_: object) -> None:
    """Some built-in exceptions insist on arguments of their own."""


def _message(self: CandidateError) -> str:
    return self.fact.message


def _mutate(old: Any, new: Any) -> Any:
    """Make ``old`` equal to ``new`` in place where it can be; what stands in its place where it cannot."""
    kind = type(old)
    if isinstance(old, dict) and isinstance(new, dict):  # a defaultdict comes back as a dict
        _change_dict(old, new)
        return old
    if kind is not type(new):
        return new
    if kind is tuple and len(old) == len(new):
        for before, after in zip(old, new, strict=True):
            _mutate(before, after)
        return old
    change = _CHANGES.get(kind)
    if change is None:
        return new
    change(old, new)
    return old


def _change_list(old: list[Any] | deque[Any], new: list[Any] | deque[Any]) -> None:
    items = [_mutate(before, after) for before, after in zip(old, new, strict=False)]
    items += list(new)[len(items) :]
    old.clear()
    old.extend(items)


def _change_dict(old: dict[Any, Any], new: dict[Any, Any]) -> None:
    items = {key: _mutate(old[key], value) if key in old else value for key, value in new.items()}
    dict.clear(old)
    dict.update(old, items)


def _change_set(old: set[Any], new: set[Any]) -> None:
    old.clear()
    old.update(new)


def _change_bytes(old: bytearray, new: bytearray) -> None:
    old[:] = new


_CHANGES: dict[type, Callable[[Any, Any], None]] = {
    list: _change_list,
    deque: _change_list,
    set: _change_set,
    bytearray: _change_bytes,
}
