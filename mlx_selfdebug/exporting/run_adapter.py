"""Open the adapter of a run or of a folder, and find out the name of the model that it belongs to.

Exporting, serving and uploading begin with this. They accept the folder of a run and the folder of an adapter alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlx_selfdebug.errors import ModelError, StoreError
from mlx_selfdebug.models.adapters import SETTINGS, read_settings
from mlx_selfdebug.models.catalog import ALIASES, original_of
from mlx_selfdebug.models.peft_settings import is_peft, read_peft_settings
from mlx_selfdebug.store import stored_config
from mlx_selfdebug.store.database import LIST_RUNS
from mlx_selfdebug.training.adapter import Adapter, open_adapter


@dataclass(frozen=True)
class RunAdapter:
    """An adapter with the name of its base model."""

    run: Path
    """The folder of the run, or of the adapter itself if it does not belong to a run."""
    adapter: Adapter
    model_name: str
    """The name by which ``load_model`` loads the base model."""

    @property
    def is_of_run(self) -> bool:
        """Whether the adapter belongs to a run, whose records say how it was trained."""
        return self.run != self.adapter.path


def open_run_adapter(path: str | Path, model: str = "") -> RunAdapter:
    """Open the adapter of the run at ``path``, or the adapter in the folder ``path``.

    The base model is ``model``, by default the one that the run or the adapter's settings name. Raises StoreError if there is no
    run and no adapter, or if the run has no adapter yet; and ModelError if the adapter cannot be read or its model is not known.
    """
    folder = Path(path)
    run = folder.parent if folder.name == "adapter" and (folder.parent / "config.toml").is_file() else folder
    config = stored_config(run)
    if config is not None:
        adapter_path = run / "adapter"
        if not (adapter_path / SETTINGS).is_file():
            raise StoreError(f"{run} has no adapter yet", hint=f"mlx-selfdebug train --run {run}")
        return RunAdapter(run, open_adapter(adapter_path), model or config.model)
    if not is_peft(folder) and not (folder / SETTINGS).is_file():
        raise StoreError(f"there is neither a run nor an adapter in {path}", hint=LIST_RUNS)
    adapter = open_adapter(folder)
    name = model or _model_of(adapter)
    if not name:
        raise ModelError(f"{path} does not say which model it was trained on", hint="name the model with --model")
    return RunAdapter(folder, adapter, name)


def _model_of(adapter: Adapter) -> str:
    """Return the name of the model that an adapter was trained on, or "" if its settings do not tell.

    ``adapter.base`` is the origin of the model: "hub:owner/name@revision", "folder:/a/path" or "gguf:" and the beginning of the
    file's SHA-256. It is "" for an adapter that was not trained here.
    """
    kind, _, rest = adapter.base.partition(":")
    if kind == "hub":
        return rest.partition("@")[0]
    if kind == "folder":
        return rest
    if kind == "gguf":
        names = (alias.name for alias in ALIASES.values() if alias.gguf and alias.gguf.sha256.startswith(rest))
        return next(names, "")
    if is_peft(adapter.path):
        base = read_peft_settings(adapter.path).base
        return next((name for name in ALIASES if original_of(name) == base), base)
    # mlx_lm.lora writes down the name of the model.
    return str(read_settings(adapter.path).get("model") or "")
