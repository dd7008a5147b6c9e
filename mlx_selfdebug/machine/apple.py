"""Ask macOS's own tools about the machine and parse what they print.

For each value there is a function that calls a tool and a parser for what the tool prints. A parser returns None where it does not
understand the text. The calls work on macOS only, and none needs a password. The parsers run on any system and are tested on text
in the form that macOS prints.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Ask = Callable[[Sequence[str]], str]
"""A function that runs a command and returns what it prints, or an empty text if the command cannot be run."""

TIMEOUT_S = 2.0
"""Seconds that a tool may take."""
_SYSCTL_KEYS = (
    "machdep.cpu.brand_string", "hw.perflevel0.physicalcpu", "hw.perflevel1.physicalcpu", "iogpu.wired_limit_mb",
)  # fmt: skip
MAX_DIGITS = 12
"""Longer numbers are not believed. Python refuses to read one of more than 4,300 digits."""
_PRESSURES = ("nominal", "moderate", "heavy", "trapping", "sleeping")
"""The levels of ``com.apple.system.thermalpressurelevel``, from 0 up, as in ``OSThermalNotification.h``."""


def ask(command: Sequence[str]) -> str:
    """Run ``command`` and return what it prints, or an empty text if it does not start or takes longer than ``TIMEOUT_S``."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


@dataclass(frozen=True)
class Hardware:
    """The hardware of a Mac. A value that its tools do not report is None."""

    chip: str | None
    performance_cores: int | None
    efficiency_cores: int | None
    gpu_cores: int | None
    wired_limit_bytes: int | None
    """The memory that the GPU may keep wired, as set by the owner; None where the system's own default applies."""


def read_hardware(ask: Ask = ask) -> Hardware:
    """Return the hardware of this Mac, as ``sysctl`` and ``ioreg`` report it."""
    # For a key that this chip does not have, sysctl prints an error on stderr; it still prints the values of the others.
    values = parse_sysctl(ask(["/usr/sbin/sysctl", *_SYSCTL_KEYS]))
    wired_limit_mb = _number(values.get("iogpu.wired_limit_mb"))
    return Hardware(
        values.get("machdep.cpu.brand_string") or None,
        _number(values.get("hw.perflevel0.physicalcpu")),
        _number(values.get("hw.perflevel1.physicalcpu")),
        parse_gpu_cores(ask(["/usr/sbin/ioreg", "-rc", "AGXAccelerator", "-d1"])),
        wired_limit_mb * 2**20 if wired_limit_mb else None,
    )


def boot_session(ask: Ask = ask) -> str | None:
    """Return the identifier of the time since this Mac was started, such as ``1D2A4F7E-...``. Each start gets a new one."""
    return parse_sysctl(ask(["/usr/sbin/sysctl", "kern.bootsessionuuid"])).get("kern.bootsessionuuid") or None


def system_name(ask: Ask = ask) -> str | None:
    """Return the name, version and build of the system, such as ``macOS 15.1 (24B83)``."""
    return parse_sw_vers(ask(["/usr/bin/sw_vers"]))


def power_source(ask: Ask = ask) -> Literal["mains", "battery"] | None:
    """Return the source from which this Mac draws its power."""
    return parse_power_source(ask(["/usr/bin/pmset", "-g", "batt"]))


def low_power_mode(ask: Ask = ask) -> bool | None:
    """Return whether the Low Power Mode is on."""
    return parse_low_power(ask(["/usr/bin/pmset", "-g"]))


def thermal_pressure(ask: Ask = ask) -> str | None:
    """Return the thermal pressure: nominal, moderate, heavy, trapping or sleeping."""
    return parse_pressure(ask(["/usr/bin/notifyutil", "-g", "com.apple.system.thermalpressurelevel"]))


def parse_sysctl(text: str) -> dict[str, str]:
    """Return the ``name: value`` lines of ``text`` as a dictionary."""
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def parse_gpu_cores(text: str) -> int | None:
    """Return the number of GPU cores in the output of ``ioreg``, which has a line such as ``"gpu-core-count" = 10``."""
    match = re.search(r'"gpu-core-count"\s*=\s*(\d+)', text)
    return _number(match[1]) if match else None


def parse_sw_vers(text: str) -> str | None:
    """Return the name, version and build of the system in the output of ``sw_vers``."""
    values = parse_sysctl(text)  # sw_vers prints lines of the same form
    name, number, build = (values.get(key) for key in ("ProductName", "ProductVersion", "BuildVersion"))
    if not name or not number:
        return None
    return f"{name} {number} ({build})" if build else f"{name} {number}"


def parse_power_source(text: str) -> Literal["mains", "battery"] | None:
    """Return the power source named by the first line of ``pmset -g batt``, such as ``Now drawing from 'AC Power'``."""
    if "'AC Power'" in text:
        return "mains"
    return "battery" if "'Battery Power'" in text else None


def parse_low_power(text: str) -> bool | None:
    """Return whether ``pmset -g`` reports Low Power Mode.

    Most Macs print ``lowpowermode``, which is 0 or 1. Macs with a high power mode print ``powermode`` instead, which is 0 for
    automatic, 1 for low and 2 for high.
    """
    match = re.search(r"^\s*(?:lowpowermode|powermode)\s+(\d)\s*$", text, re.MULTILINE)
    return match[1] == "1" if match else None


def parse_pressure(text: str) -> str | None:
    """Return the name of the thermal pressure in a line such as ``com.apple.system.thermalpressurelevel 0``."""
    match = re.search(r"thermalpressurelevel\s+(\d+)", text)
    level = _number(match[1]) if match else None
    return _PRESSURES[level] if level is not None and level < len(_PRESSURES) else None


@dataclass(frozen=True)
class PowerSample:
    """A measurement of power, which ``macmon pipe`` prints in one line."""

    watts: float
    """The power of the whole machine, or of the chip alone where the machine's is not known."""
    gpu_celsius: float | None
    """The mean temperature of the GPU, or None if it is not stated."""


def parse_macmon(line: str) -> PowerSample | None:
    """Return the measurement in one line of JSON from ``macmon pipe``, or None if the line does not state the power."""
    try:
        values: dict[str, Any] = json.loads(line)
        watts = values.get("sys_power") or values["all_power"]
        celsius = values.get("temp", {}).get("gpu_temp_avg")
        return PowerSample(float(watts), None if celsius is None else float(celsius))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _number(text: str | None) -> int | None:
    """Return the whole number in ``text``, or None if it is no number or has more digits than any that is asked for here."""
    return int(text) if text and text.isdecimal() and len(text) <= MAX_DIGITS else None
