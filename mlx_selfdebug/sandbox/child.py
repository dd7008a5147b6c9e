"""The untrusted side: sets its own limits, runs the candidate's source as a module, answers calls. Never imported.

Its compiled code comes over the channel (see ``process.py``), together with the codec's; it imports nothing of the package.
It holds no expected value and decides nothing: whatever the candidate does to it, it can only answer with values.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal itself would import enum
import posix
import resource
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, NoReturn

    from mlx_selfdebug.sandbox import codec
else:
    import _selfdebug_codec as codec

CHANNEL = 3
CANDIDATE_FILE = "<candidate>"
MAX_MESSAGE = 2000
MAX_OPEN_FILES = 64
CHANNEL_FAILED = 70


def main(folder: str, lifetime_s: int, cpu_s: int, memory_bytes: int, output_bytes: int) -> NoReturn:
    """Descriptor 0 is the channel. Never returns."""
    _detach(folder)
    _signal.alarm(lifetime_s)  # should the runner be killed, a sleeping candidate must not stay
    _set_limits(cpu_s, memory_bytes)
    _send(codec.READY, 0, b"")
    kind, id_, body = _receive()
    prelude, source, entry_point = codec.decode(body, len(body))
    answer = _load(prelude, source, entry_point)
    if not callable(answer):
        kind, record = answer
        _send(kind, id_, codec.encode(record))
        posix._exit(0)
    _send(codec.LOADED, id_, b"")
    while True:
        kind, id_, body = _receive()
        _send(*_answer(answer, id_, body, output_bytes))


def _detach(folder: str) -> None:
    """A session of its own, an empty working folder, the channel as the only descriptor that leads anywhere."""
    posix.setsid()
    posix.chdir(folder)
    posix.dup2(0, CHANNEL, inheritable=False)
    null = posix.open("/dev/null", posix.O_RDWR)
    for fd in (0, 1, 2):
        posix.dup2(null, fd)
    for name in posix.listdir("/dev/fd"):
        if int(name) > CHANNEL:
            _close(int(name))


def _close(fd: int) -> None:
    try:
        posix.close(fd)
    except OSError:  # the one that listed the folder
        return


def _set_limits(cpu_s: int, memory_bytes: int) -> None:
    # The hard limit is one second later, for programs that ignore the signal of the soft one.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_OPEN_FILES, MAX_OPEN_FILES))
    if sys.platform == "linux":
        fd = posix.open("/proc/self/statm", posix.O_RDONLY)
        used = int(posix.read(fd, 100).split()[0]) * resource.getpagesize()
        posix.close(fd)
        resource.setrlimit(resource.RLIMIT_AS, (used + memory_bytes, used + memory_bytes))


def _load(prelude: str, source: str, entry_point: str) -> Callable[..., Any] | tuple[int, Any]:
    """The entry point, or the frame that says why there is none."""
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
    found = module.__dict__.get(entry_point)
    return found if callable(found) else (codec.MISSING, None)


def _answer(function: Callable[..., Any], id_: int, body: bytes, output_bytes: int) -> tuple[int, int, bytes]:
    """Kind, id and body of the reply to one call."""
    try:
        args, kwargs = codec.decode(body, len(body))
        kind, result = _call(function, args, kwargs)
        after = codec.encode((args, kwargs), len(body) + output_bytes)
        mutated = None if after == body else (args, kwargs)
        return kind, id_, _encoded(result, mutated, output_bytes)
    except codec.LimitError:
        return codec.TOO_LARGE, id_, b""
    except MemoryError:
        return codec.NO_MEMORY, id_, b""


def _call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, Any]:
    try:
        return codec.RETURNED, function(*args, **kwargs)
    except SystemExit as error:
        return codec.EXITED, _exit_code(error)
    except MemoryError as error:
        return codec.NO_MEMORY, _record(error)
    except BaseException as error:
        return codec.RAISED, _record(error)


def _encoded(result: Any, mutated: Any, output_bytes: int) -> bytes:
    try:
        return codec.encode((result, mutated), output_bytes)
    except (codec.LimitError, MemoryError):
        raise
    except BaseException:  # a class that lies about itself
        return codec.encode((codec.Opaque("object"), None))


def _record(error: BaseException) -> tuple[str, str, str, int]:
    """Type, nearest built-in type, message, line in the candidate. All may be lies: the candidate's classes made them."""
    kind = type(error)
    try:
        base = next((c.__name__ for c in type.mro(kind) if c.__module__ == "builtins"), "Exception")
        line = _line(error, error.__traceback__)
        # Its frames hold what filled the memory.
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


def _line(error: BaseException, tb: TracebackType | None) -> int:
    line = 0
    if isinstance(error, SyntaxError) and error.filename == CANDIDATE_FILE:
        line = error.lineno or 0
    while tb is not None:
        if tb.tb_frame.f_code.co_filename == CANDIDATE_FILE:
            line = tb.tb_lineno
        tb = tb.tb_next
    return line if type(line) is int else 0


def _exit_code(error: SystemExit) -> int:
    code = error.code
    return code if type(code) is int and abs(code) < 1 << 31 else int(code is not None)


def _receive() -> tuple[int, int, bytes]:
    kind, id_, length = codec.unpack_header(_read(codec.HEADER_BYTES))
    return kind, id_, _read(length)


def _read(size: int) -> bytes:
    data = b""
    while len(data) < size:
        try:
            more = posix.read(CHANNEL, min(size - len(data), 1 << 20))
        except OSError:
            more = b""
        if not more:
            posix._exit(CHANNEL_FAILED)
        data += more
    return data


def _send(kind: int, id_: int, body: bytes) -> None:
    data = memoryview(codec.pack_header(kind, id_, len(body)) + body)
    while data:
        try:
            data = data[posix.write(CHANNEL, data) :]
        except OSError:
            posix._exit(CHANNEL_FAILED)
