"""Read what Linux says about the machine in its files. A value that Linux does not state is None.

Each function takes ``root``, the folder that stands for ``/``, so that tests can put files of their own there.
Only the version of the kernel in :func:`system_name` is always that of the running system.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Literal

ROOT = Path("/")


def system_name(root: Path = ROOT) -> str:
    """Return the names of the distribution and the kernel, such as ``Debian GNU/Linux 12 (bookworm), Linux 6.1.0``."""
    kernel = f"Linux {platform.release()}"
    for line in _lines(root / "etc/os-release"):
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            unquoted = value.strip().strip('"')
            return f"{unquoted}, {kernel}"
    return kernel


def chip(root: Path = ROOT) -> str | None:
    """Return the name of the processor, or that of the board on ARM boards, where ``cpuinfo`` names no processor."""
    for line in _lines(root / "proc/cpuinfo"):
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip() or None
    board = _lines(root / "proc/device-tree/model")
    return board[0].rstrip("\0") if board else None


def power_source(root: Path = ROOT) -> Literal["mains", "battery"] | None:
    """Return ``mains`` if a power supply is connected, ``battery`` if none is connected and a battery is discharging, else None.

    Supplies of scope "Device" are left out. They power only a device, such as a wireless mouse.
    """
    discharging = False
    for supply in sorted((root / "sys/class/power_supply").glob("*")):
        kind = "".join(_lines(supply / "type"))
        if "".join(_lines(supply / "scope")) == "Device":
            continue
        # For USB, 2 means that the supply is connected and that its voltage can be adjusted.
        if kind in ("Mains", "USB") and "".join(_lines(supply / "online")) in ("1", "2"):
            return "mains"
        if kind == "Battery" and "".join(_lines(supply / "status")) == "Discharging":
            discharging = True
    return "battery" if discharging else None


def _lines(path: Path) -> list[str]:
    """Return the lines of a file, or an empty list if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
