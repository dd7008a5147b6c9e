"""Run the tests of one request in a process of their own, with some files of the project replaced."""

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

from .reports import Reports


def runner_of(framework: str) -> Callable[[Mapping[str, Any], Reports], int]:
    """Return the function that runs tests with "pytest" or "unittest", or runs a "script"."""
    run: Callable[[Mapping[str, Any], Reports], int] = importlib.import_module(f".with_{framework}", __package__).run
    return run


def run_in_child(request: dict[str, Any], writing: int, channel: int) -> NoReturn:
    """Run the tests of a request in this process, which has just been forked, and report on descriptor ``writing``."""
    os.setpgid(0, 0)
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
        os._exit(70)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    reports.finish(status, output)
    os._exit(0)


def replaced_on_disk(files: Mapping[str, str]) -> Callable[[], None]:
    """Write ``files``, and return a function that restores what was there before. No two versions have the same time."""
    before = {}
    for path, text in files.items():
        with open(path, "rb") as file:
            before[path] = file.read()
        _write_newer(path, text.encode("utf-8", "surrogateescape"))

    def restore() -> None:
        for path, data in before.items():
            _write_newer(path, data)

    return restore


def _write_newer(path: str, data: bytes) -> None:
    newer = os.stat(path).st_mtime_ns // 10**9 + 1
    with open(path, "wb") as file:
        file.write(data)
    os.utime(path, (newer, newer))


def replace_in_memory(files: Mapping[str, str]) -> None:
    """Have imports read ``files`` instead of what is on the disk, and keep no bytecode of them."""
    loader: Any = importlib.machinery.SourceFileLoader
    data, stats = loader.get_data, loader.path_stats
    texts = {os.path.realpath(path): text.encode("utf-8", "surrogateescape") for path, text in files.items()}

    def get_data(self: Any, path: str) -> Any:
        text = texts.get(os.path.realpath(path))
        return data(self, path) if text is None else text

    def path_stats(self: Any, path: str) -> Any:
        if os.path.realpath(path) in texts:
            raise OSError("this file is replaced in memory")
        return stats(self, path)

    loader.get_data, loader.path_stats = get_data, path_stats


def limit_processor_time(seconds: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard != resource.RLIM_INFINITY:
        seconds = min(seconds, hard - 1)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def redirect_output(*, kept: bool) -> IO[bytes] | None:
    """Send the output of this process to a file, which is returned, or to nowhere."""
    output: IO[bytes] = tempfile.TemporaryFile() if kept else open(os.devnull, "wb")  # noqa: SIM115
    for fd in (1, 2):
        os.dup2(output.fileno(), fd)
    return output if kept else None
