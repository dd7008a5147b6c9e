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

_CAPABILITY_VERSION_3 = 0x20080522
_MAX_CAPABILITIES = 64
_AMBIENT_CLEAR_ALL = 4
_SECURE_BITS = 0b11101111
"""The secure bits with their locks: neither root nor a change of the user id gives capabilities, and none can be made ambient.

The bit that is not set would let capabilities be kept through a change of the user id. Its lock is set.
"""


def drop() -> str:
    """Give up all privileges and return a description of what was given up. Raises OSError if capabilities are left."""
    bounded = _drop_for_good()
    header = ctypes.create_string_buffer(pack("Ii", _CAPABILITY_VERSION_3, 0))
    nothing = ctypes.create_string_buffer(24)  # three empty sets, each of two words of 32 bits
    call("capset", ctypes.addressof(header), ctypes.addressof(nothing))
    forbid_new_privileges()
    prctl(PR_SET_DUMPABLE, 0)
    return "all sets empty, no new privileges, not dumpable" + (", bounding set empty" if bounded else "")


def forbid_new_privileges() -> None:
    """Forbid this process to gain privileges, such as from set-user-id programs.

    Landlock and seccomp demand this of an unprivileged process.
    """
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def _drop_for_good() -> bool:
    """Close every way to get capabilities back, as far as this process may. Return whether the bounding set is empty now.

    These steps need some privilege. A process without any privilege does not need them, so it is no error if they fail.
    """
    dropped = [_try_prctl(PR_CAPBSET_DROP, number) for number in range(_MAX_CAPABILITIES)]
    _try_prctl(PR_SET_SECUREBITS, _SECURE_BITS)
    _try_prctl(PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    _try_prctl(PR_SET_KEEPCAPS, 0)
    return all(dropped)


def _try_prctl(option: int, argument: int) -> bool:
    """Return whether the call succeeded or concerns a capability that this kernel does not have."""
    try:
        prctl(option, argument)
    except OSError as error:
        return error.errno == errno.EINVAL
    return True
