"""Read what Linux says about the machine from files below ``root``. A value that Linux does not state is None."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Literal

ROOT = Path("/")


def system_name(root: Path = ROOT) -> str:
    """Return the names of the distribution and the kernel, such as ``Debian GNU/Linux 12 (bookworm), Linux 6.1.0``."""
    kernel = f"Linux {platform.release()}"
    names = [line for line in _lines(root / "etc/os-release") if line.startswith("PRETTY_NAME=")]
    return f"{names[0].partition('=')[2].strip().strip(chr(34))}, {kernel}" if names else kernel


def chip(root: Path = ROOT) -> str | None:
    """Return the processor's name, or the board's on ARM boards, where ``cpuinfo`` names no processor."""
    for line in _lines(root / "proc/cpuinfo"):
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip() or None
    board = _lines(root / "proc/device-tree/model")
    return board[0].rstrip("\0") if board else None


def power_source(root: Path = ROOT) -> Literal["mains", "battery"] | None:
    """Return ``mains`` if a power supply is connected, ``battery`` if a battery is discharging, and None otherwise."""
    battery = False
    for supply in sorted((root / "sys/class/power_supply").glob("*")):
        kind = "".join(_lines(supply / "type"))
        if kind in ("Mains", "USB") and "".join(_lines(supply / "online")) == "1":
            return "mains"
        battery = battery or (kind == "Battery" and "".join(_lines(supply / "status")) == "Discharging")
    return "battery" if battery else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
