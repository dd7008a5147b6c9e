"""Write the profile for ``sandbox-exec`` that says what a confined command on macOS may do, and the command line that starts it.

    argv = command_line(layout, argv, readable=[environment], writable=[scratch, temporary], network=False)

This module only writes text, so nothing in it needs a Mac. All paths must be real paths. ``seatbelt.py`` explains the order of the
rules.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlx_selfdebug.sandbox.confinement.layout import Layout
from mlx_selfdebug.sandbox.confinement.sbpl import ancestors, literals, rule, spellings, subpaths
from mlx_selfdebug.sandbox.confinement.seatbelt import (
    DATA,
    DEVICES,
    LINKS,
    MAP,
    READ,
    SANDBOX_EXEC,
    SYSTEM,
    WRITE,
    defaults,
    head,
    installation,
    own_processes,
    revoked,
    started,
    system,
)

_WRITE_IN_FOLDERS = tuple(name for name in WRITE if name not in ("file-write*", "file-write-setugid"))
"""The operations that are allowed in writable folders.

The wildcard is left out because it holds operations that are not known here. The other operation left out sets the bits by which a
program runs with the rights of its file's owner.
"""
_NAME_SERVICE = "/private/var/run/mDNSResponder"
"""The socket over which the names of hosts are looked up."""
_NETWORK_FILES = (
    "/private/etc/hosts",
    "/private/etc/resolv.conf",
    "/private/etc/services",
    "/private/etc/ssl",
    "/private/var/run/resolv.conf",
)


def command_line(
    layout: Layout,
    argv: Sequence[str],
    *,
    readable: Sequence[str],
    programs: Sequence[str] = (),
    writable: Sequence[str],
    network: bool,
) -> list[str]:
    """Return the command line that runs ``argv`` under the profile. The arguments and errors are those of ``command_profile``."""
    profile = command_profile(layout, readable=readable, programs=programs, writable=writable, network=network)
    return [SANDBOX_EXEC, "-p", profile, *argv]


def command_profile(
    layout: Layout,
    *,
    readable: Sequence[str],
    programs: Sequence[str] = (),
    writable: Sequence[str],
    network: bool,
) -> str:
    """Return the profile of a command of the layout's interpreter and of all that it starts, which may also be ``programs``.

    It may read ``readable`` besides the layout and ``programs``, read and write in ``writable``, and use the network if ``network``
    says so. Raises ValueError for a path that a profile cannot contain.
    """
    sections = [
        head(),
        defaults(),
        revoked(),
        system(),
        _files(layout, readable, programs, writable),
        _semaphores(),
        own_processes(),
        *([_network()] if network else []),
    ]
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _files(layout: Layout, readable: Sequence[str], programs: Sequence[str], writable: Sequence[str]) -> list[str]:
    """Return the rules for files, among them the programs that may be started."""
    interpreters = started(layout, ())
    shown = [*installation(layout, interpreters), *layout.files, *programs, *readable]
    folders = ancestors(spellings([*shown, *writable, *SYSTEM, *DATA, *DEVICES]))
    return [
        "; The interpreter with all that is installed, and what else may be read.",
        rule("allow", [*READ, *MAP], subpaths(shown)),
        rule("allow", ["process-exec*"], literals([*interpreters, *programs])),
        "; Where it may write, and neither start nor load what it wrote.",
        rule("allow", [*READ, *_WRITE_IN_FOLDERS], subpaths(writable)),
        "; The folders above all these: whether they exist, but not what is in them.",
        rule("allow", ["file-read-metadata"], [*LINKS, *literals(folders)]),
    ]


def _semaphores() -> list[str]:
    """Return the rule for the semaphores of ``multiprocessing``. All programs of the user can reach them by their names.

    Shared memory is not allowed, since its names can be guessed and other programs keep their data in it.
    """
    return [
        "; The semaphores of multiprocessing.",
        rule("allow", ["ipc-posix-sem"], ['(ipc-posix-name-regex #"^/mp-")']),
    ]


def _network() -> list[str]:
    """Return the rules that allow the network and the lookup of host names."""
    return [
        "; The network, with the names of hosts.",
        rule("allow", ["system-socket"]),
        rule("allow", ["network-outbound"], ['(remote ip "*:*")', *literals([_NAME_SERVICE])]),
        rule("allow", ["network-bind", "network-inbound"], ['(local ip "*:*")']),
        rule("allow", READ, subpaths(_NETWORK_FILES)),
    ]
