"""Represent the candidate on the trusted side: a function whose calls are answered by another process until that process dies.

During a call, the candidate may call the callables that it was given. They run here, and may call the candidate again. Requests and
replies then nest: a reply must carry the id of the innermost request, and so must every callback.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from mlx_selfdebug.sandbox.grading.blame import is_missing_name
from mlx_selfdebug.sandbox.grading.handles import Handle, refused
from mlx_selfdebug.sandbox.grading.mutation import mutate
from mlx_selfdebug.sandbox.grading.references import References
from mlx_selfdebug.sandbox.grading.report import Silence
from mlx_selfdebug.sandbox.grading.signals import CandidateDied as CandidateDied
from mlx_selfdebug.sandbox.grading.signals import CandidateError as CandidateError
from mlx_selfdebug.sandbox.grading.signals import StopChecks as StopChecks
from mlx_selfdebug.sandbox.grading.signals import UnsendableError as UnsendableError
from mlx_selfdebug.sandbox.grading.signals import base_name, raisable
from mlx_selfdebug.sandbox.grading.text import scrub
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.wire import codec
from mlx_selfdebug.sandbox.wire.channel import Channel, ChannelClosedError, ChannelError, ChannelTimeoutError, Frame
from mlx_selfdebug.values.verdict import ErrorFact, Outcome

MAX_LOST_CALLS = 2000
"""The checks are ended once they call a dead candidate and have made more than this many calls in all."""
MAX_REQUEST_BYTES = 64 << 20
MAX_CALLBACK_CALLS = 1 << 17
"""The maximum number of calls that the candidate may make to callables of the checks, per run."""
MAX_DEPTH = 40
"""The maximum depth to which calls and callbacks may be nested."""
MAX_STEPS = 1 << 17
"""The maximum number of elements that are taken from iterated objects per run."""
MAX_ITERATED_RATIO = 16
"""The maximum size of all these elements together, as a multiple of ``output_bytes``."""
MAX_CALLBACK_S = 60.0
"""Seconds that all callbacks of a run together may take."""


@dataclass(frozen=True)
class Death:
    """The reason why the candidate answers no more."""

    outcome: Outcome
    error: ErrorFact | None = None
    silence: Silence = ""


class RemoteCandidate:
    """The candidate at the other end of ``channel``, which loads a source and answers calls of its entry point.

    ``death`` is None while the candidate is alive and is never cleared; from then on every call raises CandidateDied. Once
    ``closed`` is true, every call raises StopChecks. ``last_value`` is the latest value that was returned, and ``returned_opaque``
    says whether the latest answer held anything that is not plain data.
    """

    load_kind = codec.LOAD

    def __init__(self, channel: Channel, limits: Limits, source: str) -> None:
        self.death: Death | None = None
        self.closed = False
        self.n_answers = 0
        self.n_calls = 0
        self.returned_opaque = False
        self.last_value: Any = None
        self.decoding = False
        self.expects_objects = False
        self._last_arguments: bytes | None = None
        self._references = References(self)
        self._depth = 0
        self._n_callbacks = 0
        self._callback_s = 0.0
        self._n_steps = self._step_bytes = self._last_bytes = 0
        self._channel = channel
        self._limits = limits
        self._lines = source.splitlines()
        self.wall_s = self._left_s = limits.wall_s

    def load(self, source: str, entry_point: str, prelude: str) -> None:
        """Run ``prelude`` and then ``source`` in one module of the candidate. If that fails, ``death`` says why."""
        frame = self._exchange(self.load_kind, codec.encode((prelude, source, entry_point)))
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
        """Call the entry point and return its value. Raises CandidateError if it raised, CandidateDied or UnsendableError."""
        self._require_alive()
        body = self._encoded((args, kwargs))
        self._last_arguments = body
        return self._request(codec.CALL, body, args, kwargs)

    def entry(self) -> Handle:
        return self._references.entry()

    def operate(self, name: str, handle: Handle, *args: Any, **kwargs: Any) -> Any:
        """Make the candidate perform an operation on one of its objects and return the result.

        Raises the same exceptions as ``call``, except that an argument that cannot be sent raises OpaqueValueError.
        """
        self._require_alive()
        if name == "next":
            return self._step(handle)
        try:
            body = self._encoded(((name, handle, *args), kwargs))
            if name == "call":
                self._last_arguments = self._encoded((args, kwargs))
        except UnsendableError:
            # With the plain data that they expect, the checks might not have come here, so they are not to blame.
            raise refused(handle) from None
        return self._request(codec.OPERATE, body, (name, handle, *args), kwargs)

    def last_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Return the arguments of the latest call as they were before it, or None if there was no call."""
        if self._last_arguments is None:
            return None
        args, kwargs = self._decoder(self._last_arguments, len(self._last_arguments)).whole()
        return args, kwargs

    def _require_alive(self) -> None:
        self.n_calls += 1
        if self.closed:
            raise StopChecks("the candidate was called after the end of the checks")
        if self.death:
            if self.n_calls > MAX_LOST_CALLS:
                raise StopChecks("the candidate was called too often after its death")
            raise CandidateDied(self.death.outcome)

    def _step(self, handle: Handle) -> Any:
        """Return the next element of an iterated object. The number and the size of such elements are bounded."""
        self._n_steps += 1
        if self._n_steps > MAX_STEPS or self._step_bytes > MAX_ITERATED_RATIO * self._limits.output_bytes:
            self._die("output_limit")
            raise CandidateDied("output_limit")
        try:
            value = self._request(codec.OPERATE, self._encoded((("next", handle), {})), ("next", handle), {})
        except CandidateError as error:
            if isinstance(error, StopIteration):
                raise StopIteration from None
            raise
        self._step_bytes += self._last_bytes
        return value

    def _request(self, kind: int, body: bytes, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._depth >= MAX_DEPTH:
            raise raisable(
                ErrorFact("RecursionError", f"calls and callbacks are nested more than {MAX_DEPTH} deep"),
                "RecursionError",
            )
        self._depth += 1
        try:
            frame = self._exchange(kind, body)
            if frame is not None:
                return self._answer(frame, args, kwargs)
        except codec.LimitError:
            self._die("output_limit")
        except codec.CodecError:
            self._die("protocol_error")
        finally:
            self._depth -= 1
        raise CandidateDied(self.death.outcome if self.death else "")

    def _answer(self, frame: Frame, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if frame.kind == codec.TOO_LARGE:
            raise codec.LimitError
        if frame.kind not in (codec.RETURNED, codec.RAISED, codec.EXITED, codec.NO_MEMORY):
            raise codec.CodecError
        self._last_bytes = len(frame.body)
        decoder = self._decoder(frame.body or codec.encode((None, None)), self._limits.output_bytes)
        content = self._decoded(decoder)
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
            self._mutate((args, kwargs), after)
        if error:
            raise raisable(*error)
        return result

    def _mutate(self, old: Any, new: Any) -> None:
        self.decoding = True
        try:
            mutate(old, new)
        finally:
            self.decoding = False

    def _encoded(self, value: Any) -> bytes:
        """Return ``value`` as bytes. Raises UnsendableError if it cannot be sent."""
        encoder = codec.Encoder(MAX_REQUEST_BYTES)
        encoder.refer = self._references.refer
        try:
            encoder.put(value, 0)
        except codec.LimitError as error:
            raise UnsendableError(f"an argument cannot be sent: {error}") from None
        if encoder.foreign:
            raise UnsendableError(f"an argument is not plain data but of type {encoder.foreign}")
        return bytes(encoder.out)

    def _decoder(self, body: bytes, max_bytes: int) -> codec.Decoder:
        decoder = codec.Decoder(body, max_bytes)
        decoder.resolve = self._references.resolve
        return decoder

    def _decoded(self, decoder: codec.Decoder) -> Any:
        self.decoding = True
        try:
            return decoder.whole()
        finally:
            self.decoding = False

    def _exchange(self, kind: int, body: bytes) -> Frame | None:
        """Send a request, answer callbacks and return the reply with the request's id, or None if the candidate died meanwhile."""
        id_ = int.from_bytes(os.urandom(8), "little")
        frame = self._send_and_receive(kind, id_, body)
        while frame is not None and frame.kind == codec.CALL_BACK and frame.id == id_:
            reply, content = self._call_back(frame)
            frame = self._send_and_receive(reply, id_, content)
        if frame is not None and frame.id != id_:
            self._die("protocol_error")
            return None
        return frame

    def _send_and_receive(self, kind: int, id_: int, body: bytes) -> Frame | None:
        """Send a frame and receive one. The time that this takes counts as the candidate's."""
        started = time.monotonic()
        try:
            self._channel.send(kind, id_, body, self._left_s)
            return self._receive(self._left_s - (time.monotonic() - started))
        except ChannelTimeoutError:
            self._die("timeout_wall", silence="time")
        except ChannelClosedError:
            self._die("early_exit", silence="exit")
        except ChannelError:
            self._die("protocol_error")
        finally:
            self._left_s -= time.monotonic() - started
        return None

    def _receive(self, timeout_s: float) -> Frame:
        return self._channel.receive(self._limits.output_bytes + 64, timeout_s)

    def _call_back(self, frame: Frame) -> tuple[int, bytes]:
        """Call something that the checks passed and return the kind and body of the reply. Raises what ends the checks."""
        self._n_callbacks += 1
        if self._n_callbacks > MAX_CALLBACK_CALLS:
            raise codec.LimitError("there are too many callbacks")
        if self._callback_s > MAX_CALLBACK_S:
            self._die("timeout_wall")
            raise CandidateDied("timeout_wall")
        content = self._decoded(self._decoder(frame.body, self._limits.output_bytes))
        if type(content) is not tuple or tuple(map(type, content)) != (int, tuple, dict):
            raise codec.CodecError("the frame is not a callback")
        number, args, kwargs = content
        if not all(type(name) is str for name in kwargs):
            raise codec.CodecError("a keyword of a callback is not a string")
        function = self._references.callback(number)
        outer_arguments, started = self._last_arguments, time.monotonic()
        try:
            return codec.GIVEN_BACK, self._encoded(function(*args, **kwargs))
        except UnsendableError:
            raise
        except (Exception, CandidateError) as error:
            if is_missing_name(error):
                raise StopChecks(f"{type(error).__name__}: {error} in a callback", "infrastructure") from error
            return codec.FAILED_BACK, self._encoded(_failure(error))
        finally:
            self._last_arguments = outer_arguments
            self._callback_s += time.monotonic() - started
            if self.death:
                raise CandidateDied(self.death.outcome)

    def _die(self, outcome: Outcome, error: ErrorFact | None = None, silence: Silence = "") -> None:
        self.death = Death(outcome, error, silence)

    def _error(self, record: Any) -> tuple[ErrorFact, str]:
        """Return the fact and the name of the built-in type. Raises CodecError if the record is not one of an error."""
        if type(record) is not tuple or tuple(map(type, record)) != (str, str, str, int):
            raise codec.CodecError("the error record is malformed")
        name, base, message, line = record
        source = self._lines[line - 1].rstrip() if 0 < line <= len(self._lines) else ""
        fact = ErrorFact(
            name if name.isidentifier() else "Exception", scrub(message), line if source else 0, scrub(source)
        )
        return fact, base


def is_denial(error: ErrorFact) -> bool:
    """Return whether the operating system refused something.

    That is nearly always due to the confinement, and no honest answer needs what it refuses.
    """
    return error.type == "PermissionError" and error.message.startswith(("[Errno 1]", "[Errno 13]"))


def _exit_error(code: Any) -> ErrorFact:
    if type(code) is not int:
        raise codec.CodecError("the exit code is not an integer")
    return ErrorFact("SystemExit", f"exit code {code}")


def _failure(error: BaseException) -> tuple[str, str]:
    """Return the built-in type and the message of an exception that is sent to the candidate.

    The message of a failed assert is withheld, since it may tell what was expected.
    """
    if isinstance(error, AssertionError) and not isinstance(error, CandidateError):
        return "AssertionError", ""
    if isinstance(error, CandidateError):
        return base_name(type(error)), error.fact.message
    argument = error.args[0] if len(error.args) == 1 and type(error.args[0]) is str else str(error)
    return base_name(type(error)), argument
