"""Run the tests of one request in the process that was forked for it, with some files of the project replaced.

The parts of this are also used by the process that keeps collected tests (``collected.py``).
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
"""The exit code of a process in which this package or the test framework has failed (EX_SOFTWARE of sysexits.h)."""


def runner_of(framework: str) -> Callable[[CollectRequest, Reports], int]:
    """Return the function that runs tests with "pytest" or "unittest", or runs a "script". It returns an exit code."""
    run: Callable[[CollectRequest, Reports], int] = importlib.import_module(f".with_{framework}", __package__).run
    return run


def run_in_child(request: RunRequest, writing: int, channel: int) -> NoReturn:
    """Run the tests of a request in this process, which has just been forked, then end the process.

    The reports are written to descriptor ``writing``. The server's own ``channel`` is closed, so that tests cannot write to it.
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
    """Write texts to files that exist, and return a function that restores what was in them before."""
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
    """Write a file so that its time differs from that of the version before.

    Python takes cached bytecode for that of a file if the file has the same size and the same time in whole seconds. Several
    versions may be written within one second.
    """
    newer = os.stat(path).st_mtime_ns // 10**9 + 1
    with open(path, "wb") as file:
        file.write(data)
    os.utime(path, (newer, newer))


def replace_in_memory(files: Mapping[str, str]) -> None:
    """Let imports read these texts instead of the files on the disk. This lasts until the process ends.

    ``SourceFileLoader.get_data`` reads a source file. ``path_stats`` is asked for its time, to find cached bytecode: where it
    raises OSError, Python compiles the text and neither reads nor writes bytecode.
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
    """Let the kernel end this process after so many seconds of processor time, or sooner if a limit is in force already."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard != resource.RLIM_INFINITY:
        seconds = min(seconds, hard - 1)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def redirect_output(*, kept: bool) -> IO[bytes] | None:
    """Send what this process prints to a temporary file, which is returned, or to nowhere if it is not ``kept``."""
    output: IO[bytes] = tempfile.TemporaryFile() if kept else open(os.devnull, "wb")  # noqa: SIM115
    for fd in (1, 2):
        os.dup2(output.fileno(), fd)
    return output if kept else None


def flush_output() -> None:
    """Write out what is buffered: ``os._exit`` would drop it. Tests may have replaced or closed the streams."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
