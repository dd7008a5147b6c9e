"""Gives up every privilege for good: capabilities, what set-user-id programs would give, being looked into by one's equals."""

from __future__ import annotations

import ctypes
import errno
from struct import pack

from mlx_selfdebug.sandbox.confinement.kernel import (
    PR_CAP_AMBIENT,
    PR_CAPBSET_DROP,
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_SECUREBITS,
    call,
    prctl,
)

_VERSION_3 = 0x20080522
_MAX_CAPABILITIES = 64
_AMBIENT_CLEAR_ALL = 4
# Root is nobody special, changing the user id does not change that, kept capabilities and ambient ones are off; all locked.
_SECURE_BITS = 0b11101111


def drop() -> str:
    """In words, what was given up. OSError if capabilities are left."""
    bounded = _try_all()
    header, nothing = ctypes.create_string_buffer(pack("Ii", _VERSION_3, 0)), ctypes.create_string_buffer(24)
    call("capset", ctypes.addressof(header), ctypes.addressof(nothing))
    forbid_new_privileges()
    prctl(PR_SET_DUMPABLE, 0)
    return "all sets empty, no new privileges, not dumpable" + (", bounding set empty" if bounded else "")


def forbid_new_privileges() -> None:
    """What Landlock and seccomp ask of an unprivileged process."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def _try_all() -> bool:
    """What only a process with some privilege can, and one without does not need; whether it could."""
    dropped = [_tried(PR_CAPBSET_DROP, number) for number in range(_MAX_CAPABILITIES)]
    _tried(PR_SET_SECUREBITS, _SECURE_BITS)
    _tried(PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    _tried(PR_SET_KEEPCAPS, 0)
    return all(dropped)


def _tried(option: int, argument: int) -> bool:
    try:
        prctl(option, argument)
    except OSError as error:
        return error.errno == errno.EINVAL  # a capability that this kernel does not have
    return True
