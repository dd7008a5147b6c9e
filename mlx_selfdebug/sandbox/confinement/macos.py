"""Confine processes on macOS.

There are two kinds of sandbox. In one, a zygote, which is an interpreter with everything loaded, forks a child for each test run.
In the other, a keeper starts a command and watches over it as its parent. This module needs only the standard library and can be
imported on any system.

    confinement = confine_zygote(Plan(layout, keep_fds=(0, 1, 2, control)))   # once, before anything untrusted is read
    if not os.fork():
        ...                                                                   # set limits
        confinement.apply()
        run_untrusted_code()

For a zygote, the sandbox is in force before this module runs (see ``seatbelt.py``). The module tries it out, so that a profile that
denies too little or too much is noticed before a candidate runs. A layer that failed its trial is not in ``layers``, and
``details`` says why.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from mlx_selfdebug.machine.darwin import footprint
from mlx_selfdebug.sandbox.confinement.layout import Plan
from mlx_selfdebug.sandbox.confinement.reach import Reach
from mlx_selfdebug.sandbox.confinement.seatbelt_command import command_line

__all__ = ["COMMAND_LAYERS", "LAYERS", "ChildConfinement", "CommandConfinement", "confine_zygote", "footprint"]

LAYERS: tuple[str, ...] = ("seatbelt", "process_limit", "footprint")
"""The layers of macOS.

``seatbelt`` is the sandbox profile. With ``process_limit``, a child can start no process. With ``footprint``, the zygote can
measure the memory of its children and end them.
"""

COMMAND_LAYERS: tuple[str, ...] = ("seatbelt",)
"""The layers of a command on macOS."""
_MAX_OPEN_FILES = 1 << 16
"""If the open descriptors cannot be listed, all below this number (or below the process's limit, if that is lower) are closed."""
_REFUSED, _FORKED, _NO_LIMIT = b"r", b"f", b"n"
"""What a child on trial reports: it was refused a process of its own, it could fork one, or its limit could not be set."""


class ChildConfinement:
    """The confinement that is in force for a zygote and each of its children.

    ``layers`` names the layers in force, and ``details`` describes each of ``LAYERS`` in a few words.
    """

    def __init__(self, details: dict[str, str], layers: tuple[str, ...]) -> None:
        self.details = details
        self.layers = layers

    @property
    def keep_fds(self) -> tuple[int, ...]:
        """The descriptors that ``apply`` needs: none on macOS."""
        return ()

    def apply(self) -> None:
        """Confine the forked child. Call this after its limits are set and before any untrusted code runs.

        From here on the child can start threads but no process. Raises OSError or ValueError if the limit cannot be set.
        """
        if "process_limit" in self.layers:
            _forbid_processes()


class CommandConfinement:
    """The confinement of a command, which is in force from the command's first instruction.

    It has the methods of ``linux.CommandConfinement``, some of which have nothing to do here, since the keeper, which starts the
    command, is not confined. The probes find out what the sandbox denies (see ``command_probes.py``).
    """

    def __init__(self, reach: Reach, without: frozenset[str] = frozenset()) -> None:
        self._reach = reach
        self._left_out = "seatbelt" in without
        self.details: dict[str, str] = {}

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers that the command line puts in force. There are none before ``confine`` is called."""
        return COMMAND_LAYERS if self.details and not self._left_out else ()

    @property
    def counts_own_processes(self) -> bool:
        """Whether RLIMIT_NPROC counts only the command's own processes.

        This is always False on macOS, where it counts all processes of the user.
        """
        return False

    def separate(self) -> None:
        """Do nothing, since on macOS the keeper has no layers."""

    def confine(self) -> None:
        """Note the layer in ``details``. The command line puts it in force when the child executes it."""
        self.details["seatbelt"] = "absent: left out" if self._left_out else "by the profile of the command line"

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command line that the child executes, which applies the profile and then becomes ``argv``."""
        if self._left_out:
            return list(argv)
        reach = self._reach
        writable = [*(folder.place for folder in reach.writable), reach.temporary]
        readable = [os.path.realpath(path) for path in reach.readable]
        programs = [os.path.realpath(path) for path in reach.programs]
        return command_line(
            reach.layout, argv, readable=readable, programs=programs, writable=writable, network=reach.network
        )


def confine_zygote(plan: Plan) -> ChildConfinement:
    """Close all descriptors but ``plan.keep_fds``, try out every layer, and return what is in force.

    This process must have one thread. No error is raised for a layer that fails its trial.
    """
    if not _on_macos():
        return ChildConfinement(dict.fromkeys(LAYERS, "absent: not macOS"), ())
    _close_all_but(plan.keep_fds)
    trial = _try_child()
    findings = {
        "seatbelt": _examine_seatbelt(),
        "process_limit": _examine_process_limit(trial),
        "footprint": _examine_footprint(trial),
        **dict.fromkeys(plan.without, _absent("left out")),
    }
    details = {name: findings[name].detail for name in LAYERS}
    return ChildConfinement(details, tuple(name for name in LAYERS if findings[name].in_force))


@dataclass(frozen=True)
class _Finding:
    """The result of trying out a layer."""

    in_force: bool
    detail: str
    """What was seen, in a few words. They begin with "absent: " if the layer is not in force."""


def _absent(reason: str) -> _Finding:
    return _Finding(False, f"absent: {reason}")


def _on_macos() -> bool:
    # A function, so that tests can replace it and go through the trials on other systems.
    return sys.platform == "darwin"


def _close_all_but(keep: tuple[int, ...]) -> None:
    """Close every descriptor of this process except those in ``keep``."""
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
    except OSError:  # It was not open, or it was the descriptor that listed the folder, which is closed by now.
        return


def _examine_seatbelt() -> _Finding:
    """Return what the sandbox was seen to deny, or why it counts as absent.

    Each action is something that any unconfined program may do. The sandbox is in force if one was denied and none succeeded.
    """
    outcomes = {name: _is_denied(action) for name, action in _FORBIDDEN_ACTIONS.items()}
    possible = [name for name, was_denied in outcomes.items() if was_denied is False]
    if possible:
        return _absent(f"it was possible to {' and to '.join(possible)}")
    denied_names = [name for name, was_denied in outcomes.items() if was_denied]
    if not denied_names:
        return _absent("no action showed whether it is in force")
    return _Finding(True, f"denied: to {', to '.join(denied_names)}")


def _is_denied(action: Callable[[], None]) -> bool | None:
    """Try the action, and return whether it was denied, or None if it failed for another reason."""
    try:
        action()
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
    # This sends no packet, since connecting a datagram socket only stores the address.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", 9))


_FORBIDDEN_ACTIONS: dict[str, Callable[[], None]] = {
    "list /Users": _list_users,
    "read /private/etc/hosts": _read_hosts,
    "connect a socket": _connect,
}


@dataclass(frozen=True)
class _Trial:
    """What was observed on a child that was started to try out the layers."""

    report: bytes
    """What the child reported: ``_REFUSED``, ``_FORKED``, ``_NO_LIMIT``, or nothing if it ended before."""
    ended: bool
    """Whether the zygote could end the child."""
    footprint_bytes: int
    """The memory of the child as the zygote measured it, or 0 if that failed."""


def _try_child() -> _Trial | _Finding:
    """Return what was observed on a child, or that the layers are absent because no child could be started."""
    try:
        return _observe_child()
    except OSError as error:
        return _absent(f"no child could be tried ({error.strerror or error})")


def _observe_child() -> _Trial:
    """Fork a child that tries to fork as well, measure its memory, and end it."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            pid = os.fork()
            if pid == 0:
                ours.close()
                _trial_child(theirs)
        report = ours.recv(1)
        measured = footprint(pid)
        ended = _end(pid)
    # If the child could not be ended, it ends itself now, because its channel is closed.
    os.waitpid(pid, 0)
    return _Trial(report, ended, measured)


def _end(pid: int) -> bool:
    """End a child, and return whether that was allowed."""
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return False
    return True


def _trial_child(channel: socket.socket) -> NoReturn:
    try:
        channel.send(_report_of_child())
        channel.recv(1)
    finally:
        os._exit(0)


def _report_of_child() -> bytes:
    """Forbid processes to this process, try to start one, and return the report of what happened."""
    try:
        _forbid_processes()
    except (OSError, ValueError):
        return _NO_LIMIT
    try:
        if os.fork() == 0:
            os._exit(0)
    except OSError:
        return _REFUSED
    return _FORKED


def _forbid_processes() -> None:
    """Let this process start no other process.

    XNU compares the limit with the number of the user's processes. There are at least two of them, this process and its parent. The
    limit does not count threads, and it does not hold for root.
    """
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))


def _examine_process_limit(trial: _Trial | _Finding) -> _Finding:
    if isinstance(trial, _Finding):
        return trial
    if os.getuid() == 0:
        return _absent("the limit does not hold for root")
    if trial.report == _REFUSED:
        return _Finding(True, "RLIMIT_NPROC 1")
    reasons = {_FORKED: "a child could start a process", _NO_LIMIT: "the limit of a child cannot be set"}
    return _absent(reasons.get(trial.report, "a child ended before it could be tried"))


def _examine_footprint(trial: _Trial | _Finding) -> _Finding:
    if isinstance(trial, _Finding):
        return trial
    if not trial.footprint_bytes:
        return _absent("the memory of a child cannot be read")
    if not trial.ended:
        return _absent("a child cannot be ended")
    return _Finding(True, f"a child holds {trial.footprint_bytes >> 20} MiB before it runs")
