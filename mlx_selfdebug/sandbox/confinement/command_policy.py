"""Decide which system calls are denied to a confined command, in one seccomp filter.

A command is a program with processes, threads, pipes and files of its own, so it may do much that a candidate may not (see
``policy.py``): fork, start its interpreter, write, change modes and signal what it started. What honest test suites try now and
then, such as a socket, is refused with an error, so that one test fails and not the whole suite. What only an attack tries ends the
process.

A filter sees no paths. That nothing outside is written, executed or signalled is up to the namespaces and Landlock.
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
    if_new_limit,
    numbered,
    stream_pair,
    whole,
    words,
)
from mlx_selfdebug.sandbox.confinement.syscalls import Machine

# The calls of each table are separated by spaces.
COMMAND_ALLOWED = (
    "execve chown fchown lchown fchownat utime utimes futimesat utimensat setxattr lsetxattr fsetxattr removexattr lremovexattr "
    "fremovexattr truncate mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat"
)
"""Calls that a candidate may not make and a command may."""
COMMAND_NETWORK = "connect bind listen accept accept4"
"""Calls that are allowed with a network and refused without one."""
COMMAND_REFUSED = {
    # Libraries try these calls and do without them if the kernel does not have them.
    errno.ENOSYS: f"io_uring_setup io_uring_enter io_uring_register io_setup userfaultfd {KILLED['messages']} "
    "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch",
    # Without a path, execveat starts a program that lies in memory.
    errno.EPERM: "execveat keyctl add_key request_key perf_event_open personality name_to_handle_at kcmp process_madvise "
    "fanotify_init fanotify_mark seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self",
}
_INET, _INET6 = 2, 10
_RAW, _TYPE_MASK = 3, 0xF
_CREATES = 0o100 | 0o20000000  # O_CREAT and the bit of O_TMPFILE: without these, open has no mode
_SPECIAL_MODES = 0o6000
_KINDS = 0o170000
_PIPE, _REGULAR = 0o010000, 0o100000
# Beyond those of a candidate: the death signal, no_new_privs, adopting orphans, timer slack, names of mappings.
_COMMAND_PRCTLS = (*PRCTLS, 1, 29, 36, 37, 38, 0x53564D41)


def command_filter(machine: Machine, *, network: bool) -> bytes:
    """Return the filter of a confined command. With ``network``, internet and local sockets may be used."""
    rules = words(machine, KILL, *KILLED.values())
    for table in (REFUSED, COMMAND_REFUSED):
        for error, names in table.items():
            rules |= words(machine, refuse(error), names)
    rules |= words(machine, ALLOW, COMMAND_ALLOWED)
    rules |= words(machine, ALLOW if network else refuse(errno.EACCES), COMMAND_NETWORK)
    rules |= numbered(machine, _arguments(network))
    return whole(machine, select(rules, verdict(ALLOW)))


def _arguments(network: bool) -> dict[str, Code]:
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
        # What watches over the command has the same user, so a process may change priorities and limits for itself only.
        "prlimit64": if_new_limit(argument(0, only_self)),
        "setpriority": argument(0, branch(EQUAL, 0, argument(1, only_self), refused)),
        "ioprio_set": argument(0, branch(EQUAL, 1, argument(1, only_self), refused)),
        **{name: argument(0, only_self) for name in _SCHEDULING},
    }


_SCHEDULING = ("sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr")


def _modes() -> dict[str, Code]:
    """Return the rules for calls that set a file's mode.

    They refuse the bits by which a file gives its owner's rights to whoever executes it: the files of a scratch copy lie on the
    disk of the outside, where another user might find such a file.
    """
    allow, refused = verdict(ALLOW), verdict(refuse(errno.EPERM))
    plain = branch(ANY_BIT, _SPECIAL_MODES, refused, allow)
    kinds = masked(_KINDS | _SPECIAL_MODES, one_of((0, _PIPE, _REGULAR), allow, refused))
    return {
        "chmod": argument(1, plain),
        "fchmod": argument(1, plain),
        "fchmodat": argument(2, plain),
        "fchmodat2": argument(2, plain),
        "creat": argument(1, plain),
        "open": argument(1, branch(ANY_BIT, _CREATES, argument(2, plain), allow)),
        "openat": argument(2, branch(ANY_BIT, _CREATES, argument(3, plain), allow)),
        "mknod": argument(1, kinds),
        "mknodat": argument(2, kinds),
    }


def _sockets(network: bool) -> Code:
    refused = verdict(refuse(errno.EACCES))
    if not network:
        return refused
    not_raw = argument(1, masked(_TYPE_MASK, branch(EQUAL, _RAW, refused, verdict(ALLOW))))
    return argument(0, one_of((AF_UNIX, _INET, _INET6), not_raw, branch(EQUAL, AF_NETLINK, verdict(ALLOW), refused)))
