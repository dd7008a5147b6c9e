"""Decide which system calls are denied to a confined command, in one seccomp filter.

A command is a program with processes, threads, pipes and files of its own. So it may do much that a candidate may not (see
``policy.py``): it may fork, start its interpreter, write, change modes, and signal the processes that it started. A call that
honest test suites make now and then, such as ``socket``, fails with an error, so that one test fails and not the whole suite. A
call that only an attack makes ends the process.

A filter sees no paths. The namespaces and Landlock have to ensure that nothing outside is written, executed or signalled.
"""

from __future__ import annotations

import errno

from mlx_selfdebug.sandbox.confinement.bpf import (
    ALLOW,
    ANY_BIT,
    EQUAL,
    KILL,
    Code,
    argument,
    branch,
    masked,
    one_of,
    refuse,
    select,
    verdict,
)
from mlx_selfdebug.sandbox.confinement.policy import (
    AF_NETLINK,
    AF_UNIX,
    IOCTLS,
    KILLED,
    NEW_NAMESPACES,
    PRCTLS,
    REFUSED,
    SIGNAL_FCNTLS,
    SOCKET_TYPE,
    by_number,
    complete_filter,
    if_new_limit,
    same_action,
    stream_pair,
)
from mlx_selfdebug.sandbox.confinement.syscalls import Machine

# The names of calls in each table are separated by spaces.
COMMAND_ALLOWED = (
    "execve chown fchown lchown fchownat utime utimes futimesat utimensat setxattr lsetxattr fsetxattr removexattr lremovexattr "
    "fremovexattr truncate mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat"
)
"""Calls that a candidate may not make and a command may."""
COMMAND_NETWORK = "connect bind listen accept accept4"
"""Calls that are allowed with a network and refused without one."""
COMMAND_REFUSED = {
    # Libraries try these calls, and do without them if the kernel seems not to have them.
    errno.ENOSYS: f"io_uring_setup io_uring_enter io_uring_register io_setup userfaultfd {KILLED['messages']} "
    "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch",
    # Without a path, execveat starts a program that lies in memory.
    errno.EPERM: "execveat keyctl add_key request_key perf_event_open personality name_to_handle_at kcmp process_madvise "
    "fanotify_init fanotify_mark seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self",
}
_AF_INET, _AF_INET6, _SOCK_RAW = 2, 10, 3
_CREATING = 0o100 | 0o20000000
"""O_CREAT and the bit of O_TMPFILE. Without one of them, ``open`` takes no mode, and its last argument means nothing."""
_SET_ID_BITS = 0o6000
"""The bits of a mode that make a program run with the rights of its file's owner or group."""
_FILE_TYPE = 0o170000
_PIPE, _REGULAR = 0o010000, 0o100000
_COMMAND_PRCTLS = (*PRCTLS, 1, 29, 36, 37, 38, 0x53564D41)
"""Allowed options of ``prctl``.

Those that a candidate may not use set the death signal (1), the timer slack (29), no_new_privs (38) and the names of mappings
(0x53564D41), and set and read whether the process adopts orphans (36 and 37).
"""
_SCHEDULING = ("sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr")


def command_filter(machine: Machine, *, network: bool) -> bytes:
    """Return the filter of a confined command. With ``network``, internet and local sockets may be used."""
    # A later rule replaces an earlier one for the same call.
    rules = same_action(machine, KILL, *KILLED.values())
    for table in (REFUSED, COMMAND_REFUSED):
        for error, names in table.items():
            rules |= same_action(machine, refuse(error), names)
    rules |= same_action(machine, ALLOW, COMMAND_ALLOWED)
    rules |= same_action(machine, ALLOW if network else refuse(errno.EACCES), COMMAND_NETWORK)
    rules |= by_number(machine, _arguments(network))
    return complete_filter(machine, select(rules, verdict(ALLOW)))


def _arguments(network: bool) -> dict[str, Code]:
    """Return the rules for calls that are judged by their arguments, keyed by the name of the call."""
    allow, refused = verdict(ALLOW), verdict(refuse(errno.EPERM))
    only_self = branch(EQUAL, 0, allow, refused)
    return {
        **_modes(),
        "clone": argument(0, branch(ANY_BIT, NEW_NAMESPACES, verdict(KILL), allow)),
        "socket": _sockets(network),
        "socketpair": stream_pair(verdict(refuse(errno.EACCES))),
        "ioctl": argument(1, one_of(IOCTLS, allow, verdict(refuse(errno.ENOTTY)))),
        "fcntl": argument(1, one_of(SIGNAL_FCNTLS, refused, allow)),
        "prctl": argument(0, one_of(_COMMAND_PRCTLS, allow, refused)),
        # The keeper has the same user as the command, so a process may change priorities and limits for itself only.
        "prlimit64": if_new_limit(argument(0, only_self)),
        "setpriority": argument(0, branch(EQUAL, 0, argument(1, only_self), refused)),
        "ioprio_set": argument(0, branch(EQUAL, 1, argument(1, only_self), refused)),
        **{name: argument(0, only_self) for name in _SCHEDULING},
    }


def _modes() -> dict[str, Code]:
    """Return the rules for calls that set a file's mode.

    They refuse the bits by which a file gives its owner's rights to whoever executes it: the files of a scratch copy lie on the
    disk of the outside, where another user might find such a file. Of special files, only named pipes can be made.
    """
    allow, refused = verdict(ALLOW), verdict(refuse(errno.EPERM))
    no_set_id = branch(ANY_BIT, _SET_ID_BITS, refused, allow)
    # A type of zero means a regular file as well.
    files_and_pipes = masked(_FILE_TYPE | _SET_ID_BITS, one_of((0, _PIPE, _REGULAR), allow, refused))
    return {
        "chmod": argument(1, no_set_id),
        "fchmod": argument(1, no_set_id),
        "fchmodat": argument(2, no_set_id),
        "fchmodat2": argument(2, no_set_id),
        "creat": argument(1, no_set_id),
        "open": argument(1, branch(ANY_BIT, _CREATING, argument(2, no_set_id), allow)),
        "openat": argument(2, branch(ANY_BIT, _CREATING, argument(3, no_set_id), allow)),
        "mknod": argument(1, files_and_pipes),
        "mknodat": argument(2, files_and_pipes),
    }


def _sockets(network: bool) -> Code:
    """Return code for ``socket``: with a network it allows local and internet sockets, except raw ones, and netlink."""
    refused = verdict(refuse(errno.EACCES))
    if not network:
        return refused
    not_raw = argument(1, masked(SOCKET_TYPE, branch(EQUAL, _SOCK_RAW, refused, verdict(ALLOW))))
    netlink = branch(EQUAL, AF_NETLINK, verdict(ALLOW), refused)
    return argument(0, one_of((AF_UNIX, _AF_INET, _AF_INET6), not_raw, netlink))
