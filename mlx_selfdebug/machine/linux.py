"""What Linux says of the machine: files below ``root``. None where it does not say."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Literal

ROOT = Path("/")


def system_name(root: Path = ROOT) -> str:
    """``Debian GNU/Linux 12 (bookworm), Linux 6.1.0``."""
    kernel = f"Linux {platform.release()}"
    named = [line for line in _lines(root / "etc/os-release") if line.startswith("PRETTY_NAME=")]
    return f"{named[0].partition('=')[2].strip().strip(chr(34))}, {kernel}" if named else kernel


def chip(root: Path = ROOT) -> str | None:
    """The processor's name; on ARM boards, which have none in ``cpuinfo``, the board's."""
    for line in _lines(root / "proc/cpuinfo"):
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip() or None
    board = _lines(root / "proc/device-tree/model")
    return board[0].rstrip("\0") if board else None


def power_source(root: Path = ROOT) -> Literal["mains", "battery"] | None:
    """``mains`` where a supply is connected, ``battery`` where there is one and it discharges; None on machines without."""
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
