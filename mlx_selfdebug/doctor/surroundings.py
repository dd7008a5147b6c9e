"""The sandbox, the model hub, and the folders models are kept in."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from mlx_selfdebug.doctor.finding import Finding, State, judged
from mlx_selfdebug.errors import SelfDebugError

HUB_TIMEOUT_S = 2.5
LITTLE_SPACE, LEAST_SPACE = 5 * 10**9, 10**9
_OFFLINE = "check the network or HF_ENDPOINT; models that are here already need none"


def examine_sandbox() -> Iterator[Finding]:
    """How well model-written code is confined: what a program could do here is named, each way by itself."""
    from mlx_selfdebug.sandbox.isolation import describe_isolation

    try:
        found = describe_isolation()
    except SelfDebugError as error:
        yield Finding("sandbox", "problem", "-", str(error))
        return
    state: State = "ok" if found.level == "full" else "warning" if found.level == "weaker" else "problem"
    tried = [probe for probe in found.probes if probe.held is not None]
    held = sum(bool(probe.held) for probe in tried)
    mend = f"a program could {'; '.join(found.open_ways)}: {_confine()}"
    yield judged("sandbox", f"{found.level}: {held} of {len(tried)} escapes stopped", (state != "ok", state, mend))
    yield Finding("sandbox layers", "ok", ", ".join(found.layers) or "-")


def _confine() -> str:
    if sys.platform == "darwin":
        return "run it as a user with nothing to lose, and pass --allow-weak-sandbox"
    install = "" if shutil.which("bwrap") else "sudo apt-get install bubblewrap, "
    return f"{install}a container that may make namespaces, or --allow-weak-sandbox where that does no harm"


def examine_hub() -> Finding:
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return Finding("hub", "warning", "offline by HF_HUB_OFFLINE", "unset HF_HUB_OFFLINE to fetch models")
    problem = _unreachable(endpoint)
    value = f"{endpoint} answers" if problem is None else f"{endpoint}: {problem}"
    return judged("hub", value, (problem is not None, "warning", _OFFLINE))


def _unreachable(url: str) -> str | None:
    """Why nothing answers there, None if something does. In a thread of its own: looking up a name can hang past any timeout."""
    answer: list[str | None] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "mlx-selfdebug"})
            urllib.request.urlopen(request, timeout=HUB_TIMEOUT_S).close()
            answer.append(None)
        except urllib.error.HTTPError:
            answer.append(None)  # an answer all the same
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            answer.append(str(getattr(reason, "strerror", None) or reason))

    thread = threading.Thread(target=ask, name="hub-reach", daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT_S)
    return answer[0] if answer else f"no answer within {HUB_TIMEOUT_S:g} s"


def examine_folders(model: str) -> Iterator[Finding]:
    from mlx_selfdebug.models.cache import CACHE_VARIABLE, default_cache_dir

    try:
        cache = default_cache_dir()
    except SelfDebugError as error:
        yield Finding("cache", "problem", "-", f"{error}: {error.hint}")
        return
    parent = _existing(cache)
    free = shutil.disk_usage(parent).free
    mend = f"free some space, or let {CACHE_VARIABLE} and HF_HOME name folders on another disk"
    yield judged(
        "disk",
        f"{free / 1e9:.1f} GB free at {parent}",
        (free < LEAST_SPACE, "problem", mend),
        (free < LITTLE_SPACE, "warning", mend),
    )
    writable = os.access(parent, os.W_OK | os.X_OK)
    value = f"{cache} ({_gb(cache)})" if cache.is_dir() else f"{cache} (not made yet)"
    yield judged("cache", value, (not writable, "problem", f"export {CACHE_VARIABLE}=/folder/that/can/be/written"))
    yield _model(model)


def _model(name: str) -> Finding:
    from mlx_selfdebug.models.resolve import resolve_model

    try:
        found = resolve_model(name, offline=True)
    except SelfDebugError:
        return Finding("model", "warning", f"{name} is not here yet", f"mlx-selfdebug models show {name}")
    return Finding("model", "ok", f"{name} ({_gb(found.path)})")


def _existing(path: Path) -> Path:
    """``path``, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _gb(folder: Path) -> str:
    """The bytes of a folder's files; a link counts as what it points to."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # it went away, or may not be looked at
            continue
    return f"{total / 1e9:.2f} GB"
