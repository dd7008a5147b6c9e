"""Everything that is asked of macOS's own tools: one call each, one parser each, None where the answer is not understood.

The calls exist on macOS alone; the parsers run anywhere and are tested on recorded answers. Nothing here needs a password.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Ask = Callable[[Sequence[str]], str]
"""A command to what it prints; empty if it cannot be run."""

TIMEOUT_S = 2.0
_SYSCTL = (
    "machdep.cpu.brand_string", "hw.perflevel0.physicalcpu", "hw.perflevel1.physicalcpu", "iogpu.wired_limit_mb",
)  # fmt: skip
_PRESSURES = ("nominal", "moderate", "heavy", "trapping", "sleeping")
"""``OSThermalNotification.h``: the levels of ``com.apple.system.thermalpressurelevel``."""


def ask(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


@dataclass(frozen=True)
class Hardware:
    chip: str | None
    performance_cores: int | None
    efficiency_cores: int | None
    gpu_cores: int | None
    wired_limit_bytes: int | None


def read_hardware(ask: Ask = ask) -> Hardware:
    # A name that this chip does not have is an error on stderr; the others are printed all the same.
    values = parse_sysctl(ask(["/usr/sbin/sysctl", *_SYSCTL]))
    wired = _number(values.get("iogpu.wired_limit_mb"))
    return Hardware(
        values.get("machdep.cpu.brand_string") or None,
        _number(values.get("hw.perflevel0.physicalcpu")),
        _number(values.get("hw.perflevel1.physicalcpu")),
        parse_gpu_cores(ask(["/usr/sbin/ioreg", "-rc", "AGXAccelerator", "-d1"])),
        wired * 2**20 if wired else None,
    )


def system_name(ask: Ask = ask) -> str | None:
    """``macOS 15.1 (24B83)``."""
    return parse_sw_vers(ask(["/usr/bin/sw_vers"]))


def power_source(ask: Ask = ask) -> Literal["mains", "battery"] | None:
    return parse_power_source(ask(["/usr/bin/pmset", "-g", "batt"]))


def low_power_mode(ask: Ask = ask) -> bool | None:
    return parse_low_power(ask(["/usr/bin/pmset", "-g"]))


def thermal_pressure(ask: Ask = ask) -> str | None:
    return parse_pressure(ask(["/usr/bin/notifyutil", "-g", "com.apple.system.thermalpressurelevel"]))


def parse_sysctl(text: str) -> dict[str, str]:
    """``name: value`` lines."""
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def parse_gpu_cores(text: str) -> int | None:
    found = re.search(r'"gpu-core-count"\s*=\s*(\d+)', text)
    return int(found[1]) if found else None


def parse_sw_vers(text: str) -> str | None:
    values = parse_sysctl(text)
    name, number, build = (values.get(key) for key in ("ProductName", "ProductVersion", "BuildVersion"))
    if not name or not number:
        return None
    return f"{name} {number} ({build})" if build else f"{name} {number}"


def parse_power_source(text: str) -> Literal["mains", "battery"] | None:
    """The first line of ``pmset -g batt``: ``Now drawing from 'AC Power'``."""
    if "'AC Power'" in text:
        return "mains"
    return "battery" if "'Battery Power'" in text else None


def parse_low_power(text: str) -> bool | None:
    """``lowpowermode 1`` of ``pmset -g``; on Macs with a high power mode ``powermode``: 0 automatic, 1 low, 2 high."""
    found = re.search(r"^\s*(?:lowpowermode|powermode)\s+(\d)\s*$", text, re.MULTILINE)
    return found[1] == "1" if found else None


def parse_pressure(text: str) -> str | None:
    """``com.apple.system.thermalpressurelevel 0``."""
    found = re.search(r"thermalpressurelevel\s+(\d+)", text)
    level = int(found[1]) if found else -1
    return _PRESSURES[level] if 0 <= level < len(_PRESSURES) else None


@dataclass(frozen=True)
class PowerSample:
    """One line of ``macmon pipe``: watts of the whole machine, or of the chip where the machine's are not known; GPU degrees C."""

    watts: float
    gpu_celsius: float | None


def parse_macmon(line: str) -> PowerSample | None:
    try:
        values: dict[str, Any] = json.loads(line)
        watts = values.get("sys_power") or values["all_power"]
        celsius = values.get("temp", {}).get("gpu_temp_avg")
        return PowerSample(float(watts), None if celsius is None else float(celsius))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None
