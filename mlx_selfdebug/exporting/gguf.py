"""Write a model with an adapter merged into it as one GGUF file, which llama.cpp and the programs built on it read.

Models of the architectures qwen2 and llama can be written. Our own importer reads the file back exactly: the same tensors, the
same configuration, the same tokenizer.

Tensors are merged, rounded and written one after the other, so hardly any memory is needed beside the network. ``open_model``
returns a model whose weights are read only when they are needed. With such a model, the network takes no float32 memory either.

    model = open_model("qwen2.5-coder-0.5b")
    export_gguf(model, open_adapter(Path("runs/first/adapter")), Path("first.gguf"))
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from mlx_selfdebug.models.backend import nn

from gguf.constants import GGMLQuantizationType, LlamaFileType

from mlx_selfdebug.errors import ModelError, StoreError, UnknownNameError
from mlx_selfdebug.exporting.gguf_metadata import describe_network, describe_origin, read_rope_factors, read_sizes
from mlx_selfdebug.exporting.gguf_tensors import FileTensor, plan_tensors, read_pieces
from mlx_selfdebug.exporting.gguf_tokenizer import describe_tokenizer
from mlx_selfdebug.exporting.gguf_writer import GgufFileWriter
from mlx_selfdebug.models.gguf_file import Value
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.progress import NullProgress, Progress
from mlx_selfdebug.training.adapter import Adapter

logger = logging.getLogger(__name__)

DTYPES: dict[str, tuple[GGMLQuantizationType, LlamaFileType]] = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
"""The types in which matrices can be written, by their short names. The second value is what the file's header calls them."""
METADATA_BYTES = 32 << 20
"""An upper bound for the size of the metadata in bytes. Most of the metadata are the vocabulary and its merges."""


def export_gguf(
    model: Model, adapter: Adapter | None, output: Path, dtype: str = "f16", progress: Progress | None = None
) -> Path:
    """Write ``model`` with ``adapter`` merged into it to the file ``output``, and return its path.

    The file is complete or not there: it is written under another name and renamed at the end.

    Args:
        model: the base model, loaded without an adapter. It is the same afterwards.
        adapter: the adapter, or None for the model as it is.
        output: the file to write. Its folder is made if it does not exist.
        dtype: the type of matrices, one of :data:`DTYPES`. Vectors stay float32.
        progress: reports the bytes that are written; silent by default.

    Raises:
        ModelError: the architecture or the tokenizer cannot be written, the adapter belongs to another model, or a weight is not
            finite or does not fit into ``dtype``.
        StoreError: the file exists, or it cannot be written, or there is not enough space for it.
        UnknownNameError: ``dtype`` is not in :data:`DTYPES`.
    """
    if dtype not in DTYPES:
        raise UnknownNameError("dtype", dtype, DTYPES)
    if model.adapter is not None:
        raise ModelError(
            f"{model.name} has the adapter {model.adapter} already", hint="load the model without an adapter"
        )
    kind, file_type = DTYPES[dtype]
    sizes = read_sizes(model)
    tensors = plan_tensors(model.network, sizes, kind, model.name)
    factors = read_rope_factors(model, sizes)
    if factors is not None:
        tensors.insert(0, FileTensor.of_rope_factors(factors))
    metadata = {
        **describe_origin(model, adapter),
        "general.file_type": int(file_type),
        **describe_network(model, sizes),
    }
    _check_target(output, sum(tensor.n_bytes for tensor in tensors) + METADATA_BYTES)
    # Describing the tokenizer takes longest, so everything that may be refused is checked before.
    tokenizer = getattr(model.tokenizer, "_tokenizer", model.tokenizer)
    metadata |= describe_tokenizer(model.name, tokenizer, model.eos_ids, sizes.vocabulary)
    with adapter.applied(model) if adapter else nullcontext(), _replacing(output) as partial:
        _write(partial, sizes.architecture, metadata, tensors, model.network, progress or NullProgress())
    logger.info("exported %s to %s", model.name, output)
    return output


def _check_target(output: Path, n_bytes: int) -> None:
    """Raise StoreError unless ``n_bytes`` can be written to ``output``, which must not exist."""
    if os.path.lexists(output):
        raise StoreError(f"{output} exists: nothing was written", hint="choose another place with --output")
    folder = next(parent for parent in output.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise StoreError(
            f"not enough space in {folder} for {output.name}: {n_bytes / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free",
            hint="free some disk space, or choose another place with --output",
        )


@contextmanager
def _replacing(output: Path) -> Iterator[Path]:
    """Yield the path of a file to write, which is renamed to ``output`` when the block ends without an error.

    If the block raises, the file is removed. An OSError inside the block is raised as StoreError.
    """
    partial = output.with_name(f".{output.name}.partial-{os.getpid()}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, output)
    except OSError as error:
        raise StoreError(
            f"{output} cannot be written: {error.strerror or error}",
            hint="free some disk space, or choose another place with --output",
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def _write(
    path: Path,
    architecture: str,
    metadata: Mapping[str, Value],
    tensors: Sequence[FileTensor],
    network: nn.Module,
    progress: Progress,
) -> None:
    """Write the header and then the tensors, whose values are read from ``network`` piece by piece."""
    modules = dict(network.named_modules())
    total = sum(tensor.n_bytes for tensor in tensors)
    with progress.stage("export", total, "B") as stage, GgufFileWriter(path, architecture) as writer:
        writer.write_header(metadata, tensors)
        for tensor in tensors:
            for piece in read_pieces(modules, tensor):
                writer.write_piece(piece)
                stage.advance(piece.nbytes, note=tensor.name)
            writer.end_tensor(tensor)
