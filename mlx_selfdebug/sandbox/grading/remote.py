"""Represent the candidate in the grader: a function whose calls another process answers, until that process dies.

During a call, the candidate may call the callables that it was given. Such a callback runs here, and it may call the candidate
again. Requests and replies then nest: each reply and each callback must carry the id of the innermost request.
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
from mlx_selfdebug.sandbox.grading.signals import (
    CandidateDied,
    CandidateError,
    StopChecks,
    UnsendableError,
    base_name,
    raisable,
)
from mlx_selfdebug.sandbox.grading.text import scrub
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.wire import codec
from mlx_selfdebug.sandbox.wire.channel import Channel, ChannelClosedError, ChannelError, ChannelTimeoutError, Frame
from mlx_selfdebug.values.verdict import ErrorFact, Outcome

MAX_LOST_CALLS = 2000
"""The number of calls in a run after which the checks are ended if they call a dead candidate."""
MAX_REQUEST_BYTES = 64 << 20
"""The maximum length of the encoded arguments of a call."""
MAX_CALLBACK_CALLS = 1 << 17
"""The maximum number of calls that the candidate may make to callables of the checks, per run."""
MAX_CALLBACK_S = 60.0
"""Seconds that all callbacks of a run may take together."""
MAX_DEPTH = 40
"""The maximum number of calls that may be open at the same time, where callbacks call the candidate again."""
MAX_STEPS = 1 << 17
"""The maximum number of elements that the checks may take from objects of the candidate, per run."""
MAX_ITERATED_RATIO = 16
"""The maximum encoded size of all these elements together, as a multiple of ``output_bytes``."""
_FRAME_ROOM = 64
"""Bytes by which a frame from the candidate may exceed ``output_bytes``."""


@dataclass(frozen=True)
class Death:
    """The reason why the candidate no longer answers."""

    outcome: Outcome
    """The outcome of the run. With a ``silence``, it is only a first guess."""
    error: ErrorFact | None = None
    """The error for the record of the check in which the candidate died, if it is known."""
    silence: Silence = ""
    """Why the candidate stopped answering, if it did so without a word."""


class RemoteCandidate:
    """The candidate at the other end of ``channel``, which loads a source and answers calls of its entry point."""

    load_kind = codec.LOAD

    def __init__(self, channel: Channel, limits: Limits, source: str) -> None:
        self.death: Death | None = None
        """Why the candidate no longer answers, or None while it is alive. Every call of a dead candidate raises CandidateDied."""
        self.closed = False
        """Whether the checks have ended. The recorder sets this, and from then on every call raises StopChecks."""
        self.wall_s = limits.wall_s
        """Seconds that the candidate may take for all answers together."""
        self.n_calls = 0
        """The number of calls and operations that the checks asked for."""
        self.n_answers = 0
        """The number of calls and operations that the candidate answered, be it with an exception."""
        self.last_value: Any = None
        """The latest value that the candidate returned, or None if its latest answer is an exception."""
        self.returned_opaque = False
        """Whether the latest answer held anything that is not plain data."""
        self.decoding = False
        """Whether a value of the candidate is being put together right now (see ``handles.Owner``)."""
        self.expects_objects = False
        """Whether the checks work with objects of the candidate (see objects.py). The recorder sets this."""
        self._channel = channel
        self._limits = limits
        self._lines = source.splitlines()
        self._references = References(self)
        self._left_s = limits.wall_s
        self._last_arguments: bytes | None = None  # encoded, since the call may change them
        self._last_bytes = 0  # the length of the latest answer
        self._depth = 0
        self._n_callbacks = 0
        self._callback_s = 0.0
        self._n_steps = 0
        self._step_bytes = 0

    def load(self, source: str, entry_point: str, prelude: str) -> None:
        """Let the candidate run ``prelude`` and then ``source`` in one module. If that fails, ``death`` says why."""
        frame = self._exchange(self.load_kind, codec.encode((prelude, source, entry_point)))
        if frame is None or frame.kind == codec.LOADED:
            return
        try:
            content = codec.decode(frame.body, self._limits.output_bytes)
            self.death = self._load_failure(frame.kind, content, entry_point)
        except (codec.CodecError, TypeError, ValueError):
            self._die("protocol_error")

    def _load_failure(self, kind: int, content: Any, entry_point: str) -> Death:
        """Return why the source was not loaded, from the kind and the content of the reply."""
        if kind == codec.LOAD_FAILED:
            error, _ = self._error(content)
            return Death("policy_denied" if is_denial(error) else "load_error", error)
        if kind == codec.NO_MEMORY:
            return Death("memory", self._error(content)[0])
        if kind == codec.EXITED:
            return Death("early_exit", _exit_error(content))
        if kind == codec.MISSING:
            error = ErrorFact("NameError", f"name {entry_point!r} is not defined as a function")
            return Death("missing_entry", error)
        return Death("protocol_error")

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Call the entry point and return its value.

        Raises CandidateError if the entry point raised an exception, CandidateDied if the candidate is dead or dies now,
        UnsendableError if an argument cannot be sent, and StopChecks if the checks are to end.
        """
        self._require_alive()
        body = self._encoded((args, kwargs))
        self._last_arguments = body
        return self._request(codec.CALL, body, args, kwargs)

    def entry(self) -> Handle:
        """Return a handle of the entry point, by which the checks can use its attributes."""
        return self._references.entry()

    def operate(self, name: str, handle: Handle, *args: Any, **kwargs: Any) -> Any:
        """Let the candidate perform an operation on one of its objects, and return the result.

        ``name`` is one of the operations of processes/references.py. Raises what ``call`` raises, but OpaqueValueError in place of
        UnsendableError.
        """
        self._require_alive()
        if name == "next":
            return self._step(handle)
        try:
            body = self._encoded(((name, handle, *args), kwargs))
            if name == "call":
                self._last_arguments = self._encoded((args, kwargs))
        except UnsendableError:
            # If the candidate had returned plain data, this operation might not have needed to send anything. So the checks are not
            # to blame.
            raise refused(handle) from None
        return self._request(codec.OPERATE, body, (name, handle, *args), kwargs)

    def last_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Return the arguments of the latest call as they were before it, or None if there was no call."""
        if self._last_arguments is None:
            return None
        args, kwargs = self._decoder(self._last_arguments, len(self._last_arguments)).whole()
        return args, kwargs

    def _require_alive(self) -> None:
        """Count a call. Raises StopChecks if the checks are to end, and CandidateDied if the candidate is dead."""
        self.n_calls += 1
        if self.closed:
            raise StopChecks("the candidate was called after the end of the checks")
        if self.death:
            if self.n_calls > MAX_LOST_CALLS:
                raise StopChecks("the candidate was called too often after its death")
            raise CandidateDied(self.death.outcome)

    def _step(self, handle: Handle) -> Any:
        """Return the next element of an iterator of the candidate. The number of such elements and their size are bounded."""
        self._n_steps += 1
        if self._n_steps > MAX_STEPS or self._step_bytes > MAX_ITERATED_RATIO * self._limits.output_bytes:
            self._die("output_limit")
            raise CandidateDied("output_limit")
        try:
            value = self._request(codec.OPERATE, self._encoded((("next", handle), {})), ("next", handle), {})
        except CandidateError as error:
            if isinstance(error, StopIteration):  # a ``for`` loop of the checks ends, as with any iterator
                raise StopIteration from None
            raise
        self._step_bytes += self._last_bytes
        return value

    def _request(self, kind: int, body: bytes, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Send a request and return the value in its answer. ``body`` holds ``args`` and ``kwargs``, encoded.

        The changes that the candidate made to its copies of the arguments are made to ``args`` and ``kwargs`` as well.
        """
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
        """Return the value in an answer, or raise the exception in it. Raises CodecError if the candidate broke the protocol."""
        if frame.kind == codec.TOO_LARGE:
            raise codec.LimitError
        if frame.kind not in (codec.RETURNED, codec.RAISED, codec.EXITED, codec.NO_MEMORY):
            raise codec.CodecError
        self._last_bytes = len(frame.body)
        # A candidate that is out of memory sends an empty body.
        decoder = self._decoder(frame.body or codec.encode((None, None)), self._limits.output_bytes)
        content = self._decoded(decoder)
        if type(content) is not tuple or len(content) != 2:
            raise codec.CodecError
        result, changed_arguments = content
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
        if changed_arguments is not None:
            self._mutate((args, kwargs), changed_arguments)
        if error:
            raise raisable(*error)
        return result

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
        """Return the decoded value, in which handles may be keys of dicts or elements of sets."""
        self.decoding = True
        try:
            return decoder.whole()
        finally:
            self.decoding = False

    def _mutate(self, old: Any, new: Any) -> None:
        self.decoding = True
        try:
            mutate(old, new)
        finally:
            self.decoding = False

    def _exchange(self, kind: int, body: bytes) -> Frame | None:
        """Send a request, answer the callbacks that arrive, and return the reply, or None if the candidate died in the meantime."""
        id_ = int.from_bytes(os.urandom(8), "little")
        frame = self._send_and_receive(kind, id_, body)
        while frame is not None and frame.kind == codec.CALL_BACK and frame.id == id_:
            reply_kind, reply_body = self._call_back(frame)
            frame = self._send_and_receive(reply_kind, id_, reply_body)
        if frame is not None and frame.id != id_:
            self._die("protocol_error")
            return None
        return frame

    def _send_and_receive(self, kind: int, id_: int, body: bytes) -> Frame | None:
        """Send a frame, receive one and return it, or None if the candidate died. The time is charged to the candidate."""
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
        return self._channel.receive(self._limits.output_bytes + _FRAME_ROOM, timeout_s)

    def _call_back(self, frame: Frame) -> tuple[int, bytes]:
        """Call a callable that the checks passed to the candidate, and return the kind and the body of the reply.

        An exception of the callable becomes the reply, unless it shows that the checks are broken or that they must end.
        """
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
            return codec.FAILED_BACK, self._encoded(_error_to_send(error))
        finally:
            self._last_arguments = outer_arguments
            self._callback_s += time.monotonic() - started
            if self.death:
                raise CandidateDied(self.death.outcome)

    def _die(self, outcome: Outcome, error: ErrorFact | None = None, silence: Silence = "") -> None:
        self.death = Death(outcome, error, silence)

    def _error(self, record: Any) -> tuple[ErrorFact, str]:
        """Return the fact about an exception of the candidate, and the name of the nearest built-in type.

        Raises CodecError if ``record`` is not the record of an error.
        """
        if type(record) is not tuple or tuple(map(type, record)) != (str, str, str, int):
            raise codec.CodecError("the error record is malformed")
        name, base, message, line = record
        source = self._lines[line - 1].rstrip() if 0 < line <= len(self._lines) else ""
        fact = ErrorFact(
            name if name.isidentifier() else "Exception", scrub(message), line if source else 0, scrub(source)
        )
        return fact, base


def is_denial(error: ErrorFact) -> bool:
    """Return whether the error is a refusal of the operating system.

    Such a refusal is nearly always due to the confinement, and no honest answer needs what the confinement refuses.
    """
    # EPERM and EACCES, as Python writes them at the beginning of the message of an OSError.
    return error.type == "PermissionError" and error.message.startswith(("[Errno 1]", "[Errno 13]"))


def _exit_error(code: Any) -> ErrorFact:
    if type(code) is not int:
        raise codec.CodecError("the exit code is not an integer")
    return ErrorFact("SystemExit", f"exit code {code}")


def _error_to_send(error: BaseException) -> tuple[str, str]:
    """Return the name of the built-in type and the message of a callback's exception, as they are sent to the candidate.

    The message of a failed assert is withheld, since it may tell what was expected.
    """
    if isinstance(error, AssertionError) and not isinstance(error, CandidateError):
        return "AssertionError", ""
    if isinstance(error, CandidateError):
        return base_name(type(error)), error.fact.message
    # The text of some exceptions is not the message that they were made with: that of a KeyError is in quotes.
    message = error.args[0] if len(error.args) == 1 and type(error.args[0]) is str else str(error)
    return base_name(type(error)), message
