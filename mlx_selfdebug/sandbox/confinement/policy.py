"""Decide which system calls are denied, in two seccomp filters: one for the zygote and all that it forks, one more for each child.

A denied call has one of two effects. A call that no honest program makes here ends the process ("killed"), so that the attempt is
noticed. A call that the C library or Python makes of its own accord, and can do without, fails with an error ("refused").
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from struct import pack

from mlx_selfdebug.sandbox.confinement.bpf import (
    ALLOW,
    ANY_BIT,
    ARCHITECTURE,
    AT_LEAST,
    EQUAL,
    KILL,
    LOAD,
    NUMBER,
    Code,
    argument,
    branch,
    choose,
    masked,
    one_of,
    program,
    refuse,
    select,
    verdict,
)
from mlx_selfdebug.sandbox.confinement.syscalls import FIRST_UNKNOWN, Machine

# The names of calls in the tables below are separated by spaces. KILLED and REFUSED hold for the zygote and its children, the
# other tables for children only.
KILLED = {
    "programs": "execve execveat",
    "other processes": "ptrace process_vm_readv process_vm_writev process_madvise process_mrelease pidfd_getfd kcmp",
    "namespaces and mounts": "unshare setns mount umount2 pivot_root chroot move_mount open_tree fsopen fsconfig fsmount fspick "
    "mount_setattr",
    "kernel": "bpf perf_event_open io_uring_setup io_uring_enter io_uring_register io_setup keyctl add_key request_key "
    "userfaultfd lookup_dcookie syslog acct quotactl quotactl_fd reboot swapon swapoff init_module finit_module "
    "delete_module create_module get_kernel_syms query_module kexec_load kexec_file_load sethostname setdomainname "
    "settimeofday clock_settime adjtimex clock_adjtime iopl ioperm modify_ldt vhangup uselib nfsservctl _sysctl sysfs "
    "personality memfd_secret",
    "messages": "shmget shmat shmctl shmdt semget semop semctl semtimedop msgget msgsnd msgrcv msgctl mq_open mq_unlink "
    "mq_timedsend mq_timedreceive mq_notify mq_getsetattr",
    "metadata": "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes futimesat utimensat setxattr "
    "lsetxattr fsetxattr removexattr lremovexattr fremovexattr mknod mknodat",
    "watching": "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_init fanotify_mark name_to_handle_at "
    "open_by_handle_at",
    "network": "connect bind listen accept accept4",
}
REFUSED = {
    # The flags of these calls lie in memory, which a filter cannot see. The C library falls back on older calls.
    errno.ENOSYS: "clone3 openat2",
    errno.EPERM: "memfd_create move_pages migrate_pages lsm_set_self_attr statmount listmount sync syncfs",
    errno.EACCES: "creat truncate mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat",
}
CHILD_KILLED = "fork vfork pidfd_send_signal"
CHILD_REFUSED = (
    "pidfd_open setsid setpgid setrlimit setpriority ioprio_set seccomp landlock_create_ruleset landlock_add_rule "
    "landlock_restrict_self"
)
# A child may make these calls only for itself, and not for another process.
CHILD_SELF_KILLED = "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo"
CHILD_SELF_REFUSED = "sched_setaffinity sched_setscheduler sched_setparam sched_setattr"

_X32 = 0x40000000
"""The bit of a call number that selects the x32 variant of x86-64, for which the numbers of the table do not hold."""
_CLONE_THREAD = 0x00010000
NEW_NAMESPACES = 0x7E020080
"""All flags of ``clone`` that ask for a namespace: of mounts, control groups, time, host name, IPC, users, processes, network."""
AF_UNIX, AF_NETLINK, _SOCK_STREAM = 1, 16, 1
SOCKET_TYPE = 0xF
"""The bits of a socket's type that hold the type itself. The others are flags such as close-on-exec."""
_O_TRUNC, _O_ACCMODE = 0o1000, 0o3
IOCTLS = (0x5401, 0x802C542A, 0x5413, 0x5450, 0x5451, 0x5421, 0x541B)
"""Allowed requests of ``ioctl``: terminal attributes (two forms) and size, close-on-exec off and on, blocking, bytes waiting.

Others could change files or direct signals.
"""
SIGNAL_FCNTLS = (8, 10, 15, 1026)
"""Refused commands of ``fcntl``: F_SETOWN, F_SETSIG and F_SETOWN_EX, which direct a descriptor's signal, and F_NOTIFY."""
PRCTLS = (15, 2, 3, 7, 16, 21, 23, 30, 39)
"""Allowed options of ``prctl``: PR_SET_NAME, and those that only read a setting.

These settings are, in the order of the numbers, the death signal, dumpable, keepcaps, the name, seccomp, the bounding set, timer
slack and no_new_privs.
"""
_OWN_PID = 0x7A7A7A7A
"""A number that stands for the process number of the child, which is known only after the fork. No process has this number."""


@dataclass(frozen=True)
class ChildFilter:
    """The filter of a child, without the child's process number."""

    code: bytes
    pid_offsets: tuple[int, ...]
    """The byte offsets in ``code`` at which the process number belongs, as 32 bits."""


def zygote_filter(machine: Machine) -> bytes:
    """Return the filter of the zygote, which still has to fork, pass on descriptors and end its children."""
    rules = same_action(machine, KILL, *KILLED.values())
    for error, names in REFUSED.items():
        rules |= same_action(machine, refuse(error), names)
    rules |= by_number(machine, _zygote_arguments())
    return complete_filter(machine, select(rules, verdict(ALLOW)))


def child_filter(machine: Machine) -> ChildFilter:
    """Return the filter that a child gets in addition to the zygote's.

    It lets the child start no process, signal only itself, and not change its limits.
    """
    rules = same_action(machine, KILL, CHILD_KILLED) | same_action(machine, refuse(errno.EPERM), CHILD_REFUSED)
    own = {name: _only_own_pid(KILL) for name in CHILD_SELF_KILLED.split()}
    own |= {name: _only_own_pid(refuse(errno.EPERM)) for name in CHILD_SELF_REFUSED.split()}
    rules |= by_number(machine, own | _child_arguments())
    code = complete_filter(machine, choose(rules, verdict(ALLOW)))
    return ChildFilter(code, _constant_offsets(code, _OWN_PID))


def _zygote_arguments() -> dict[str, Code]:
    """Return the rules of the zygote for calls that are judged by their arguments, keyed by the name of the call."""
    allow, kill = verdict(ALLOW), verdict(KILL)
    # Older versions of Landlock let a file that may only be read be emptied, by opening it for reading with O_TRUNC. The access
    # mode of reading is zero.
    no_truncation = masked(
        _O_TRUNC | _O_ACCMODE, branch(EQUAL, _O_TRUNC, verdict(refuse(errno.EACCES)), verdict(ALLOW))
    )
    return {
        "clone": argument(0, branch(ANY_BIT, NEW_NAMESPACES, kill, allow)),
        "open": argument(1, no_truncation),
        "openat": argument(2, no_truncation),
        # The C library tries to reach name services over these two kinds of socket, and can do without them.
        "socket": argument(0, one_of((AF_UNIX, AF_NETLINK), verdict(refuse(errno.EACCES)), kill)),
        "socketpair": stream_pair(kill),
        "ioctl": argument(1, one_of(IOCTLS, allow, verdict(refuse(errno.ENOTTY)))),
        "fcntl": argument(1, one_of(SIGNAL_FCNTLS, verdict(refuse(errno.EPERM)), allow)),
        "prlimit64": if_new_limit(argument(0, branch(EQUAL, 0, allow, kill))),
    }


def _child_arguments() -> dict[str, Code]:
    """Return the further rules of a child for calls that are judged by their arguments."""
    allow, refused = verdict(ALLOW), verdict(refuse(errno.EPERM))
    return {
        "clone": argument(0, branch(ANY_BIT, _CLONE_THREAD, allow, verdict(KILL))),
        "prlimit64": if_new_limit(refused),
        "prctl": argument(0, one_of(PRCTLS, allow, refused)),
    }


def _only_own_pid(otherwise: int) -> Code:
    """Return code that allows the call if its first argument is the child's own process number, and else does ``otherwise``.

    If the call is refused otherwise, it belongs to the scheduler, where zero means the caller, so zero is allowed as well. If it
    is killed otherwise, it sends a signal, where zero means the caller's whole group.
    """
    own = (_OWN_PID,) if otherwise == KILL else (_OWN_PID, 0)
    return argument(0, one_of(own, verdict(ALLOW), verdict(otherwise)))


def stream_pair(otherwise: Code) -> Code:
    """Return code for ``socketpair`` that allows a local pair of streams and runs ``otherwise`` for other address families.

    Other types of local pairs are refused: a pair for datagrams could send to sockets in the file system. asyncio needs only a
    stream.
    """
    stream = masked(SOCKET_TYPE, branch(EQUAL, _SOCK_STREAM, verdict(ALLOW), verdict(refuse(errno.EACCES))))
    return argument(0, branch(EQUAL, AF_UNIX, argument(1, stream), otherwise))


def if_new_limit(code: Code) -> Code:
    """Return code that allows ``prlimit64`` if it sets no new limit, and runs ``code`` if it does.

    It sets no new limit if its third argument is a null pointer. Both halves of the pointer have to be compared with zero.
    """
    low = argument(2, branch(EQUAL, 0, verdict(ALLOW), code))
    return argument(2, branch(EQUAL, 0, low, code), high=True)


def same_action(machine: Machine, action: int, *names: str) -> dict[int, Code]:
    """Return rules, keyed by call number, that give every call the same action. Each of ``names`` holds names between spaces."""
    return by_number(machine, {name: verdict(action) for group in names for name in group.split()})


def by_number(machine: Machine, rules: dict[str, Code]) -> dict[int, Code]:
    """Return the rules keyed by the number of the call instead of its name, without calls that the machine never had."""
    return {machine.numbers[name]: code for name, code in rules.items() if name in machine.numbers}


def complete_filter(machine: Machine, rules: Code) -> bytes:
    """Return the filter that applies ``rules`` to the calls in this machine's table.

    It refuses calls that are newer than the table, and kills the caller for calls in the form of another machine.
    """
    native = branch(AT_LEAST, FIRST_UNKNOWN, verdict(refuse(errno.ENOSYS)), rules)
    by_form: Code = [(LOAD, 0, 0, NUMBER), *branch(AT_LEAST, _X32, verdict(KILL), native)]
    return program(branch(EQUAL, machine.audit, by_form, verdict(KILL)), load=ARCHITECTURE)


def _constant_offsets(code: bytes, constant: int) -> tuple[int, ...]:
    """Return the byte offsets of a constant in a filter. An instruction has 8 bytes, and the last 4 are its constant."""
    word = pack("I", constant)
    return tuple(offset for offset in range(4, len(code), 8) if code[offset : offset + 4] == word)
