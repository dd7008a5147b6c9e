"""Load the candidate's source and answer calls to it, in the candidate's process.

Everything in this process is untrusted as soon as the source is loaded. This module holds no expected value and decides nothing:
whatever the candidate does to it, it can only answer with values. While a call runs, the candidate may call the callables that the
checks passed to it, and the checks may call the candidate again before such a callable returns.

This module is loaded without the package around it (see ``candidate.py``), so it imports nothing of the package. The other
modules that it needs are loaded in the same way, under names such as ``_selfdebug_codec``.
"""

from __future__ import annotations

import _thread
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, NoReturn

    from mlx_selfdebug.sandbox.processes import programs, references, tracing, unboxing
    from mlx_selfdebug.sandbox.wire import codec
else:
    import _selfdebug_codec as codec
    import _selfdebug_programs as programs
    import _selfdebug_references as references
    import _selfdebug_tracing as tracing
    import _selfdebug_unboxing as unboxing

CANDIDATE_FILE = "<candidate>"
"""The file name of the candidate's source in tracebacks."""
MAX_MESSAGE = 2000
"""The maximum number of characters of the message of an exception."""
CHANNEL_FAILED = 70
"""The exit status of a process whose channel is closed or broken."""
WARM_UPS = 24
"""The number of calls that warm up the interpreter before the zygote forks."""

_channel = -1
_output_bytes = 0
_current: int | None = None  # the id of the innermost request that is being answered
_main_thread = 0  # the thread that answers requests


def serve(channel: int, output_bytes: int) -> NoReturn:
    """Load the candidate's source, answer requests until the channel closes, and then end this process.

    Requests arrive on the descriptor ``channel``. A reply has at most ``output_bytes``.
    """
    global _channel, _output_bytes, _main_thread
    _channel, _output_bytes, _main_thread = channel, output_bytes, _thread.get_ident()
    kind, id_, body = _receive()
    prelude, source, entry_point = codec.decode(body, len(body))
    load = _load_program if entry_point == codec.PROGRAM else _load
    tracer = tracing.Tracer(CANDIDATE_FILE, _send_executed) if kind == codec.LOAD_TRACED else None
    if tracer:
        load = tracer.around(load)
    loaded = load(prelude, source, entry_point)
    if not callable(loaded):
        kind, content = loaded
        send(kind, id_, codec.encode(content))
        posix._exit(0)
    send(codec.LOADED, id_, b"")
    _table.refer(references.Kept(loaded))  # the entry point gets the number 0
    functions = {codec.CALL: loaded, codec.OPERATE: references.operate}
    if tracer:
        functions = {kind: tracer.around(function) for kind, function in functions.items()}
    _table.functions = functions
    while True:
        kind, id_, body = _receive()
        send(*_answer(functions[kind], id_, body))


def warm_up() -> None:
    """Do in the zygote what every run does, so that runs are faster.

    The interpreter specialises code that runs often, and the children of the zygote inherit the specialised code.
    """
    source = "def add(x, y=0):\n    return x\n"
    values = (([1, 2], "a", 1.5, None, True, {"a": (1,)}, {1}), {"y": -1})
    for _ in range(WARM_UPS):
        function = _load("", source, "add")
        assert callable(function)
        _answer(function, 0, codec.encode(values))
    del sys.modules["candidate"]


def _send_executed(counts: dict[int, int]) -> None:
    """Send how often lines of the source ran in the current request, by line number."""
    send(codec.TRACED, _current or 0, codec.encode(counts))


def _load_program(prelude: str, source: str, _entry_point: str) -> Callable[..., Any] | tuple[int, Any]:
    """Return a function that runs the program, from its standard input to its standard output.

    If the source does not compile, return the kind and the content of the reply that says so.
    """
    try:
        code = compile(source, CANDIDATE_FILE, "exec", dont_inherit=True)
        prelude_code = compile(prelude, "<prelude>", "exec", dont_inherit=True)
    except BaseException as error:
        return codec.LOAD_FAILED, _record(error)
    return programs.Program((prelude_code, code), CANDIDATE_FILE, _output_bytes, _flooded)


def _flooded() -> NoReturn:
    """Report that the program printed more than it may, and end this process.

    The thread that reads the output calls this, since the program itself may never end.
    """
    send(codec.TOO_LARGE, _current or 0, b"")
    posix._exit(0)


def _load(prelude: str, source: str, entry_point: str) -> Callable[..., Any] | tuple[int, Any]:
    """Run the prelude and the source in one module, and return the entry point.

    If there is none, return the kind and the content of the reply that says why.
    """
    try:
        code = compile(source, CANDIDATE_FILE, "exec", dont_inherit=True)
    except BaseException as error:
        return codec.LOAD_FAILED, _record(error)
    module = type(sys)("candidate")
    sys.modules["candidate"] = module
    try:
        if prelude:
            exec(compile(prelude, "<prelude>", "exec", dont_inherit=True), module.__dict__)
        exec(code, module.__dict__)
    except SystemExit as error:
        return codec.EXITED, _exit_code(error)
    except MemoryError as error:
        return codec.NO_MEMORY, _record(error)
    except BaseException as error:
        return codec.LOAD_FAILED, _record(error)
    function = module.__dict__.get(entry_point)
    return function if callable(function) else (codec.MISSING, None)


def _answer(function: Callable[..., Any], id_: int, body: bytes) -> tuple[int, int, bytes]:
    """Answer one request with ``function``, and return the kind, the id and the body of the reply.

    The reply holds the arguments as well if the call has changed them.
    """
    global _current
    outer, _current = _current, id_
    try:
        args, kwargs = _decoded(body)
        kind, result = _call(function, args, kwargs)
        are_unchanged = _encode((args, kwargs), len(body) + _output_bytes) == body
        return kind, id_, _encoded_reply(result, None if are_unchanged else (args, kwargs))
    except codec.LimitError:
        return codec.TOO_LARGE, id_, b""
    except MemoryError:
        return codec.NO_MEMORY, id_, b""
    finally:
        _current = outer


def _ask(number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a callable of the checks by its number and return its result. Requests that arrive in the meantime are answered.

    Raises RuntimeError if no request is being answered, or if another thread than the one that answers it calls.
    """
    id_ = _current
    if id_ is None or _thread.get_ident() != _main_thread:
        raise RuntimeError(
            "a callable of the checks can be called only by the thread that the checks called, and only until it returns"
        )
    send(codec.CALL_BACK, id_, _encode((number, args, kwargs), _output_bytes))
    while True:
        kind, received, body = _receive()
        if kind == codec.GIVEN_BACK:
            return _decoded(body)
        if kind == codec.FAILED_BACK:
            raise references.built_in_error(*_decoded(body))
        send(*_answer(_table.functions[kind], received, body))


class _Table(references.References):
    """The references of this process, and the functions that answer requests by the kind of the request."""

    functions: dict[int, Callable[..., Any]]


_table = _Table(_ask)


def _encode(value: Any, max_bytes: int) -> bytes:
    encoder = codec.Encoder(max_bytes)
    encoder.unbox = unboxing.unboxed
    encoder.refer = _table.refer
    encoder.put(value, 0)
    return bytes(encoder.out)


def _decoded(body: bytes) -> Any:
    decoder = codec.Decoder(body, len(body))
    decoder.resolve = _table.resolve
    return decoder.whole()


def _call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, Any]:
    """Call the function, and return the kind and the content of the reply: its result, or the record of its exception."""
    try:
        return codec.RETURNED, function(*args, **kwargs)
    except SystemExit as error:
        return codec.EXITED, _exit_code(error)
    except MemoryError as error:
        return codec.NO_MEMORY, _record(error)
    except BaseException as error:
        return codec.RAISED, _record(error)


def _encoded_reply(result: Any, changed_arguments: Any) -> bytes:
    """Return the body of a reply. Raises LimitError if it is too large."""
    try:
        return _encode((result, changed_arguments), _output_bytes)
    except (codec.LimitError, MemoryError):
        raise
    except BaseException:  # raised by an object that lies about its class
        return codec.encode((codec.Opaque("object"), None))


def _record(error: BaseException) -> tuple[str, str, str, int]:
    """Return the names of an exception's type and of the nearest built-in type, its message, and its line in the candidate or 0.

    All of them may be lies, because the candidate's classes supply them.
    """
    kind = type(error)
    try:
        base = next((base.__name__ for base in type.mro(kind) if base.__module__ == "builtins"), "Exception")
        line = _line(error, error.__traceback__)
        # The objects that filled the memory may still be alive in the frames of the traceback.
        error.__traceback__ = error.__context__ = error.__cause__ = None
        return _text(kind.__name__), _text(base), _message(error), line
    except BaseException:
        return "Exception", "Exception", "", 0


def _message(error: BaseException) -> str:
    try:
        if isinstance(error, SyntaxError) and error.msg:
            return _text(error.msg)
        return _text(str(error))
    except BaseException:
        return ""


def _text(value: object) -> str:
    return value[:MAX_MESSAGE] if type(value) is str else ""


def _line(error: BaseException, traceback: TracebackType | None) -> int:
    """Return the innermost line of the candidate from which the exception came, or 0 if there is none."""
    line = 0
    if isinstance(error, SyntaxError) and error.filename == CANDIDATE_FILE:
        line = error.lineno or 0
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == CANDIDATE_FILE:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line if type(line) is int else 0


def _exit_code(error: SystemExit) -> int:
    """Return the exit code that Python derives from a SystemExit: an int as it is, None as 0, and anything else as 1."""
    code = error.code
    return code if type(code) is int and abs(code) < 1 << 31 else int(code is not None)


def _receive() -> tuple[int, int, bytes]:
    """Return the kind, the id and the body of the next frame from the grader."""
    kind, id_, length = codec.unpack_header(_read(codec.HEADER_BYTES))
    return kind, id_, _read(length)


def _read(size: int) -> bytes:
    """Return the next ``size`` bytes of the channel, or end this process if it is closed or broken."""
    data = b""
    while len(data) < size:
        try:
            more = posix.read(_channel, min(size - len(data), 1 << 20))
        except OSError:
            more = b""
        if not more:
            posix._exit(CHANNEL_FAILED)
        data += more
    return data


def send(kind: int, id_: int, body: bytes) -> None:
    """Send a frame to the grader, or end this process if the channel is closed or broken."""
    data = memoryview(codec.pack_header(kind, id_, len(body)) + body)
    while data:
        try:
            data = data[posix.write(_channel, data) :]
        except OSError:
            posix._exit(CHANNEL_FAILED)
