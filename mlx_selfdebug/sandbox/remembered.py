"""Keep what the probes have found, so that not every program that is started has to wait for them.

Only the best result is kept: every attempt to escape was possible outside of the sandbox and was stopped inside. It holds for a day
at most, for one start of the machine, and as long as nothing changes that the outcome depends on (``surroundings``). The file is
ignored unless it belongs to this user and nobody else can write it; confined programs cannot. Whatever it says, each process still
has to enter all layers that it names, or runs no program.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from mlx_selfdebug.errors import SelfDebugError
from mlx_selfdebug.machine import apple
from mlx_selfdebug.machine.cache_folder import default_cache_dir
from mlx_selfdebug.sandbox.probes import Findings, Probe

MAX_AGE_S = 24 * 3600.0
_SANDBOX = Path(__file__).parent
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_KERNEL_FILES = (
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "/proc/sys/kernel/unprivileged_userns_clone",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/kernel/yama/ptrace_scope",
    "/proc/self/attr/current",
    "/sys/kernel/security/lsm",
)
_STATUS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters")


def remembered(what: Sequence[object], find: Callable[[], Findings], *, afresh: bool = False) -> Findings:
    """Return the findings about ``what``, kept ones if there are any that still hold, else those of ``find``.

    ``what`` describes by its ``repr`` which processes were probed. With ``afresh`` the probes are made in any case. Raises what
    ``find`` raises; a folder that cannot be read or written only means that nothing is kept.
    """
    around = {**surroundings(), "what": repr(what)}
    file = _file(around)
    if not afresh and file and (kept := _read(file, around)):
        return kept
    findings = find()
    if file and all(probe.held for probe in findings.probes):
        _write(file, around, findings)
    return findings


@cache
def surroundings() -> Mapping[str, str]:
    """Return what the outcome of the probes depends on, apart from the processes that are probed.

    "boot" is empty where it is unknown since when the machine has been running.
    """
    return {
        "boot": _boot(),
        "kernel": platform.platform(),
        "python": f"{sys.version} {seen(sys.executable)}",
        "user": f"{os.getuid()} {os.geteuid()} {os.getgid()} {sorted(os.getgroups())} {os.path.expanduser('~')}",
        "namespaces": str({name: _link(f"/proc/self/ns/{name}") for name in ("mnt", "net", "pid", "user", "cgroup")}),
        "rights": str([line for line in _text("/proc/self/status").splitlines() if line.partition(":")[0] in _STATUS]),
        "settings": str({path: _text(path) for path in _KERNEL_FILES}),
        "bubblewrap": seen(shutil.which("bwrap") or ""),
        "temporary files": tempfile.gettempdir(),
        "sandbox": _digest_of_sources(),
    }


def seen(path: str) -> str:
    """Return the real path of a file with its size and time of change, by which another one in its place is noticed."""
    real = os.path.realpath(path)
    try:
        found = os.stat(real)
    except OSError:
        return ""
    return f"{real} {found.st_size} {found.st_mtime_ns}"


def _boot() -> str:
    if sys.platform == "darwin":
        return apple.boot_session() or ""
    return _text(str(_BOOT))


def _digest_of_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(_SANDBOX.rglob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _file(around: Mapping[str, str]) -> Path | None:
    """Return the file that keeps the findings, or None if none are to be kept."""
    try:
        name = hashlib.sha256(around["what"].encode()).hexdigest()[:32]
        return default_cache_dir() / "isolation" / f"{name}.json" if around["boot"] else None
    except SelfDebugError:
        return None


def _read(file: Path, around: Mapping[str, str]) -> Findings | None:
    """Return the findings in a file, or None if they do not hold now or anybody else can have written them."""
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8") as opened:
            found = os.fstat(opened.fileno())
            if found.st_uid != os.geteuid() or not stat.S_ISREG(found.st_mode) or found.st_mode & 0o022:
                return None
            if not 0 <= time.time() - found.st_mtime < MAX_AGE_S:
                return None
            kept = json.load(opened)
        if kept["surroundings"] != around:
            return None
        probes = tuple(Probe(name, group, held is True or None) for name, group, held in kept["probes"])
        layers = {str(name): str(detail) for name, detail in kept["layers"].items()}
        return Findings(layers, frozenset(kept["in_force"]), probes) if all(p.held for p in probes) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(file: Path, around: Mapping[str, str], findings: Findings) -> None:
    text = json.dumps(
        {
            "surroundings": around,
            "layers": dict(findings.layers),
            "in_force": sorted(findings.in_force),
            "probes": [[probe.name, probe.group, probe.held] for probe in findings.probes],
        }
    )
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=file.parent)  # readable and writable for this user alone
        try:
            with open(descriptor, "w", encoding="utf-8") as opened:
                opened.write(text)
            os.replace(partial, file)
        except OSError:
            os.unlink(partial)
            raise
        for other in file.parent.iterdir():
            if time.time() - other.stat().st_mtime > MAX_AGE_S:
                other.unlink(missing_ok=True)
