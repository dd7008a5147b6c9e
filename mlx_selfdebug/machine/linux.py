"""Read what Linux says about the machine in ``/etc``, ``/proc`` and ``/sys``. A value that Linux does not state is None.

Each function takes ``root``, the folder that stands for ``/``, so that tests can put files of their own there.
Only the version of the kernel in :func:`system_name` is always that of the running system.
"""

from __future__ import annotations

import platform
import shlex
from pathlib import Path
from typing import Literal

ROOT = Path("/")


def system_name(root: Path = ROOT) -> str:
    """Return the names of the distribution and the kernel, such as ``Debian GNU/Linux 12 (bookworm), Linux 6.1.0``."""
    kernel = f"Linux {platform.release()}"
    # The second file is the one that the distribution comes with. The first may be missing.
    for line in (*_lines(root / "etc/os-release"), *_lines(root / "usr/lib/os-release")):
        key, _, value = line.partition("=")
        if key.strip() == "PRETTY_NAME" and (name := _unquoted(value)):
            return f"{name}, {kernel}"
    return kernel


def chip(root: Path = ROOT) -> str | None:
    """Return the name of the processor, or None if it is not known.

    On ARM, where ``cpuinfo`` often names no processor, it is the name of the board.
    """
    for line in _lines(root / "proc/cpuinfo"):
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    board = "".join(_lines(root / "proc/device-tree/model")[:1]).strip("\0 ")
    return board or None


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


def _unquoted(value: str) -> str:
    """Return a value of os-release without its quotes, which are those of a shell. An unpaired quote stays."""
    try:
        return " ".join(shlex.split(value))
    except ValueError:
        return value.strip()


def _lines(path: Path) -> list[str]:
    """Return the lines of a file, or an empty list if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
