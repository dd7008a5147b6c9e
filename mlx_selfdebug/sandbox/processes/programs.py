"""Run a source as a program that reads text from descriptor 0 and writes text to descriptor 1.

Both descriptors are pipes. One thread writes the input into its pipe, and another reads the output from the other pipe. So a
program that leaves its input unread does not hang, and a program that reads past its input gets the end of the file. What the
program writes to its standard error is discarded.

This module is loaded without the package around it (see ``candidate.py``), so it imports nothing of the package.
"""

from __future__ import annotations

import _io
import _thread
import posix
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any, NoReturn

CHUNK = 1 << 16
"""The maximum number of bytes that are read or written at a time."""


class ExitError(BaseException):
    """The error of a program that ends with an exit code other than 0. Records call it SystemExit."""


# A real SystemExit would be taken for an attempt to end the candidate's process.
ExitError.__name__ = ExitError.__qualname__ = "SystemExit"


class Program:
    """A program as a function that takes its standard input and returns its standard output.

    ``codes`` run one after the other in one module. ``flooded`` is called from another thread once the output is longer than
    ``max_bytes``.
    """

    def __init__(self, codes: tuple[CodeType, ...], file: str, max_bytes: int, flooded: Callable[[], NoReturn]) -> None:
        self._codes = codes
        self._file = file
        self._max_bytes = max_bytes
        self._flooded = flooded

    def __call__(self, stdin: str) -> str:
        """Run the program once. Raises ExitError if its exit code is not 0, and any exception that the program does not catch."""
        _connect_input(stdin.encode("utf-8", "surrogateescape"))
        output = _Output(self._max_bytes, self._flooded)
        try:
            self._run()
        finally:
            data = output.end()
        return data.decode("utf-8", "surrogateescape")

    def _run(self) -> None:
        """Run the codes in a new module ``__main__``, and then what an interpreter runs at its end."""
        module = type(sys)("__main__")
        sys.modules["__main__"] = module
        sys.argv = [self._file]
        sys.stdin = sys.__stdin__ = _open(0, "r")  # type: ignore[misc]
        stdout = sys.stdout = sys.__stdout__ = _open(1, "w")  # type: ignore[misc]
        try:
            for code in self._codes:
                exec(code, module.__dict__)
        except SystemExit as error:
            if error.code not in (None, 0):
                raise ExitError(_exit_message(error.code)).with_traceback(error.__traceback__) from None
        finally:
            # What the interpreter does at its end. The program may have put another object in the place of sys.stdout.
            for step in (_join_threads, _run_at_exit, stdout.flush, lambda: sys.stdout.flush()):
                _run_quietly(step)


def _open(fd: int, mode: str) -> Any:
    return _io.open(fd, mode, encoding="utf-8", errors="surrogateescape", closefd=False)


def _exit_message(code: object) -> str:
    """Return the message for an exit code as ``sys.exit`` takes it: a number, or something to print before exiting with 1."""
    if isinstance(code, int):
        return f"exit code {int(code)}"
    return f"exit code 1: {code}" if type(code) is str else "exit code 1"


def _join_threads() -> None:
    threading = sys.modules.get("threading")
    if threading is None:
        return
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()


def _run_at_exit() -> None:
    atexit = sys.modules.get("atexit")
    if atexit is not None:
        atexit._run_exitfuncs()


def _run_quietly(step: Callable[[], Any]) -> None:
    """Run ``step`` and ignore its errors, since the program may have closed, replaced or broken what the step needs."""
    try:
        step()
    except BaseException:
        return


def _connect_input(data: bytes) -> None:
    """Make descriptor 0 a pipe from which ``data`` can be read."""
    reading, writing = posix.pipe()
    posix.dup2(reading, 0)
    posix.close(reading)
    _thread.start_new_thread(_feed, (writing, data))


def _feed(fd: int, data: bytes) -> None:
    """Write ``data`` into the pipe and close it. This runs in a thread of its own."""
    view = memoryview(data)
    try:
        while view:
            view = view[posix.write(fd, view[:CHUNK]) :]
        posix.close(fd)
    except OSError:  # the program has closed its input
        _close(fd)


def _close(fd: int) -> None:
    _run_quietly(lambda: posix.close(fd))


class _Output:
    """A collector of what is written to descriptor 1, which is a pipe to it until ``end`` is called."""

    def __init__(self, max_bytes: int, flooded: Callable[[], NoReturn]) -> None:
        self._max_bytes = max_bytes
        self._flooded = flooded
        self._chunks: list[bytes] = []
        # Descriptor 1 is the null device. It is copied, since it cannot be opened again where opening files is forbidden.
        self._null = posix.dup(1)
        self._reading, writing = posix.pipe()
        self._waiting, self._waking = posix.pipe()  # a byte in this pipe ends the collecting
        posix.dup2(writing, 1)
        posix.close(writing)
        self._ended = _thread.allocate_lock()
        self._ended.acquire()
        _thread.start_new_thread(self._collect, ())

    def _collect(self) -> None:
        try:
            self._collect_all()
        except OSError:  # the program has closed a descriptor that is not its own
            return
        finally:
            self._ended.release()

    def _collect_all(self) -> None:
        """Read the output until its pipe is closed, or until nothing is left in it and a byte wakes this thread."""
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        poll.register(self._waiting, select.POLLIN)
        size = 0
        while any(fd == self._reading for fd, _ in poll.poll()):
            data = posix.read(self._reading, CHUNK)
            if not data:
                return
            self._chunks.append(data)
            size += len(data)
            if size > self._max_bytes:
                self._flooded()

    def end(self) -> bytes:
        """Stop collecting, and return what was written.

        Descriptors 0 and 1 become the null device again: later output is discarded, and later input is empty.
        """
        for fd in (1, 0):
            _run_quietly(lambda fd=fd: posix.dup2(self._null, fd))  # type: ignore[misc]
        _run_quietly(lambda: posix.write(self._waking, b"."))
        self._ended.acquire()
        for fd in (self._reading, self._waiting, self._waking, self._null):
            _close(fd)
        return b"".join(self._chunks)
