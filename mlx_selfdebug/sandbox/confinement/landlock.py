"""Confine a process with Landlock: it reaches only the files that rules name, uses no TCP, and signals nothing outside."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import pack

from mlx_selfdebug.sandbox.confinement.capabilities import forbid_new_privileges
from mlx_selfdebug.sandbox.confinement.kernel import Prepared, call
from mlx_selfdebug.sandbox.confinement.layout import Layout
from mlx_selfdebug.sandbox.confinement.reach import Reach

# Rights on files, as bits (``linux/landlock.h``).
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_FOLDER = 1, 1 << 1, 1 << 2, 1 << 3
_REMOVE_FOLDER, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_FOLDER, _MAKE_FILE, _MAKE_PIPE, _MAKE_LINK = 1 << 7, 1 << 8, 1 << 10, 1 << 12
_MOVE, _TRUNCATE = 1 << 13, 1 << 14
_READ = _READ_FILE | _READ_FOLDER
_REMOVE = _REMOVE_FOLDER | _REMOVE_FILE
_MAKE = _MAKE_FOLDER | _MAKE_FILE | _MAKE_PIPE | _MAKE_LINK
_READ_AND_WRITE = _READ | _WRITE_FILE | _REMOVE | _MAKE | _MOVE | _TRUNCATE
"""All that may be done in a writable folder. Executing, making devices and sockets, and controlling devices are not included."""
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
"""The rights that a rule may grant on a file. The others are rights on a folder."""
# The flag of a call that creates no ruleset but asks for the version, and the type of a rule for a path.
_ASK_VERSION, _BENEATH_PATH = 1, 1
# To bind and to connect, and to reach abstract sockets and signal processes that are not confined by the same ruleset.
_ALL_TCP, _ALL_SCOPES = 0b11, 0b11
# The versions of Landlock that introduced rules for TCP, scopes, and control of the log.
_TCP_FROM, _SCOPES_FROM, _LOG_FROM = 4, 6, 7
_NO_LOG = 0b101
"""The flags that turn off the kernel's log of denials, for this program and for rulesets that it adds later."""


def version() -> int:
    """Return the version that the kernel offers, from 1 up. Raises OSError if it has no Landlock or Landlock is switched off."""
    return call("landlock_create_ruleset", 0, 0, _ASK_VERSION)


def describe(abi: int) -> str:
    """Return a description of what this version denies."""
    parts = ["files"] + ["TCP"] * (abi >= _TCP_FROM) + ["signals, abstract sockets"] * (abi >= _SCOPES_FROM)
    return f"ABI {abi}: {', '.join(parts)}"


def enter(allowed: Iterable[Rule], abi: int, *, network: bool = False) -> None:
    """Confine this process and every process that it forks to what the rules ``allowed`` grant.

    ``abi`` is the version that the kernel offers. With ``network`` the processes may use TCP. Raises OSError if the kernel refuses.
    """
    forbid_new_privileges()
    deniable = file_rights(abi)
    ruleset = create(abi, deniable, 0 if network else _ALL_TCP)
    try:
        for rule in allowed:
            _allow(ruleset, rule, deniable)
        prepare_restriction(ruleset, abi)()
    finally:
        os.close(ruleset)


def child_ruleset(abi: int) -> int | None:
    """Return the descriptor of a ruleset that lets a child signal only itself, or None if this version cannot deny signals."""
    return create(abi, 0, 0) if abi >= _SCOPES_FROM else None


def file_rights(abi: int) -> int:
    """Return all rights on files that this version can deny, as bits.

    The first version knows 13 rights. Versions 2, 3 and 5 added moving, truncating and the control of devices.
    """
    return (1 << (13 + (abi >= 2) + (abi >= 3) + (abi >= 5))) - 1


def create(abi: int, files: int, tcp: int) -> int:
    """Create a ruleset that denies the rights ``files`` and ``tcp`` and all scopes, and return its descriptor.

    The descriptor is closed on exec. Kinds of rights that this version does not know are left out. Raises OSError if the kernel
    refuses.
    """
    # ``struct landlock_ruleset_attr``: three numbers of 64 bits, of which older versions accept only the first or the first two.
    size = 8 * (1 + (abi >= _TCP_FROM) + (abi >= _SCOPES_FROM))
    attributes = ctypes.create_string_buffer(pack("QQQ", files, tcp, _ALL_SCOPES)[:size], size)
    return call("landlock_create_ruleset", ctypes.addressof(attributes), size, 0)


def prepare_restriction(ruleset: int, abi: int) -> Prepared:
    """Return the prepared call that puts the ruleset in force for good."""
    return Prepared("landlock_restrict_self", ruleset, _NO_LOG if abi >= _LOG_FROM else 0)


@dataclass(frozen=True)
class Rule:
    """Rights on a path and on everything beneath it."""

    path: str
    rights: int
    """The rights as bits."""


def layout_rules(layout: Layout) -> Iterator[Rule]:
    """Yield the rules for the files of the layout, all of which may be read. Only devices may also be written.

    A right on a folder extends to everything beneath it, so a folder that contains a hidden one is allowed entry by entry. The
    names in such a folder can be listed, and so can those in the hidden folders, since nothing could be imported otherwise.
    """
    for folder in (*layout.stdlib, *layout.libraries):
        yield from _around(folder, layout.hidden)
    for path in (*layout.packages, *layout.files):
        yield Rule(path, _READ)
    for folder in sorted({os.path.dirname(package) for package in layout.packages}):
        yield Rule(folder, _READ_FOLDER)


def command_rules(reach: Reach, writable: Iterable[str]) -> Iterator[Rule]:
    """Yield the rules for a confined command, which may write to the files and folders ``writable`` and execute its interpreter."""
    for path in (*reach.layout.files, *reach.read_only):
        yield Rule(path, _READ)
    for path in reach.executables:
        yield Rule(path, _READ | _EXECUTE)
    for path in writable:
        yield Rule(path, _READ_AND_WRITE)


def _around(folder: str, hidden: tuple[str, ...]) -> Iterator[Rule]:
    """Yield rules that let everything in ``folder`` be read except the hidden folders in it."""
    if folder in hidden:
        return
    inside = [path for path in hidden if path.startswith(folder + "/")]
    if not inside:
        yield Rule(folder, _READ)
        return
    yield Rule(folder, _READ_FOLDER)
    for name in os.listdir(folder):
        path = f"{folder}/{name}"
        # A link needs no rule of its own: the rules for its target decide.
        if not os.path.islink(path):
            yield from _around(path, tuple(inside))


def _allow(ruleset: int, rule: Rule, deniable: int) -> None:
    """Add a rule to the ruleset.

    Rights that this version cannot deny are dropped, because the kernel refuses rules that name them.
    """
    try:
        fd = os.open(rule.path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # hidden by another layer, or out of this user's reach anyway
        return
    try:
        rights = _applicable_rights(rule.rights, os.fstat(fd).st_mode) & deniable
        attributes = ctypes.create_string_buffer(pack("=Qi", rights, fd), 12)  # struct landlock_path_beneath_attr
        if rights:
            call("landlock_add_rule", ruleset, _BENEATH_PATH, ctypes.addressof(attributes), 0)
    finally:
        os.close(fd)


def _applicable_rights(rights: int, mode: int) -> int:
    """Return those of ``rights`` that a rule may grant on a file or folder of this mode.

    The kernel refuses rules that grant a folder's rights on a file. Devices such as /dev/null exist to be written, so the right to
    write is added for them.
    """
    if stat.S_ISDIR(mode):
        return rights
    writing = _WRITE_FILE | _TRUNCATE if stat.S_ISCHR(mode) else 0
    return (rights & _ON_FILES) | writing
