"""Run the tests of one request in the process that was forked for it, with some files of the project replaced.

The process that keeps collected tests (``collected.py``) uses functions of this module, too.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any, NoReturn

from .messages import CollectRequest, RunRequest
from .reports import Reports

EXIT_BROKEN = 70
"""The exit code of a child if this package or the test framework fails (EX_SOFTWARE of sysexits.h)."""


def runner_of(framework: str) -> Callable[[CollectRequest, Reports], int]:
    """Return the function that runs a request with ``framework``: "pytest", "unittest" or "script". It returns an exit code."""
    run: Callable[[CollectRequest, Reports], int] = importlib.import_module(f".with_{framework}", __package__).run
    return run


def run_in_child(request: RunRequest, writing: int, channel: int) -> NoReturn:
    """Run the tests of a request in this process, which was just forked, and end the process.

    Reports are written to the descriptor ``writing``. The server's own ``channel`` is closed, so that tests cannot write to it.
    """
    os.setpgid(0, 0)  # a process group of its own, so that the server can kill all that the tests start
    os.close(channel)
    report = os.dup(writing)
    os.close(writing)
    limit_processor_time(int(request["wall_s"]) + 2)
    output = redirect_output(kept=request["facts"])
    reports = Reports(report, request)
    if not request["on_disk"]:
        replace_in_memory(request["files"])
    try:
        status = runner_of(request["framework"])(request, reports)
    except BaseException as error:
        reports.broken(error)
        os._exit(EXIT_BROKEN)
    flush_output()
    reports.finish(status, output)
    os._exit(0)


def replaced_on_disk(files: Mapping[str, str]) -> Callable[[], None]:
    """Write texts to existing files, and return a function that restores their content."""
    originals = {}
    for path, text in files.items():
        with open(path, "rb") as file:
            originals[path] = file.read()
        _write_newer(path, text.encode("utf-8", "surrogateescape"))

    def restore() -> None:
        for path, data in originals.items():
            _write_newer(path, data)

    return restore


def _write_newer(path: str, data: bytes) -> None:
    """Write a file and set its time at least a second later than before.

    Python uses cached bytecode if the file has the same size and the same time in whole seconds as when the bytecode was made.
    Several versions may be written within one second.
    """
    newer = os.stat(path).st_mtime_ns // 10**9 + 1
    with open(path, "wb") as file:
        file.write(data)
    os.utime(path, (newer, newer))


def replace_in_memory(files: Mapping[str, str]) -> None:
    """Let imports read these texts instead of the files on the disk. This lasts until the process ends.

    ``SourceFileLoader.get_data`` reads a source file. ``path_stats`` returns the time of the file, by which cached bytecode is
    recognised. If it raises OSError, Python compiles the text and neither reads nor writes bytecode.
    """
    loader: Any = importlib.machinery.SourceFileLoader
    original_get_data, original_path_stats = loader.get_data, loader.path_stats
    contents = {os.path.realpath(path): text.encode("utf-8", "surrogateescape") for path, text in files.items()}

    def get_data(self: Any, path: str) -> Any:
        data = contents.get(os.path.realpath(path))
        return original_get_data(self, path) if data is None else data

    def path_stats(self: Any, path: str) -> Any:
        if os.path.realpath(path) in contents:
            raise OSError("this file is replaced in memory")
        return original_path_stats(self, path)

    loader.get_data, loader.path_stats = get_data, path_stats


def limit_processor_time(seconds: int) -> None:
    """Have the kernel kill this process after ``seconds`` of processor time, or sooner if a lower limit is in force already."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard != resource.RLIM_INFINITY:
        seconds = min(seconds, hard - 1)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def redirect_output(*, kept: bool) -> IO[bytes] | None:
    """Redirect stdout and stderr to a temporary file and return it. Unless ``kept``, discard them and return None."""
    output: IO[bytes] = tempfile.TemporaryFile() if kept else open(os.devnull, "wb")  # noqa: SIM115
    for fd in (1, 2):
        os.dup2(output.fileno(), fd)
    return output if kept else None


def flush_output() -> None:
    """Flush stdout and stderr, because ``os._exit`` does not. Errors are ignored: tests may have replaced or closed them."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
