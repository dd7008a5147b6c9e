"""Keep the state of a training on disk: the adapter, the optimizer's moments and the step.

    training/step-000040.safetensors    the arrays, named adapter.NAME and optimizer.NAME
    training/step-000040.json           their SHA-256 and the settings they belong to; written last
    training/best.safetensors           the adapter that has repaired most so far

A checkpoint is written whole or not at all, and the newest two are kept. If the hash of a checkpoint is wrong, a warning says so
and the checkpoint before it is used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx, nn, optim

from mlx.utils import tree_flatten, tree_unflatten

from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.store import write_atomically

logger = logging.getLogger(__name__)

MAX_CHECKPOINTS = 2
"""The number of newest checkpoints that are kept."""
BEST = "best.safetensors"
"""The file of the adapter that has repaired most so far."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training between two optimizer steps."""

    step: int
    """The number of optimizer steps that are done."""
    adapter: Mapping[str, mx.array]
    """The adapter's weights by their names in the network."""
    optimizer: Mapping[str, mx.array]
    """The optimizer's state by flattened names."""

    def restore(self, network: nn.Module, optimizer: optim.Optimizer) -> None:
        """Load the state into ``network`` and ``optimizer``."""
        network.load_weights(list(self.adapter.items()), strict=False)
        optimizer.state = tree_unflatten(list(self.optimizer.items()))
        mx.eval(network.trainable_parameters(), optimizer.state)


def save_checkpoint(
    folder: Path, step: int, network: nn.Module, optimizer: optim.Optimizer, settings: Mapping[str, Any]
) -> None:
    """Write the state after ``step`` steps, and delete all older states but the one before it.

    ``settings`` holds all that the training depends on, as JSON data. A training with other settings will not continue from this
    state. Raises StoreError if the state cannot be written.
    """
    arrays = {f"adapter.{name}": array for name, array in tree_flatten(network.trainable_parameters())}
    arrays |= {f"optimizer.{name}": array for name, array in tree_flatten(optimizer.state)}
    file = folder / f"step-{step:06d}.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"partial-{step:06d}.safetensors"
        mx.save_safetensors(str(partial), arrays)
        digest = _digest(partial)
        os.replace(partial, file)
    except (OSError, RuntimeError) as error:
        raise StoreError(
            f"a checkpoint cannot be written to {folder}: {error}; the one before is kept",
            hint="free some space, then run the same command again",
        ) from error
    record = {"step": step, "sha256": digest, "settings": dict(settings)}
    write_atomically(file.with_suffix(".json"), json.dumps(record, indent=2) + "\n")
    for old in sorted(folder.glob("step-*.json"))[:-MAX_CHECKPOINTS]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def save_best(folder: Path, step: int, network: nn.Module) -> None:
    """Write the adapter after ``step`` steps as the best so far. Raises StoreError if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"partial-{BEST}"
        mx.save_safetensors(str(partial), dict(tree_flatten(network.trainable_parameters())), {"step": str(step)})
        os.replace(partial, folder / BEST)
    except (OSError, RuntimeError) as error:
        raise StoreError(
            f"the best adapter so far cannot be written to {folder}: {error}",
            hint="free some space, then run the same command again",
        ) from error


def restore_best(folder: Path, step: int, network: nn.Module) -> None:
    """Load the adapter that ``save_best`` has written into ``network``.

    Raises StoreError if it is missing or damaged, or if it is not the adapter after ``step`` steps.
    """
    file = folder / BEST
    try:
        loaded: Any = mx.load(str(file), return_metadata=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise StoreError(f"{file} cannot be read: {error}", hint=f"remove {folder} and train again") from error
    arrays, metadata = loaded
    if metadata.get("step") != str(step):
        raise StoreError(
            f"{file} holds step {metadata.get('step')}, not {step}", hint=f"remove {folder} and train again"
        )
    network.load_weights(list(arrays.items()), strict=False)
    mx.eval(network.trainable_parameters())


def newest_checkpoint(folder: Path, settings: Mapping[str, Any]) -> Checkpoint | None:
    """Return the newest state that is undamaged and was made with ``settings``, or None if there is none."""
    for record_file in sorted(folder.glob("step-*.json"), reverse=True):
        try:
            record = json.loads(record_file.read_text(encoding="utf-8"))
            file = record_file.with_suffix(".safetensors")
            # The recorded settings have been through JSON, which turns tuples into lists.
            if record["settings"] != json.loads(json.dumps(dict(settings))):
                logger.warning("%s was made with other settings and is not used", file)
            elif _digest(file) != record["sha256"]:
                logger.warning("%s is damaged; the checkpoint before it is used", file)
            else:
                return _read(file, int(record["step"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s cannot be used: %s; the checkpoint before it is used", record_file, error)
    return None


def _read(file: Path, step: int) -> Checkpoint:
    """Return the checkpoint after ``step`` steps, whose arrays are in ``file``."""
    arrays: dict[str, mx.array] = mx.load(str(file))  # type: ignore[assignment]
    parts: dict[str, dict[str, mx.array]] = {"adapter": {}, "optimizer": {}}
    for full_name, array in arrays.items():
        part, _, name = full_name.partition(".")
        parts[part][name] = array
    return Checkpoint(step, parts["adapter"], parts["optimizer"])


def _digest(file: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
