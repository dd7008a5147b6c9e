"""Find the model of a run on which several machines work.

Rank 0 finds or downloads the model, as a single machine would. A rank that does not have the same files gets them from rank 0 and
keeps them in its cache. So the machines of the other ranks need no access to the hub.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlx_selfdebug.distributed import Group
from mlx_selfdebug.distributed.files import share_folder
from mlx_selfdebug.errors import ModelError, UnknownNameError
from mlx_selfdebug.machine.cache_folder import default_cache_dir
from mlx_selfdebug.models.checksum import sha256_of
from mlx_selfdebug.models.resolve import ResolvedModel, resolve_model
from mlx_selfdebug.models.sealed import SEAL
from mlx_selfdebug.progress import Progress

_LOADED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken")
"""Patterns of the names of weights, settings, the tokenizer's files and the chat template."""


def resolve_for_group(group: Group, name: str, progress: Progress) -> ResolvedModel:
    """Return the model ``name`` as rank 0 finds it. Each rank gets the folder with the files on its own machine.

    Rank 0 raises what ``resolve_model`` raises, and the others raise DistributedError then. Raises StoreError if files cannot be
    passed on, for example because a disk is full.
    """
    if group.size == 1:
        return resolve_model(name, progress=progress)
    of_first: dict[str, Any] = group.agree(lambda: _described(resolve_model(name, progress=progress)))
    folder = Path(of_first["path"]) if group.is_first else _on_this_machine(name, of_first["files"])
    is_missing = folder is None
    if folder is None:
        folder = _folder_for(of_first["files"])
        folder.parent.mkdir(parents=True, exist_ok=True)
    if any(group.gather_json(is_missing)):
        share_folder(group, folder, only=tuple(of_first["files"]))
    return ResolvedModel(name, folder, of_first["origin"])


def _described(model: ResolvedModel) -> dict[str, Any]:
    """Return a model as JSON data, together with the SHA-256 of its files."""
    return {**asdict(model), "path": str(model.path), "files": _files(model.path)}


def _folder_for(files: dict[str, str]) -> Path:
    """Return the folder in this machine's cache for a model that is passed on. It is named by the SHA-256 of its ``files``."""
    digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]
    return default_cache_dir() / "models" / f"passed-on-{digest}"


def _on_this_machine(name: str, files: dict[str, str]) -> Path | None:
    """Return the folder of the model ``name`` on this machine, or None unless it is here and has the same ``files`` as rank 0."""
    try:
        folder = resolve_model(name, offline=True).path
    except (ModelError, UnknownNameError):
        return None
    return folder if _files(folder) == files else None


def _files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that a model is loaded from, by the file's name.

    The record of a sealed folder is not among them: it holds time stamps, which differ from machine to machine.
    """
    paths = {path for pattern in _LOADED for path in folder.glob(pattern) if path.name != SEAL}
    return {path.name: sha256_of(path) for path in sorted(paths)}
