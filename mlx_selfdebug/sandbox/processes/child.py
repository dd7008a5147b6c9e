"""The candidate's process: sets its own limits, then serves. Never imported.

Its compiled code comes over the channel (see ``process.py``), together with the codec's; it imports nothing of the package.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal itself would import enum
import posix
import resource
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from mlx_selfdebug.sandbox.processes import answers
    from mlx_selfdebug.sandbox.wire import codec
else:
    import _selfdebug_answers as answers
    import _selfdebug_codec as codec

CHANNEL = 3
MAX_OPEN_FILES = 64


def main(folder: str, lifetime_s: int, cpu_s: int, memory_bytes: int, output_bytes: int) -> NoReturn:
    """Descriptor 0 is the channel. Never returns."""
    _detach(folder)
    _signal.alarm(lifetime_s)  # should the runner be killed, a sleeping candidate must not stay
    _set_limits(cpu_s, memory_bytes)
    posix.write(CHANNEL, codec.pack_header(codec.READY, 0, 0))
    answers.serve(CHANNEL, output_bytes)


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
