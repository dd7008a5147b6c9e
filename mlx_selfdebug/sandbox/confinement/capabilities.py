"""Give up every privilege of this process for good.

The process loses its capabilities, gains nothing from set-user-id programs, and cannot be inspected by other processes of its user.
"""

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
# Being root gives no capabilities, nor does a change of the user id; none can be kept or made ambient. All bits are locked.
_SECURE_BITS = 0b11101111


def drop() -> str:
    """Give up all privileges and return a description of what was given up. Raises OSError if capabilities are left."""
    bounded = _try_all()
    header, nothing = ctypes.create_string_buffer(pack("Ii", _VERSION_3, 0)), ctypes.create_string_buffer(24)
    call("capset", ctypes.addressof(header), ctypes.addressof(nothing))
    forbid_new_privileges()
    prctl(PR_SET_DUMPABLE, 0)
    return "all sets empty, no new privileges, not dumpable" + (", bounding set empty" if bounded else "")


def forbid_new_privileges() -> None:
    """Forbid this process new privileges. Landlock and seccomp demand this of an unprivileged process."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def _try_all() -> bool:
    """Take the steps that need some privilege, and that a process without any does not need.

    Return whether the bounding set is empty now.
    """
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
