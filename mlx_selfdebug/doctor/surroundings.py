"""Check what the package depends on: the sandbox, the model hub, and the folders in which models are kept."""

from __future__ import annotations

import http.client
import os
import shutil
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
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
_HUB_REMEDY = "check the network or HF_ENDPOINT; models that were downloaded before need no network"


def examine_sandbox() -> Iterator[Finding]:
    """Yield the findings about the sandbox.

    If the isolation is not full, the first finding lists what a program could do on this machine.
    """
    from mlx_selfdebug.sandbox.isolation import describe_isolation

    try:
        isolation = describe_isolation(afresh=True)
    except SelfDebugError as error:
        yield Finding("sandbox", "problem", "-", _with_hint(error))
        return
    # Each probe is an attempt to escape. At level "none" nothing confines a program, even if limits on time and memory hold.
    counted = [probe for probe in isolation.probes if isolation.level != "none" or probe.group != "limits"]
    tried = [probe for probe in counted if probe.held is not None]
    n_held = sum(bool(probe.held) for probe in tried)
    remedy = f"a program could {'; '.join(isolation.open_ways)}: {_confinement_remedy()}"
    state = _STATES[isolation.level]
    value = f"{isolation.level}: {n_held} of {len(tried)} escapes stopped"
    yield Finding("sandbox", state, value, "" if state == "ok" else remedy)
    yield Finding("sandbox layers", "ok", ", ".join(isolation.layers) or "-")


def _confinement_remedy() -> str:
    """Return what to do so that programs are confined better, and how to run them without that."""
    if sys.platform == "darwin":
        return "run mlx-selfdebug under a user account without files that matter, and pass --allow-weak-sandbox"
    install = (
        "" if shutil.which("bwrap") else "install bubblewrap (on Debian and Ubuntu: sudo apt-get install bubblewrap), "
    )
    return f"{install}use a container that may create namespaces, or pass --allow-weak-sandbox where that does no harm"


def examine_hub() -> Finding:
    """Check whether the model hub answers, or whether an environment variable says not to ask it."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    # The hub's client goes by the first of these variables that is not empty.
    variable = next((name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(name)), None)
    if variable and os.environ[variable].upper() in ("1", "TRUE", "YES", "ON"):
        return Finding("hub", "warning", f"offline by {variable}", f"intended? Then ignore this; else unset {variable}")
    problem = _why_unreachable(endpoint)
    value = f"{endpoint} answers" if problem is None else f"{endpoint}: {problem}"
    return judged("hub", value, (problem is not None, "warning", _HUB_REMEDY))


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
    """Yield the findings about the disks, the cache of models, and whether ``model`` is on this machine."""
    from huggingface_hub import constants

    from mlx_selfdebug.machine.cache_folder import default_cache_dir

    try:
        cache = default_cache_dir()
    except SelfDebugError as error:
        yield Finding("cache", "problem", "-", _with_hint(error))
        return
    yield from _disks({"disk": cache, "disk of the hub": Path(constants.HF_HUB_CACHE)})
    yield _cache(cache)
    yield _model(model)


def _disks(folders: Mapping[str, Path]) -> Iterator[Finding]:
    """Check the free space where each of ``folders`` is or will be. Each disk is reported once, with its first folder's name."""
    from mlx_selfdebug.machine.cache_folder import CACHE_VARIABLE

    remedy = f"free some disk space, or set {CACHE_VARIABLE} and HF_HOME to folders on another disk"
    seen: set[int] = set()
    for name, folder in folders.items():
        parent = next(path for path in (folder, *folder.parents) if os.path.isdir(path))
        disk = os.stat(parent).st_dev
        if disk not in seen:
            free = shutil.disk_usage(parent).free
            yield judged(
                name,
                f"{free / 1e9:.1f} GB free at {parent}",
                (free < MIN_SPACE_BYTES, "problem", remedy),
                (free < LOW_SPACE_BYTES, "warning", remedy),
            )
        seen.add(disk)


def _cache(cache: Path) -> Finding:
    """Check that the cache is a folder, or can be made one, and can be written."""
    from mlx_selfdebug.machine.cache_folder import CACHE_VARIABLE

    remedy = f"export {CACHE_VARIABLE}=/folder/that/can/be/written"
    existing = next(path for path in (cache, *cache.parents) if os.path.lexists(path))
    if not os.path.isdir(existing):
        return Finding("cache", "problem", f"{cache}: {existing} is not a folder", remedy)
    is_writable = os.access(existing, os.W_OK | os.X_OK)
    state = _size_in_gb(cache) if existing == cache else "not made yet"
    return judged("cache", f"{cache} ({state})", (not is_writable, "problem", remedy))


def _model(name: str) -> Finding:
    """Check whether a model is on this machine and can be read. Nothing is downloaded."""
    from mlx_selfdebug.models.resolve import resolve_model

    file = Path(os.path.expanduser(name))
    try:
        if file.suffix.lower() == ".gguf" and os.path.isfile(file):
            return _gguf(name, file)
        model = resolve_model(name, offline=True)
    except DownloadError:
        return Finding("model", "warning", f"{name} is not downloaded yet", f"mlx-selfdebug models show {name}")
    except SelfDebugError as error:
        return Finding("model", "problem", name, _with_hint(error))
    return Finding("model", "ok", f"{name} ({_size_in_gb(model.path)})")


def _gguf(name: str, file: Path) -> Finding:
    """Check that our importer can read a GGUF file, by the header alone. Loading the model later repacks the whole file.

    Raises FormatError if the file is damaged or of another kind.
    """
    from mlx_selfdebug.models.gguf_file import read_gguf
    from mlx_selfdebug.models.gguf_model import plan_model
    from mlx_selfdebug.models.gguf_tokenizer import read_tokenizer

    header = read_gguf(file)
    plan_model(header)
    read_tokenizer(header)
    return Finding("model", "ok", f"{name} ({file.stat().st_size / 1e9:.2f} GB, repacked when it is first loaded)")


def _with_hint(error: SelfDebugError) -> str:
    """Return the message of an error, and its hint if it has one."""
    return f"{error}; {error.hint}" if error.hint else str(error)


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
