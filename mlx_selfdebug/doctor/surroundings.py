"""Check what the package depends on: the sandbox, the model hub, and the folders in which models are kept."""

from __future__ import annotations

import http.client
import os
import shutil
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_selfdebug.doctor.finding import Finding, State, judged
from mlx_selfdebug.errors import DownloadError, SelfDebugError

if TYPE_CHECKING:
    from mlx_selfdebug.sandbox.isolation import Level

HUB_TIMEOUT_S = 2.5
"""How long the hub has to answer, in seconds."""
LOW_SPACE_BYTES, MIN_SPACE_BYTES = 5 * 10**9, 10**9
"""The free disk space below which there is a warning, and below which there is a problem."""
_STATES: dict[Level, State] = {"full": "ok", "weaker": "warning", "none": "problem"}
"""The state of the sandbox by the level of its isolation."""
_HUB_HINT = "check the network or HF_ENDPOINT; models that are here already need no hub"


def examine_sandbox() -> Iterator[Finding]:
    """Yield the findings about the sandbox.

    If the isolation is not full, the first finding lists what a program could do on this machine.
    """
    from mlx_selfdebug.sandbox.isolation import describe_isolation

    try:
        isolation = describe_isolation(afresh=True)
    except SelfDebugError as error:
        yield Finding("sandbox", "problem", "-", str(error))
        return
    tried = [probe for probe in isolation.probes if probe.held is not None]
    n_held = sum(bool(probe.held) for probe in tried)
    mend = f"a program could {'; '.join(isolation.open_ways)}: {_confine()}"
    state = _STATES[isolation.level]
    value = f"{isolation.level}: {n_held} of {len(tried)} escapes stopped"
    yield Finding("sandbox", state, value, "" if state == "ok" else mend)
    yield Finding("sandbox layers", "ok", ", ".join(isolation.layers) or "-")


def _confine() -> str:
    """Return how to confine programs better, or to accept that they are not confined."""
    if sys.platform == "darwin":
        return "run mlx-selfdebug under a user account without files that matter, and pass --allow-weak-sandbox"
    install = "" if shutil.which("bwrap") else "sudo apt-get install bubblewrap, "
    return f"{install}use a container that may create namespaces, or pass --allow-weak-sandbox where that does no harm"


def examine_hub() -> Finding:
    """Check whether the model hub answers, or whether ``HF_HUB_OFFLINE`` says not to ask it."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return Finding("hub", "warning", "offline by HF_HUB_OFFLINE", "unset HF_HUB_OFFLINE to fetch models")
    problem = _why_unreachable(endpoint)
    value = f"{endpoint} answers" if problem is None else f"{endpoint}: {problem}"
    return judged("hub", value, (problem is not None, "warning", _HUB_HINT))


def _why_unreachable(url: str) -> str | None:
    """Return why ``url`` does not answer, or None if it does.

    The request runs in a thread of its own, because no timeout limits the look-up of a host name.
    """
    answer: list[str | None] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "mlx-selfdebug"})
            urllib.request.urlopen(request, timeout=HUB_TIMEOUT_S).close()
            answer.append(None)
        except urllib.error.HTTPError:
            # An error status is an answer, too, so the hub can be reached.
            answer.append(None)
        except (OSError, ValueError, http.client.HTTPException) as error:
            # HTTPException includes InvalidURL, which is raised if a host name has a space or a port is not a number.
            reason = getattr(error, "reason", error)
            answer.append(str(getattr(reason, "strerror", None) or reason))

    thread = threading.Thread(target=ask, name="hub-reach", daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT_S)
    return answer[0] if answer else f"no answer within {HUB_TIMEOUT_S:g} s"


def examine_folders(model: str) -> Iterator[Finding]:
    """Yield the findings about the disk, the cache of models, and whether ``model`` is already in it."""
    from mlx_selfdebug.machine.cache_folder import CACHE_VARIABLE, default_cache_dir

    try:
        cache = default_cache_dir()
    except SelfDebugError as error:
        yield Finding("cache", "problem", "-", _with_hint(error))
        return
    parent = _nearest_existing(cache)
    free = shutil.disk_usage(parent).free
    mend = f"free some disk space, or set {CACHE_VARIABLE} and HF_HOME to folders on another disk"
    yield judged(
        "disk",
        f"{free / 1e9:.1f} GB free at {parent}",
        (free < MIN_SPACE_BYTES, "problem", mend),
        (free < LOW_SPACE_BYTES, "warning", mend),
    )
    is_writable = os.access(parent, os.W_OK | os.X_OK)
    value = f"{cache} ({_size_in_gb(cache)})" if cache.is_dir() else f"{cache} (not made yet)"
    yield judged("cache", value, (not is_writable, "problem", f"export {CACHE_VARIABLE}=/folder/that/can/be/written"))
    yield _model(model)


def _model(name: str) -> Finding:
    from mlx_selfdebug.models.resolve import resolve_model

    try:
        model = resolve_model(name, offline=True)
    except DownloadError:
        return Finding("model", "warning", f"{name} is not here yet", f"mlx-selfdebug models show {name}")
    except SelfDebugError as error:
        return Finding("model", "problem", name, _with_hint(error))
    return Finding("model", "ok", f"{name} ({_size_in_gb(model.path)})")


def _with_hint(error: SelfDebugError) -> str:
    """Return the message of an error, and its hint if it has one."""
    return f"{error}; {error.hint}" if error.hint else str(error)


def _nearest_existing(path: Path) -> Path:
    """Return ``path``, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _size_in_gb(folder: Path) -> str:
    """Return the size of all files in a folder as text. A link counts as the file that it points to."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            # The file was removed meanwhile, or may not be read.
            continue
    return f"{total / 1e9:.2f} GB"
