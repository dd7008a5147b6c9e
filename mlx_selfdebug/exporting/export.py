"""Export the adapter of a run in the form that another program loads.

>>> export("runs/first", to="peft", output="first-peft")                               # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mlx_selfdebug.errors import UnknownNameError, UsageError
from mlx_selfdebug.exporting.difference import Difference, Logits, answer_logits, compare_logits
from mlx_selfdebug.exporting.fused import DTYPES, require_bits, usual_dtype, write_fused
from mlx_selfdebug.exporting.mlx_lm import write_mlx_lm
from mlx_selfdebug.exporting.peft import write_peft
from mlx_selfdebug.exporting.run_adapter import RunAdapter, open_run_adapter
from mlx_selfdebug.exporting.writing import require_free, writing_folder
from mlx_selfdebug.models.catalog import ALIASES, original_of
from mlx_selfdebug.models.load import load_model, open_model
from mlx_selfdebug.models.peft_settings import is_peft, read_peft_settings
from mlx_selfdebug.progress import Progress
from mlx_selfdebug.store import StoredRun

FORMS = {
    "mlx": "the adapter in mlx-lm's format",
    "peft": "the adapter in PEFT's format, for transformers",
    "fused": "a model for mlx-lm with the adapter merged into it",
    "gguf": "a model for llama.cpp with the adapter merged into it, as one file",
}
"""The forms in which an adapter can be exported."""


@dataclass(frozen=True)
class Export:
    """An export that was written."""

    path: Path
    """The folder, or the file of the form "gguf"."""
    form: str
    """The form: a key of ``FORMS``."""
    base: str
    """The base model, by the name under which the library that loads the export knows it."""
    files: Mapping[str, int]
    """The size of each file in bytes."""
    dtype: str | None = None
    """The dtype of the weights of a whole model: "f32", "f16" or "bf16"; None for an adapter."""
    bits: int | None = None
    """The number of bits per weight if the weights are quantized, or else None."""
    difference: Difference | None = None
    """How far the logits of a quantized model are from those of base and adapter, or None if it is not quantized."""
    notes: tuple[str, ...] = field(default=())
    """Sentences that say what was assumed about the base model."""

    @property
    def n_bytes(self) -> int:
        """The size of all files together in bytes."""
        return sum(self.files.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and ``n_bytes`` as plain data for JSON."""
        return {**asdict(self), "path": str(self.path), "n_bytes": self.n_bytes}

    def __str__(self) -> str:
        form = f"{self.form}, {self.bits} bits" if self.bits else ", ".join(filter(None, (self.form, self.dtype)))
        lines = [f"{self.path}: {form}, {_size(self.n_bytes)}", f"base: {self.base}"]
        lines += [str(self.difference)] if self.difference else []
        return "\n".join([*lines, *self.notes])


def export(
    run: str | Path | StoredRun,
    *,
    to: str,
    output: str | Path,
    bits: int | None = None,
    dtype: str = "",
    model: str = "",
    base: str = "",
    progress: Progress | None = None,
) -> Export:
    """Export the adapter of ``run``, and return what was written. It is written whole or not at all.

    Args:
        run: a run, its folder, or the folder of an adapter in mlx-lm's format or in PEFT's.
        to: the form, a key of ``FORMS``.
        output: the folder to write, or the file for "gguf". It must not exist, unless it is an empty folder.
        bits: for "fused": 8 to quantize the weights. Then the difference of logits is measured, too.
        dtype: for "fused" and "gguf": "f32", "f16" or "bf16", and for "gguf" also "q8_0". By default a fused model has the dtype in
            which this machine computes the model (float16 with ``bits`` if that is float32), and a GGUF file has float16.
        model: the name of the base model, if it is not the one that the run or the adapter names.
        base: for "peft": the name under which transformers loads the base model. By default it is the model that an alias was
            converted from, and else the base model's own name.
        progress: told of the work; silent by default.

    Raises:
        UsageError: there is no such form, or an option does not go with it.
        StoreError: there is no run, or it has no adapter yet; or the output exists or cannot be written.
        ModelError: the model or the adapter cannot be read, they do not belong together, or the form cannot hold the adapter.
    """
    output = Path(output).expanduser()
    _require_options(to, bits, dtype, base)
    require_free(output)
    source = open_run_adapter(run.path if isinstance(run, StoredRun) else Path(run).expanduser(), model)
    if to == "gguf":
        return _export_gguf(source, output, dtype or "f16", progress)
    if to == "fused":
        return _export_fused(source, output, bits, dtype, progress)
    return _export_adapter(source, to, output, base, progress)


def _require_options(to: str, bits: int | None, dtype: str, base: str) -> None:
    """Raise UsageError for an unknown form, and for an option that the form does not have."""
    if to not in FORMS:
        raise UnknownNameError("form of an export", to, FORMS)
    if bits is not None and to != "fused":
        raise UsageError(f"bits goes with the form fused, and not with {to}")
    require_bits(bits)
    if dtype and to not in ("fused", "gguf"):
        raise UsageError(f"dtype goes with the forms fused and gguf, and not with {to}")
    if dtype and to == "fused" and dtype not in DTYPES:
        raise UnknownNameError("dtype of a fused model", dtype, DTYPES)
    if base and to != "peft":
        raise UsageError(f"base goes with the form peft, and not with {to}")


def _export_adapter(source: RunAdapter, to: str, output: Path, base: str, progress: Progress | None) -> Export:
    """Export the adapter alone, in the form "mlx" or "peft"."""
    notes: tuple[str, ...] = ()
    if to == "mlx":
        base = _hub_name(source.model_name)
        with writing_folder(output) as folder:
            write_mlx_lm(source, base, folder)
    else:
        model = open_model(source.model_name, progress=progress)
        base, notes = _base_for_transformers(source, base)
        with writing_folder(output) as folder:
            write_peft(source, model, base, folder)
    return Export(path=output, form=to, base=base, files=_sizes(output), notes=notes)


def _export_fused(source: RunAdapter, output: Path, bits: int | None, dtype: str, progress: Progress | None) -> Export:
    """Export a whole model for mlx-lm and, if it is quantized, measure the difference that this makes."""
    # The weights are not loaded here but where they are merged, so that they are in memory only once.
    model = open_model(source.model_name, progress=progress)
    dtype = dtype or usual_dtype(model, bits)
    base = _hub_name(source.model_name)
    with writing_folder(output) as folder:
        write_fused(source, model, base, folder, bits=bits, dtype=dtype, progress=progress)
    difference = _difference(source, output, progress) if bits else None
    return Export(
        path=output,
        form="fused",
        base=base,
        files=_sizes(output),
        dtype=dtype,
        bits=bits,
        difference=difference,
    )


def _difference(source: RunAdapter, output: Path, progress: Progress | None) -> Difference:
    """Return how far the logits of the exported model are from those of the base with the adapter. Load one after the other."""

    def expected_logits() -> Logits:
        # When this function returns, its model is freed, so that only one model is in memory at a time.
        model = load_model(source.model_name, progress=progress)
        with source.adapter.applied(model):
            return answer_logits(model, progress)

    expected = expected_logits()
    return compare_logits(expected, answer_logits(load_model(str(output), progress=progress), progress))


def _export_gguf(source: RunAdapter, output: Path, dtype: str, progress: Progress | None) -> Export:
    """Export a whole model as a GGUF file."""
    from mlx_selfdebug.exporting.gguf import export_gguf

    model = open_model(source.model_name, progress=progress)
    source.adapter.require_base(model)
    export_gguf(model, source.adapter, output, dtype, progress)
    return Export(
        path=output,
        form="gguf",
        base=_hub_name(source.model_name),
        files={output.name: output.stat().st_size},
        dtype=dtype,
    )


def _base_for_transformers(source: RunAdapter, base: str) -> tuple[str, tuple[str, ...]]:
    """Return the name under which transformers loads the base model of an adapter, and a note if that name is only assumed."""
    if not base and is_peft(source.adapter.path):
        base = read_peft_settings(source.adapter.path).base
    name = source.model_name
    if base or name in ALIASES:
        return base or original_of(name), ()
    return name, (f"It is assumed that transformers loads the base model as {name}. If not, name it with --base.",)


def _hub_name(name: str) -> str:
    """Return the repository on the hub of the model ``name`` if it has an alias, or else ``name``."""
    return ALIASES[name].hub if name in ALIASES else name


def _sizes(folder: Path) -> dict[str, int]:
    """Return the size of each file in a folder in bytes, by the file's name."""
    return {file.name: file.stat().st_size for file in sorted(folder.iterdir())}


def _size(n_bytes: int) -> str:
    """Return a size with its unit, such as "17.3 MB"."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
