"""Move this process into namespaces of its own: a root that holds only what is planned, no network, and no other processes.

``enter`` returns in a new process, which is number 1 of its namespace. The process that called it stays behind as the launcher: it
waits for the new process, ends as that one does, and does nothing else. Without the right to make namespaces, nothing changes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
from struct import pack
from typing import NoReturn

from mlx_selfdebug.sandbox.confinement.kernel import PR_SET_PDEATHSIG, call, call_on_path, close_all_but, mount, prctl
from mlx_selfdebug.sandbox.confinement.process_limit import ProcessLimit
from mlx_selfdebug.sandbox.confinement.roots import NODEV, NOEXEC, NOSUID, RDONLY, Bind, Memory, Root

_NEW_MOUNTS, _NEW_CONTROL_GROUPS, _NEW_USER, _NEW_NETWORK = 0x00020000, 0x02000000, 0x10000000, 0x40000000
_SPACES = _NEW_MOUNTS | 0x04000000 | 0x08000000 | 0x20000000  # host name, IPC, processes

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_SEALED = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
_DETACH, _HERE, _RECURSIVE = 2, -100, 0x8000
_OLD_ROOT = "/.outside"
OWN_USER = ", users"
"""What the description says where the users are those of a namespace of its own."""
_MAX_FILES = 100_000
"""The number of files that a file system in memory may hold."""


def enter(root: Root, *, processes: int = 0) -> str:
    """Enter the namespaces with this root and return a description of what is separate now.

    The process must have one thread. Afterwards its number is 1 and its parent's is 0, and all numbers are those of the namespace.
    If ``processes`` is given, there can hardly be more of them, where the kernel has such a limit. Raises OSError if any part of
    this is refused, in which case nothing has changed.
    """
    _try_out(root)
    limit = ProcessLimit() if processes else None
    detail = _separate(root)
    _become_first()
    limited = limit is not None and limit.set(processes)
    return detail + (", a number of processes" if limited else "")


def _try_out(root: Root) -> None:
    """Try everything in a process that ends at once, and raise OSError if a part fails.

    Without this trial a failure could leave this process with half of its namespaces, which would be worse than none.
    """
    pid = os.fork()
    if not pid:
        try:
            _separate(root)
            os._exit(0)
        except OSError as error:
            os._exit(min(error.errno or 1, 255))
        finally:
            os._exit(255)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise OSError(status, f"namespaces: {os.strerror(status) if 0 < status < 255 else 'failed'}")


def _separate(root: Root) -> str:
    # The folder is opened first because there is no /proc afterwards. The files in it are opened later because a file that was
    # opened now would still belong to the old user namespace.
    itself = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        user, group = os.getuid(), os.getgid()
        # A privileged process makes its root before it gives up its privileges in a user namespace: afterwards it could no longer
        # enter the home folder of another user.
        attempts = _attempts(root)
        privileged = _unshared(*attempts)
        if not privileged:
            _unshare(*(_NEW_USER | flags for flags in attempts))
            _map_ids(itself, user, group)
        _make_root(root)
        own_user = not privileged or _unshared(_NEW_USER)
        if privileged and own_user:
            _map_ids(itself, user, group)
    finally:
        os.close(itself)
    network = "" if root.network else "network, "
    return f"mounts, processes, {network}IPC, host name" + (OWN_USER if own_user else "")


def _attempts(root: Root) -> tuple[int, ...]:
    """Return the sets of namespaces to ask for, the best first. Some kernels have none for control groups."""
    spaces = _SPACES | (0 if root.network else _NEW_NETWORK)
    return spaces | _NEW_CONTROL_GROUPS, spaces


def _unshare(*attempts: int) -> None:
    for flags in attempts[:-1]:
        if _unshared(flags):
            return
    call("unshare", attempts[-1])


def _unshared(*attempts: int) -> bool:
    for flags in attempts:
        try:
            call("unshare", flags)
        except OSError:
            continue
        return True
    return False


def _map_ids(itself: int, user: int, group: int) -> None:
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=itself)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


def _make_root(root: Root) -> None:
    mount("", "/", flags=_MS_REC | _MS_PRIVATE)
    # Any folder serves as the place of this mount, which moves away when the root changes.
    mount("tmpfs", root.base, "tmpfs", _SEALED, "mode=0755,size=4m")
    os.mkdir(root.base + _OLD_ROOT)
    _pivot(root.base)
    for target, source in root.links:
        if os.path.dirname(target) == "/":  # what is mounted below lies behind such links
            os.symlink(source, target)
    for each in root.mounts:
        _mount(each)
    for target, source in root.links:
        _link(source, target)
    _hide(root)
    call_on_path("umount2", _OLD_ROOT, _DETACH)
    os.rmdir(_OLD_ROOT)
    _set_attributes("/", RDONLY | NOSUID | NODEV | NOEXEC, 0)


def _pivot(base: str) -> None:
    new, old = (ctypes.create_string_buffer(os.fsencode(path)) for path in (base, base + _OLD_ROOT))
    call("pivot_root", ctypes.addressof(new), ctypes.addressof(old))
    os.chdir("/")


def _hide(root: Root) -> None:
    for path in root.hidden:
        if os.path.isdir(path):
            mount("tmpfs", path, "tmpfs", _SEALED, "mode=0755,size=64k")
    for bind in root.packages:
        _show(bind)
    for path in root.hidden:
        if os.path.isdir(path):
            _set_attributes(path, RDONLY | NOSUID | NODEV | NOEXEC, 0)


def _mount(planned: Bind | Memory) -> None:
    if isinstance(planned, Bind):
        _show(planned)
        return
    _require_real(planned.target)
    os.makedirs(planned.target, exist_ok=True)
    mount("tmpfs", planned.target, "tmpfs", _SEALED, f"mode=0700,size={planned.n_bytes},nr_inodes={_MAX_FILES}")


def _link(text: str, path: str) -> None:
    if not os.path.lexists(path):
        _require_real(os.path.dirname(path))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(text, path)


def _show(bind: Bind) -> None:
    source = _OLD_ROOT + bind.source
    _require_real(bind.target)
    if not os.path.exists(bind.target):
        _make_mount_point(source, bind.target)
    mount(source, bind.target, flags=_MS_BIND | _MS_REC)
    _set_attributes(bind.target, bind.attributes, _RECURSIVE)


def _require_real(path: str) -> None:
    """Raise OSError if a link leads elsewhere.

    A folder that is already shown may hold links that someone else made, and through one that led into the old root something
    could be made there.
    """
    if os.path.realpath(path) != path:
        raise OSError(errno.ELOOP, f"a link stands in the way of {path}")


def _make_mount_point(source: str, target: str) -> None:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.isdir(source):
        os.mkdir(target)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))


def _set_attributes(path: str, attributes: int, recursive: int) -> None:
    wanted = ctypes.create_string_buffer(pack("QQQQ", attributes, 0, 0, 0), 32)
    call_on_path("mount_setattr", path, recursive, ctypes.addressof(wanted), 32, before=(_HERE,))


def _become_first() -> None:
    alive, held = os.pipe()
    pid = os.fork()
    if pid:
        _launch(pid, held)
    os.close(held)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The launcher may have died before this process asked to be killed when it dies. Then its end of the pipe is closed, and the
    # read succeeds instead of having to wait.
    os.set_blocking(alive, False)
    try:
        os.read(alive, 1)
        os._exit(1)
    except BlockingIOError:
        os.close(alive)


def _launch(pid: int, held: int) -> NoReturn:
    """Wait for the zygote and end as it does.

    Everything is closed except the pipe, which shows the zygote that this process is alive.
    """
    try:
        close_all_but(held)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code >= 0:
            os._exit(code)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if code != -signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    finally:
        os._exit(1)
