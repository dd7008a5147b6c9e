"""Keep the findings of the probes in a file, so that the next program need not wait one or more seconds for new probes.

Findings are kept only if they are the best possible ones: every attempt to escape succeeds outside of the sandbox and is stopped
inside. They are used for a day at most, until the machine is started again, and only while nothing has changed on which the
probes depend, such as the kernel (see ``surroundings``).

The file is ignored unless it belongs to this user and no other user can write it. A confined program cannot write it either. The
findings are not relied on alone: each process still has to enter every layer that they name, and runs no program if it cannot.
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
"""Seconds for which findings are used."""
_SANDBOX_CODE = Path(__file__).parent
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Settings of the kernel and of its security modules that decide which layers a process may enter.
_KERNEL_FILES = (
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "/proc/sys/kernel/unprivileged_userns_clone",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/kernel/yama/ptrace_scope",
    "/proc/self/attr/current",
    "/sys/kernel/security/lsm",
)
# The lines of /proc/self/status that say what this process is allowed to do.
_RIGHTS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters")


def cached_findings(probed: Sequence[object], probe: Callable[[], Findings], *, afresh: bool = False) -> Findings:
    """Return the findings about one kind of process: those in the cache if they can still be used, or else those of ``probe()``.

    The ``repr`` of ``probed`` is the key of the kind of process, such as ``("programs", layout, (), [])``. With ``afresh`` the
    probes are made in any case. Raises what ``probe`` raises. If the cache folder cannot be read or written, nothing is kept and
    no error is raised.
    """
    conditions = {**surroundings(), "what": repr(probed)}
    file = _cache_file(conditions)
    if not afresh and file and (cached := _read(file, conditions)):
        return cached
    findings = probe()
    if file and all(item.held for item in findings.probes):
        _write(file, conditions, findings)
    return findings


@cache
def surroundings() -> Mapping[str, str]:
    """Return everything on which the outcome of the probes depends, apart from the kind of process that is probed.

    The value of "boot" is new after each start of the machine. It is empty where the system does not identify its starts.
    """
    return {
        "boot": _boot_id(),
        "kernel": platform.platform(),
        "python": f"{sys.version} {file_identity(sys.executable)}",
        "user": f"{os.getuid()} {os.geteuid()} {os.getgid()} {sorted(os.getgroups())} {os.path.expanduser('~')}",
        "namespaces": str({name: _link(f"/proc/self/ns/{name}") for name in ("mnt", "net", "pid", "user", "cgroup")}),
        "rights": str([line for line in _text("/proc/self/status").splitlines() if line.partition(":")[0] in _RIGHTS]),
        "settings": str({path: _text(path) for path in _KERNEL_FILES}),
        "bubblewrap": file_identity(shutil.which("bwrap") or ""),
        "temporary files": tempfile.gettempdir(),
        "sandbox": _digest_of_sources(),
    }


def file_identity(path: str) -> str:
    """Return the real path, size and time of change of a file as one text, or an empty text if there is no such file.

    The text changes when the file is replaced.
    """
    real = os.path.realpath(path)
    try:
        status = os.stat(real)
    except OSError:
        return ""
    return f"{real} {status.st_size} {status.st_mtime_ns}"


def _boot_id() -> str:
    if sys.platform == "darwin":
        return apple.boot_session() or ""
    return _text(str(_BOOT_ID))


def _digest_of_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(_SANDBOX_CODE.rglob("*.py")):
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


def _cache_file(conditions: Mapping[str, str]) -> Path | None:
    """Return the path of the file for the findings.

    Return None if nothing can be kept: there is no cache folder, or the system does not identify its starts.
    """
    try:
        name = hashlib.sha256(conditions["what"].encode()).hexdigest()[:32]
        return default_cache_dir() / "isolation" / f"{name}.json" if conditions["boot"] else None
    except SelfDebugError:
        return None


def _read(file: Path, conditions: Mapping[str, str]) -> Findings | None:
    """Return the findings in a file, or None if they are too old, were made under other conditions, or may be another user's."""
    try:
        # Without O_NONBLOCK, opening a named pipe in the place of the file would wait for ever.
        with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8") as opened:
            status = os.fstat(opened.fileno())
            if status.st_uid != os.geteuid() or not stat.S_ISREG(status.st_mode) or status.st_mode & 0o022:
                return None
            if not 0 <= time.time() - status.st_mtime < MAX_AGE_S:
                return None
            cached = json.load(opened)
        if cached["surroundings"] != conditions:
            return None
        probes = tuple(Probe(name, group, held is True) for name, group, held in cached["probes"])
        layers = {str(name): str(detail) for name, detail in cached["layers"].items()}
        return Findings(layers, frozenset(cached["in_force"]), probes) if all(item.held for item in probes) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(file: Path, conditions: Mapping[str, str], findings: Findings) -> None:
    """Write the findings to a file in one step, and remove files that are too old. Errors of the file system are ignored."""
    text = json.dumps(
        {
            "surroundings": conditions,
            "layers": dict(findings.layers),
            "in_force": sorted(findings.in_force),
            "probes": [[probe.name, probe.group, probe.held] for probe in findings.probes],
        }
    )
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=file.parent)  # only this user can read or write it
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
