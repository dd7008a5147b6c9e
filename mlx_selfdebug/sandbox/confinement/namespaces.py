"""Move the zygote into namespaces of its own: a root that holds only the interpreter, no network, and no other processes.

``enter`` returns in a new process, which is number 1 of its namespace. The process that called it stays behind as the launcher: it
waits for the new process, ends as that one does, and does nothing else. Without the right to make namespaces, nothing changes.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import stat
from dataclasses import dataclass
from struct import pack
from typing import NoReturn

from mlx_selfdebug.sandbox.confinement.kernel import PR_SET_PDEATHSIG, call, call_on_path, close_all_but, mount, prctl
from mlx_selfdebug.sandbox.confinement.layout import Layout

_NEW_MOUNTS, _NEW_CONTROL_GROUPS, _NEW_USER = 0x00020000, 0x02000000, 0x10000000
_SPACES = _NEW_MOUNTS | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000  # host name, IPC, processes, network
_ATTEMPTS = (_SPACES | _NEW_CONTROL_GROUPS, _SPACES)

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_SEALED = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
# mount_setattr uses the same bits for the attributes of a mount, with 1 for read-only.
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8
_DETACH, _HERE, _RECURSIVE = 2, -100, 0x8000
_OLD_ROOT = "/.outside"


@dataclass(frozen=True)
class _Bind:
    """A mount that shows the file or folder ``source`` of the outside at ``target``, with these mount attributes."""

    source: str
    target: str
    attributes: int


@dataclass(frozen=True)
class _World:
    """The plan of the new root, made while every path can still be reached."""

    base: str
    """The folder on which the new root is mounted before it becomes the root."""
    binds: tuple[_Bind, ...]
    hidden: tuple[str, ...]
    """Folders that are covered by empty ones."""
    packages: tuple[_Bind, ...]
    """Packages that are shown although they lie in hidden folders."""
    links: tuple[tuple[str, str], ...]
    """Links in the root, such as /lib, and what they point to."""


def enter(layout: Layout) -> str:
    """Enter the namespaces and return a description of what is separate now.

    The process must have one thread. Afterwards its number is 1 and its parent's is 0, and all numbers are those of the namespace.
    Raises OSError if any part of this is refused, in which case nothing has changed.
    """
    world = _world(layout)
    _try_out(world)
    detail = _separate(world)
    _become_first()
    return detail


def _try_out(world: _World) -> None:
    """Try everything in a process that ends at once, and raise OSError if a part fails.

    Without this trial a failure could leave this process with half of its namespaces, which would be worse than none.
    """
    pid = os.fork()
    if not pid:
        try:
            _separate(world)
            os._exit(0)
        except OSError as error:
            os._exit(min(error.errno or 1, 255))
        finally:
            os._exit(255)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise OSError(status, f"namespaces: {os.strerror(status) if 0 < status < 255 else 'failed'}")


def _separate(world: _World) -> str:
    # The folder is opened first because there is no /proc afterwards. The files in it are opened later because a file that was
    # opened now would still belong to the old user namespace.
    itself = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        user, group = os.getuid(), os.getgid()
        # A privileged process makes its root before it gives up its privileges in a user namespace: afterwards it could no longer
        # enter the home folder of another user.
        privileged = _unshared(*_ATTEMPTS)
        if not privileged:
            _unshare(*(_NEW_USER | flags for flags in _ATTEMPTS))
            _map_ids(itself, user, group)
        _make_root(world)
        own_user = not privileged or _unshared(_NEW_USER)
        if privileged and own_user:
            _map_ids(itself, user, group)
    finally:
        os.close(itself)
    return "mounts, processes, network, IPC, host name" + (", users" if own_user else "")


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


def _world(layout: Layout) -> _World:
    folders = [_bind(path, _RDONLY | _NOSUID | _NODEV) for path in (*layout.stdlib, *layout.libraries)]
    links = [name for name in os.listdir("/") if name.startswith("lib") and os.path.islink(f"/{name}")]
    return _World(
        base=os.path.realpath(layout.stdlib[0]),
        binds=tuple(folders + [_bind(path, _file_attributes(path)) for path in layout.files]),
        hidden=layout.hidden,
        packages=tuple(_bind(path, _RDONLY | _NOSUID | _NODEV) for path in layout.packages),
        links=tuple((f"/{name}", os.readlink(f"/{name}")) for name in links),
    )


def _bind(path: str, attributes: int) -> _Bind:
    return _Bind(os.path.realpath(path), path, attributes)


def _file_attributes(path: str) -> int:
    if stat.S_ISCHR(os.stat(path).st_mode):
        return _RDONLY | _NOSUID | _NOEXEC
    return _RDONLY | _NOSUID | _NODEV | (0 if ".so" in os.path.basename(path) else _NOEXEC)


def _make_root(world: _World) -> None:
    mount("", "/", flags=_MS_REC | _MS_PRIVATE)
    # Any folder serves as the place of this mount, which moves away when the root changes.
    mount("tmpfs", world.base, "tmpfs", _SEALED, "mode=0755,size=4m")
    os.mkdir(world.base + _OLD_ROOT)
    _pivot(world.base)
    for target, source in world.links:
        os.symlink(source, target)
    for bind in world.binds:
        _show(bind)
    _hide(world)
    call_on_path("umount2", _OLD_ROOT, _DETACH)
    os.rmdir(_OLD_ROOT)
    _set_attributes("/", _RDONLY | _NOSUID | _NODEV | _NOEXEC, 0)


def _pivot(base: str) -> None:
    new, old = (ctypes.create_string_buffer(os.fsencode(path)) for path in (base, base + _OLD_ROOT))
    call("pivot_root", ctypes.addressof(new), ctypes.addressof(old))
    os.chdir("/")


def _hide(world: _World) -> None:
    for path in world.hidden:
        if os.path.isdir(path):
            mount("tmpfs", path, "tmpfs", _SEALED, "mode=0755,size=64k")
    for bind in world.packages:
        _show(bind)
    for path in world.hidden:
        if os.path.isdir(path):
            _set_attributes(path, _RDONLY | _NOSUID | _NODEV | _NOEXEC, 0)


def _show(bind: _Bind) -> None:
    source = _OLD_ROOT + bind.source
    if not os.path.exists(bind.target):
        _make_mount_point(source, bind.target)
    mount(source, bind.target, flags=_MS_BIND | _MS_REC)
    _set_attributes(bind.target, bind.attributes, _RECURSIVE)


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
