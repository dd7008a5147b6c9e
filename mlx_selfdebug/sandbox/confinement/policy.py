"""Decide which system calls are denied, in two seccomp filters: one for the zygote and all it forks, one more for each child.

A call that no honest program makes here ends the process, so that the attempt is noticed. A call fails with an error if the C
library or Python tries it of their own accord and can do without it.
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

# The calls of each table below are separated by spaces. KILLED and REFUSED hold for the zygote and its children, the others for
# children only.
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
# A child may make these calls for itself only.
CHILD_SELF_KILLED = "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo"
CHILD_SELF_REFUSED = "sched_setaffinity sched_setscheduler sched_setparam sched_setattr"

_X32 = 0x40000000
_THREAD, NEW_NAMESPACES = 0x00010000, 0x7E020080
AF_UNIX, AF_NETLINK, _STREAM, _TYPE_MASK = 1, 16, 1, 0xF
_TRUNCATE, _ACCESS_MODE = 0o1000, 0o3
# Allowed: terminal attributes and size, close-on-exec, blocking, bytes waiting. Others could change files or direct signals.
IOCTLS = (0x5401, 0x802C542A, 0x5413, 0x5450, 0x5451, 0x5421, 0x541B)
# Refused: choosing which process gets the signal of a descriptor, and which signal; and watching folders.
SIGNAL_FCNTLS = (8, 10, 15, 1026)
# Allowed: PR_SET_NAME, and reading the death signal, dumpable, keepcaps, name, seccomp, bounding set, timer slack and
# no_new_privs.
PRCTLS = (15, 2, 3, 7, 16, 21, 23, 30, 39)
_OWN_PID = 0x7A7A7A7A
"""Stands for the process number of the child, which is known only after the fork. No process has this number."""


@dataclass(frozen=True)
class ChildFilter:
    """The filter of a child, without the child's process number."""

    code: bytes
    pid_offsets: tuple[int, ...]
    """The byte offsets in ``code`` at which the process number belongs, as 32 bits."""


def zygote_filter(machine: Machine) -> bytes:
    """Return the filter of the zygote, which still has to fork, pass on descriptors and end its children."""
    rules = words(machine, KILL, *KILLED.values())
    for error, names in REFUSED.items():
        rules |= words(machine, refuse(error), names)
    rules |= numbered(machine, _zygote_arguments())
    return whole(machine, select(rules, verdict(ALLOW)))


def child_filter(machine: Machine) -> ChildFilter:
    """Return the filter that a child gets in addition to the zygote's.

    It lets the child start no process, signal only itself, and not change its limits.
    """
    rules = words(machine, KILL, CHILD_KILLED) | words(machine, refuse(errno.EPERM), CHILD_REFUSED)
    own = {name: _own_pid(KILL) for name in CHILD_SELF_KILLED.split()}
    own |= {name: _own_pid(refuse(errno.EPERM)) for name in CHILD_SELF_REFUSED.split()}
    rules |= numbered(machine, own | _child_arguments())
    code = whole(machine, choose(rules, verdict(ALLOW)))
    return ChildFilter(code, _places(code, pack("I", _OWN_PID)))


def _zygote_arguments() -> dict[str, Code]:
    allow, kill = verdict(ALLOW), verdict(KILL)
    no_truncation = masked(
        _TRUNCATE | _ACCESS_MODE, branch(EQUAL, _TRUNCATE, verdict(refuse(errno.EACCES)), verdict(ALLOW))
    )
    return {
        "clone": argument(0, branch(ANY_BIT, NEW_NAMESPACES, kill, allow)),
        # Older versions of Landlock allow emptying a file, by opening it, even if it may only be read.
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
    allow, refused = verdict(ALLOW), verdict(refuse(errno.EPERM))
    return {
        "clone": argument(0, branch(ANY_BIT, _THREAD, allow, verdict(KILL))),
        "prlimit64": if_new_limit(refused),
        "prctl": argument(0, one_of(PRCTLS, allow, refused)),
    }


def _own_pid(otherwise: int) -> Code:
    """Return code that allows the call if its first argument is the child's own process number.

    Zero is allowed as well for the scheduler's calls, where it means the caller. In ``kill`` it means the caller's whole group.
    """
    own = (_OWN_PID,) if otherwise == KILL else (_OWN_PID, 0)
    return argument(0, one_of(own, verdict(ALLOW), verdict(otherwise)))


def stream_pair(otherwise: Code) -> Code:
    """Return code for ``socketpair`` that allows a pair of streams and runs ``otherwise`` for other families.

    A pair for datagrams could send to sockets in the file system. asyncio needs only a stream.
    """
    stream = masked(_TYPE_MASK, branch(EQUAL, _STREAM, verdict(ALLOW), verdict(refuse(errno.EACCES))))
    return argument(0, branch(EQUAL, AF_UNIX, argument(1, stream), otherwise))


def if_new_limit(code: Code) -> Code:
    """Return code that allows ``prlimit64`` if it sets no new limit, and runs ``code`` if it does.

    It sets none if its third argument is a null pointer, which has two halves that are both zero.
    """
    low = argument(2, branch(EQUAL, 0, verdict(ALLOW), code))
    return argument(2, branch(EQUAL, 0, low, code), high=True)


def words(machine: Machine, action: int, *names: str) -> dict[int, Code]:
    """Return rules that give all calls in ``names``, which are separated by spaces, the same action."""
    return numbered(machine, {name: verdict(action) for group in names for name in group.split()})


def numbered(machine: Machine, rules: dict[str, Code]) -> dict[int, Code]:
    """Return the rules by the numbers of their calls, without calls that the machine never had."""
    return {machine.numbers[name]: code for name, code in rules.items() if name in machine.numbers}


def whole(machine: Machine, known: Code) -> bytes:
    """Return the filter that judges this machine's calls by ``known``, refuses newer ones, and kills those of other machines."""
    number = branch(AT_LEAST, FIRST_UNKNOWN, verdict(refuse(errno.ENOSYS)), known)
    native: Code = [(LOAD, 0, 0, NUMBER), *branch(AT_LEAST, _X32, verdict(KILL), number)]
    return program(branch(EQUAL, machine.audit, native, verdict(KILL)), load=ARCHITECTURE)


def _places(code: bytes, word: bytes) -> tuple[int, ...]:
    return tuple(offset for offset in range(4, len(code), 8) if code[offset : offset + 4] == word)
