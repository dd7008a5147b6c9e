"""Confines a zygote and what it forks on macOS. Standard library and ctypes alone; imports anywhere, confines on macOS only.

    confinement = confine_zygote(Plan(layout, keep_fds=(0, 1, 2, control)))   # once, before anything untrusted is read
    if not os.fork():
        ...                                                                   # set limits
        confinement.apply()
        run_untrusted_code()

The sandbox is in force before this runs (see ``seatbelt.py``); here it is tried out, so that a profile that denies too little
or too much is seen before a candidate runs. A layer that did not stand the trial is not in ``layers``; ``details`` says why.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from mlx_selfdebug.machine.darwin import address_space_limit, footprint, limit_address_space
from mlx_selfdebug.sandbox.confinement.layout import Layout
from mlx_selfdebug.sandbox.confinement.memory_watch import MemoryWatch

__all__ = [
    "LAYERS",
    "ChildConfinement",
    "MemoryWatch",
    "Plan",
    "address_space_limit",
    "confine_zygote",
    "footprint",
    "limit_address_space",
]

LAYERS: tuple[str, ...] = ("seatbelt", "process_limit", "footprint")
"""The profile; no process may start another; the memory of children can be polled and the children ended."""

_MAX_OPEN_FILES = 1 << 16
_REFUSED, _FORKED = b"r", b"f"


@dataclass(frozen=True)
class Plan:
    """``keep_fds`` stay open in the zygote and no others, 0 to 2 included. ``without`` names layers to leave out, for tests."""

    layout: Layout
    keep_fds: tuple[int, ...]
    without: frozenset[str] = frozenset()


class ChildConfinement:
    """What is in force for the zygote and every child of it: ``layers``, and in ``details`` a few words on each of ``LAYERS``."""

    def __init__(self, details: dict[str, str], layers: tuple[str, ...]) -> None:
        self.details = details
        self.layers = layers

    @property
    def keep_fds(self) -> tuple[int, ...]:
        """Descriptors ``apply`` needs; none on macOS."""
        return ()

    def apply(self) -> None:
        """In the forked child, after its limits are set and before untrusted code: from here on it starts no process, though
        threads. OSError or ValueError if the limit cannot be set.
        """
        if "process_limit" in self.layers:
            _forbid_processes()


def confine_zygote(plan: Plan) -> ChildConfinement:
    """Close what is open and try out every layer, in this process, which must have one thread. Never raises for what fails."""
    if not _on_macos():
        return ChildConfinement(dict.fromkeys(LAYERS, "absent: not macOS"), ())
    _close_all_but(plan.keep_fds)
    trial = _try_child()
    findings = {"seatbelt": _seatbelt(), "process_limit": _process_limit(trial), "footprint": _footprint(trial)}
    findings |= dict.fromkeys(plan.without, "absent: left out")
    layers = tuple(name for name in LAYERS if not findings[name].startswith("absent"))
    return ChildConfinement({name: findings[name] for name in LAYERS}, layers)


def _on_macos() -> bool:
    return sys.platform == "darwin"


def _close_all_but(keep: tuple[int, ...]) -> None:
    try:
        opened = [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        opened = list(range(min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], _MAX_OPEN_FILES)))
    for fd in opened:
        if fd not in keep:
            _close(fd)


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:  # the one that listed the folder
        return


def _seatbelt() -> str:
    """In force if something that any unconfined program may do was denied, and nothing of it was done."""
    outcomes = {name: _denied(attempt) for name, attempt in _ATTEMPTS.items()}
    done = [name for name, denied in outcomes.items() if denied is False]
    if done:
        return f"absent: it was possible to {' and to '.join(done)}"
    denied = [name for name, was_denied in outcomes.items() if was_denied]
    return f"denied: to {', to '.join(denied)}" if denied else "absent: no attempt told whether it is in force"


def _denied(attempt: Callable[[], None]) -> bool | None:
    """None where the attempt failed for a reason of its own."""
    try:
        attempt()
    except PermissionError:
        return True
    except OSError:
        return None
    return False


def _list_users() -> None:
    os.listdir("/Users")


def _read_hosts() -> None:
    os.close(os.open("/private/etc/hosts", os.O_RDONLY))


def _connect() -> None:
    # Without a packet: a datagram socket only notes the address.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", 9))


_ATTEMPTS: dict[str, Callable[[], None]] = {
    "list /Users": _list_users,
    "read /private/etc/hosts": _read_hosts,
    "connect a socket": _connect,
}


@dataclass(frozen=True)
class _Trial:
    """What a child was seen to do: ``refused`` a process of its own, ``ended`` by its zygote, ``footprint_bytes`` measured."""

    refused: bool
    ended: bool
    footprint_bytes: int


def _try_child() -> _Trial | str:
    """The reason in words if not even a child can be had."""
    try:
        return _observe_child()
    except OSError as error:
        return f"absent: no child could be tried ({error.strerror or error})"


def _observe_child() -> _Trial:
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _trial_child(theirs)
    theirs.close()
    with ours:
        refused = ours.recv(1) == _REFUSED
        measured = footprint(pid)
        ended = _denied(lambda: os.kill(pid, signal.SIGKILL)) is False
    # Were it not ended, it would end itself now that its channel is closed.
    os.waitpid(pid, 0)
    return _Trial(refused, ended, measured)


def _trial_child(channel: socket.socket) -> NoReturn:
    try:
        channel.send(_REFUSED if _refuses_processes() else _FORKED)
        channel.recv(1)
    finally:
        os._exit(0)


def _refuses_processes() -> bool:
    _forbid_processes()
    try:
        if os.fork() == 0:
            os._exit(0)
    except OSError:
        return True
    return False


def _forbid_processes() -> None:
    """XNU counts the processes of the user, of which there is at least one more, and not threads; root is not counted."""
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))


def _process_limit(trial: _Trial | str) -> str:
    if isinstance(trial, str):
        return trial
    if os.getuid() == 0:
        return "absent: the limit does not hold for root"
    return "RLIMIT_NPROC 1" if trial.refused else "absent: a child could start a process"


def _footprint(trial: _Trial | str) -> str:
    if isinstance(trial, str):
        return trial
    if not trial.footprint_bytes:
        return "absent: the memory of a child cannot be read"
    if not trial.ended:
        return "absent: a child cannot be ended"
    return f"a child holds {trial.footprint_bytes >> 20} MiB before it runs"
