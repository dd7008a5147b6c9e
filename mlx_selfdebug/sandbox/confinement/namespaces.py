"""Move this process into namespaces of its own, where it sees only the planned files, no network and no other processes.

``enter`` returns in a new process, which is number 1 of its namespace. The process that called it stays behind as the launcher: it
waits for the new process and then ends with the same status. Without the right to make namespaces, nothing changes.
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

# Flags of ``unshare`` (``linux/sched.h``).
_NEW_MOUNTS, _NEW_HOST_NAME, _NEW_IPC, _NEW_PROCESSES = 0x00020000, 0x04000000, 0x08000000, 0x20000000
_NEW_CONTROL_GROUPS, _NEW_USER, _NEW_NETWORK = 0x02000000, 0x10000000, 0x40000000
_SPACES = _NEW_MOUNTS | _NEW_HOST_NAME | _NEW_IPC | _NEW_PROCESSES
# Flags of ``mount`` (``linux/mount.h``).
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_SEALED = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
_MNT_DETACH, _AT_FDCWD, _AT_RECURSIVE = 2, -100, 0x8000
_OLD_ROOT = "/.outside"
"""The folder at which the root of the outside is mounted until everything that is needed of it has been mounted elsewhere."""
OWN_USER = ", users"
"""The words by which a description says that the process has a user namespace of its own."""
_MAX_FILES = 100_000
"""The number of files that a file system in memory may hold."""


def enter(root: Root, *, processes: int = 0) -> str:
    """Enter the namespaces with this root and return a description of what is separate now.

    The process must have one thread. Afterwards its number is 1 and its parent's is 0, and all numbers are those of the namespace.
    ``processes`` limits the number of processes in the namespace, if the kernel can do that (see ``process_limit.py``). Raises
    OSError if a part is refused. In that case nothing has changed.
    """
    _try_out(root)
    limit = ProcessLimit() if processes else None
    detail = _separate(root)
    _become_first()
    limited = limit is not None and limit.set(processes)
    return detail + (", a number of processes" if limited else "")


def _try_out(root: Root) -> None:
    """Try to enter the namespaces in a process that ends at once, and raise OSError if a part fails.

    Without this trial, a failure could leave this process with half of its namespaces, which would be worse than none.
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
    """Enter all namespaces except that of processes, which holds only for the next fork, and return what is separate now.

    The new root is mounted on the way.
    """
    # The folder is opened first because there is no /proc afterwards. The files in it are opened later because a file that was
    # opened now would still belong to the old user namespace.
    itself = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        user, group = os.getuid(), os.getgid()
        spaces = _SPACES | (0 if root.network else _NEW_NETWORK)
        try:
            _unshare(spaces)
        except OSError:  # without privileges, only the owner of a user namespace may make the others
            _unshare(spaces | _NEW_USER)
            _map_ids(itself, user, group)
            has_own_user = True
            _make_root(root)
        else:
            # A privileged process makes its root before it gives up its privileges in a user namespace: afterwards it could no
            # longer enter the home folder of another user.
            _make_root(root)
            has_own_user = _give_up_privileges(itself, user, group)
    finally:
        os.close(itself)
    network = "" if root.network else "network, "
    return f"mounts, processes, {network}IPC, host name" + (OWN_USER if has_own_user else "")


def _unshare(spaces: int) -> None:
    """Make these namespaces, and one for control groups if the kernel has such. Raises OSError if they are refused."""
    try:
        call("unshare", spaces | _NEW_CONTROL_GROUPS)
    except OSError:
        call("unshare", spaces)


def _give_up_privileges(itself: int, user: int, group: int) -> bool:
    """Enter a user namespace and return True, or return False if the kernel refuses it."""
    try:
        call("unshare", _NEW_USER)
    except OSError:
        return False
    _map_ids(itself, user, group)
    return True


def _map_ids(itself: int, user: int, group: int) -> None:
    """Keep the numbers of the user and the group in the new user namespace. ``itself`` is the opened /proc/self."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=itself)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


def _make_root(root: Root) -> None:
    """Mount the root and all that is planned in it, and leave the old root behind."""
    mount("", "/", flags=_MS_REC | _MS_PRIVATE)  # no mount from here on is seen outside
    # Any folder serves as the place of this mount, which moves away when the root changes.
    mount("tmpfs", root.base, "tmpfs", _SEALED, "mode=0755,size=4m")
    os.mkdir(root.base + _OLD_ROOT)
    _change_root(root.base)
    for path, text in root.links:
        if os.path.dirname(path) == "/":  # the paths of the mounts lead through links such as /lib
            os.symlink(text, path)
    for planned in root.mounts:
        _mount(planned)
    for path, text in root.links:
        _make_link(path, text)
    _hide(root)
    call_on_path("umount2", _OLD_ROOT, _MNT_DETACH)
    os.rmdir(_OLD_ROOT)
    _set_attributes("/", RDONLY | NOSUID | NODEV | NOEXEC, 0)


def _change_root(base: str) -> None:
    new, old = (ctypes.create_string_buffer(os.fsencode(path)) for path in (base, base + _OLD_ROOT))
    call("pivot_root", ctypes.addressof(new), ctypes.addressof(old))
    os.chdir("/")


def _hide(root: Root) -> None:
    """Cover the hidden folders by empty ones, in which only the planned packages are shown."""
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


def _make_link(path: str, text: str) -> None:
    if not os.path.lexists(path):
        _require_real(os.path.dirname(path))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(text, path)


def _show(bind: Bind) -> None:
    """Mount a file or folder of the old root at its place in the new one."""
    source = _OLD_ROOT + bind.source
    _require_real(bind.target)
    if not os.path.exists(bind.target):
        _make_mount_point(source, bind.target)
    mount(source, bind.target, flags=_MS_BIND | _MS_REC)
    _set_attributes(bind.target, bind.attributes, _AT_RECURSIVE)


def _require_real(path: str) -> None:
    """Raise OSError if a symbolic link on the way makes ``path`` lead elsewhere.

    A folder that is already shown may hold links that someone else made. Through a link into the old root, this process would make
    folders and files outside of the sandbox.
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
    to_set = ctypes.create_string_buffer(pack("QQQQ", attributes, 0, 0, 0), 32)  # struct mount_attr
    call_on_path("mount_setattr", path, recursive, ctypes.addressof(to_set), 32, before=(_AT_FDCWD,))


def _become_first() -> None:
    """Fork and return in the child, which is the first process of its namespace and dies with the launcher."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        _launch(pid, writing)
    os.close(writing)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The launcher may have died before this process asked to be killed when it dies. Then its end of the pipe is closed, and the
    # read succeeds instead of having to wait.
    os.set_blocking(reading, False)
    try:
        os.read(reading, 1)
        os._exit(1)
    except BlockingIOError:
        os.close(reading)


def _launch(pid: int, writing: int) -> NoReturn:
    """Wait for the process ``pid`` and end with the same exit code or signal.

    Everything is closed except ``writing``, the end of the pipe that shows the other process that this one is alive.
    """
    try:
        close_all_but(writing)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code >= 0:
            os._exit(code)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if code != -signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    finally:
        os._exit(1)
