"""Turn a GGUF file into a sealed MLX folder with repacked weights, config.json and the tokenizer's files.

Tensors are read and written in pieces of a few million weights, so memory stays under a few hundred megabytes whatever
the model's size. The folder is built under a temporary name and renamed when it is complete. A process that is killed
meanwhile leaves only a folder that the next import removes. This module needs numpy, not mlx.

    folder = import_gguf(Path("model.gguf"), Path("~/.cache/mlx-selfdebug/models").expanduser(), sha256)
    mlx_lm.load(str(folder))
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from mlx_selfdebug.errors import FormatError
from mlx_selfdebug.models.cache import locked, make_writable, require_space, writing
from mlx_selfdebug.models.gguf_file import Bytes, GgufFile, GgufTensor, read_gguf
from mlx_selfdebug.models.gguf_model import ModelPlan, Placement, plan_model
from mlx_selfdebug.models.gguf_repack import BITS, GROUP_SIZE, repack
from mlx_selfdebug.models.gguf_tokenizer import GgufTokenizer, read_tokenizer
from mlx_selfdebug.models.sealed import is_sound, seal
from mlx_selfdebug.progress import NullProgress, Progress, Stage

logger = logging.getLogger(__name__)

WEIGHTS_PER_PIECE = 1 << 22
"""The maximum number of a tensor's weights that are in memory at a time."""


def folder_for(models: Path, sha256: str) -> Path:
    """Return the folder below ``models`` for the repacked GGUF file with this SHA-256. The folder need not exist."""
    return models / f"gguf-{sha256[:16]}"


def import_gguf(path: Path, models: Path, sha256: str, progress: Progress | None = None) -> Path:
    """Repack ``path`` into a folder below ``models`` and return that folder. If a sound one exists, it is returned at once.

    Args:
        path: the GGUF file. It is read and never changed.
        models: the folder that holds repacked models. It is created if it does not exist.
        sha256: the SHA-256 of the file's content, which gives the folder its name and is recorded in its seal.
        progress: told of each piece that is written; silent by default.

    Raises:
        FormatError: the file is damaged, or of a kind that is not read. Nothing is left behind.
        ModelError: ``models`` cannot be created or written.
        DownloadError: the disk is full, or another error of the system occurs while the folder is written.
    """
    folder = folder_for(models, sha256)
    if is_sound(folder, sha256, refresh=True):
        return folder
    make_writable(models)
    with locked(models / f".{folder.name}.lock"), writing(models):
        if not is_sound(folder, sha256):
            _build(path, folder, sha256, progress or NullProgress())
    return folder


def _build(path: Path, folder: Path, sha256: str, progress: Progress) -> None:
    """Repack ``path`` into ``folder``, which is replaced if it exists. Raises what ``import_gguf`` raises."""
    file = read_gguf(path)
    plan, tokenizer = plan_model(file), read_tokenizer(file)
    if tokenizer.size > plan.config["vocab_size"]:
        rows = plan.config["vocab_size"]
        raise FormatError(f"{path} has {tokenizer.size} tokens, but its embedding has only {rows} rows")
    # The repacked model is up to an eighth larger than the GGUF file.
    require_space(folder.parent, path.stat().st_size * 9 // 8, f"the repacked {path.name}")
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir()
        _write_config(unfinished, plan, tokenizer)
        _write_weights(unfinished / "model.safetensors", file, plan, progress)
        seal(unfinished, sha256)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    logger.info("repacked %s into %s", path, folder)


def _write_config(folder: Path, plan: ModelPlan, tokenizer: GgufTokenizer) -> None:
    """Write config.json and the files of the tokenizer."""
    ids: dict[str, Any] = {"eos_token_id": list(tokenizer.end_ids)}
    if tokenizer.bos_id is not None:
        ids["bos_token_id"] = tokenizer.bos_id
    (folder / "config.json").write_text(json.dumps(plan.config | ids, indent=1), "utf-8")
    tokenizer.save(folder)


def _write_weights(target: Path, file: GgufFile, plan: ModelPlan, progress: Progress) -> None:
    """Write one safetensors file: its header, and then each tensor's arrays in the order of the header."""
    total = sum(placement.source.n_bytes for placement in plan.placements)
    with progress.stage("repack", total, "B") as stage, target.open("wb") as stream:
        stream.write(_header(plan))
        for placement in plan.placements:
            _write_tensor(stream, file, placement, stage)
        stream.flush()
        os.fsync(stream.fileno())


def _header(plan: ModelPlan) -> bytes:
    """Return the header of the safetensors file: its length in 8 bytes, and JSON that says where each array is in the data."""
    entries: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    start = 0
    for placement in plan.placements:
        for array in _arrays(placement):
            end = start + array.n_bytes
            entries[array.name] = {"dtype": array.dtype, "shape": array.shape, "data_offsets": [start, end]}
            start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the data begins at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text


class _Array(NamedTuple):
    """An array of the safetensors file."""

    name: str
    dtype: str
    shape: list[int]
    n_bytes: int


def _arrays(placement: Placement) -> Iterator[_Array]:
    """Yield the arrays that a tensor becomes, in the order in which :func:`_write_tensor` writes them."""
    source, path = placement.source, placement.path
    if not placement.quantized:
        yield _Array(f"{path}.{placement.parameter}", source.type_name, list(source.shape), source.n_bytes)
        return
    rows, columns = source.shape
    words, groups = columns * BITS[source.type_name] // 32, columns // GROUP_SIZE
    yield _Array(f"{path}.weight", "U32", [rows, words], 4 * rows * words)
    yield _Array(f"{path}.scales", "F16", [rows, groups], 2 * rows * groups)
    yield _Array(f"{path}.biases", "F16", [rows, groups], 2 * rows * groups)


def _write_tensor(stream: BinaryIO, file: GgufFile, placement: Placement, stage: Stage) -> None:
    """Write the weights of a tensor piece by piece, and then its scales and biases.

    Scales and biases are kept in memory until then, because they are only a tenth of the tensor.
    """
    source = placement.source
    scales: list[bytes] = []
    biases: list[bytes] = []
    for rows in _pieces(file, placement):
        if placement.quantized:
            packed = repack(rows, source.type_name, source.name)
            stream.write(packed.weight.tobytes())
            scales.append(packed.scales.tobytes())
            biases.append(packed.biases.tobytes())
        else:
            stream.write(rows.tobytes())
        stage.advance(rows.nbytes, note=source.name)
    stream.writelines([*scales, *biases])


def _pieces(file: GgufFile, placement: Placement) -> Iterator[Bytes]:
    """Yield the tensor's raw rows in pieces. Rows that llama.cpp reordered are put back into their original order.

    A tensor with reordered rows is a single piece, because its rows are needed in another order than they have in the file.
    """
    source = placement.source
    if len(source.shape) == 1:
        yield file.read_rows(source, 0, 1)
        return
    if placement.heads:
        yield file.read_rows(source, 0, source.shape[0])[_row_order(source, placement.heads)]
        return
    step = max(1, WEIGHTS_PER_PIECE // source.shape[1])
    for start in range(0, source.shape[0], step):
        yield file.read_rows(source, start, min(start + step, source.shape[0]))


def _row_order(source: GgufTensor, heads: int) -> npt.NDArray[np.intp]:
    """Return the indices that put the rows of each head back in place: llama.cpp stores them as pairs (i, i + half)."""
    half = source.shape[0] // heads // 2
    return np.arange(source.shape[0]).reshape(heads, half, 2).swapaxes(1, 2).ravel()
