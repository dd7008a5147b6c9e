"""Find the model of a run on which several machines work: it is fetched once and passed on to the machines that do not have it."""

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
    """Return the model ``name`` as rank 0 finds it, on every rank.

    Rank 0 downloads it if necessary, as ``resolve_model`` does. A rank that has the same files already uses them. The others get
    rank 0's files and keep them in their cache.
    """
    if group.size == 1:
        return resolve_model(name, progress=progress)
    first: dict[str, Any] = group.agree(lambda: _described(resolve_model(name, progress=progress)))
    own = None if group.is_first else _on_this_machine(name, first["files"])
    if group.is_first:
        own = Path(first["path"])
    if any(group.gather_json(own is None)):
        if own is None:
            digest = hashlib.sha256(repr(sorted(first["files"].items())).encode()).hexdigest()[:16]
            own = default_cache_dir() / "models" / f"passed-on-{digest}"
            own.parent.mkdir(parents=True, exist_ok=True)
        share_folder(group, own, only=tuple(first["files"]))
    assert own is not None
    return ResolvedModel(name, own, first["origin"])


def _described(model: ResolvedModel) -> dict[str, Any]:
    return {**asdict(model), "path": str(model.path), "files": _files(model.path)}


def _on_this_machine(name: str, files: dict[str, str]) -> Path | None:
    """Return the folder of the model on this machine if it is here and has the files of rank 0."""
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
