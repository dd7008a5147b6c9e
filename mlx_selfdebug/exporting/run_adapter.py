"""Open what of a run is taken along: its adapter, and the name of the model that the adapter belongs to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from mlx_selfdebug.errors import ModelError, StoreError
from mlx_selfdebug.models.adapters import SETTINGS, WEIGHTS
from mlx_selfdebug.store import stored_config
from mlx_selfdebug.training.adapter import Adapter, open_adapter


@dataclass(frozen=True)
class RunAdapter:
    """The adapter of a run."""

    run: Path
    """The folder of the run, or the folder of the adapter itself if it belongs to no run."""
    adapter: Adapter
    """The adapter's folder and the origin of its base model."""
    model_name: str
    """The name by which ``load_model`` loads the base model."""


def open_run_adapter(path: Path, model: str = "") -> RunAdapter:
    """Return the adapter of the run in the folder ``path``, or the adapter whose own folder is ``path``.

    The base model is ``model``, by default the one that the run or the adapter's settings name.

    Raises StoreError if ``path`` is neither, or if the run has no adapter yet. Raises ModelError if the adapter cannot be read, or
    if it does not say which model it belongs to.
    """
    if (path / "run.db").exists():
        return _of_run(path, model)
    if not (path / SETTINGS).exists():
        raise StoreError(f"{path} is neither a run nor an adapter", hint="list the runs with: mlx-selfdebug runs list")
    if (path.parent / "run.db").exists():
        return _of_run(path.parent, model)
    return RunAdapter(path, open_adapter(path), model or _base_of(path))


def _of_run(path: Path, model: str) -> RunAdapter:
    config = stored_config(path)
    if config is None:
        raise StoreError(f"{path} is not a run folder: it has no config.toml")
    folder = path / "adapter"
    if not (folder / WEIGHTS).exists():
        raise StoreError(f"{path} has no adapter yet", hint=f"train one with: mlx-selfdebug train --run {path}")
    return RunAdapter(path, open_adapter(folder), model or config.model)


def _base_of(folder: Path) -> str:
    """Return the name of the model that the settings of an adapter name."""
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8-sig"))
    kind, _, place = str(settings.get("base_origin", "")).partition(":")
    if kind == "hub":
        return place.partition("@")[0]
    if kind == "folder":
        return place
    if name := settings.get("model"):
        return str(name)
    raise ModelError(f"{folder} does not say which model it belongs to", hint="name the model with --model")
