"""Write the folder of an export so that it is there whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mlx_selfdebug.models.backend import mx

from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.store.files import making_folder


def require_free(output: Path) -> None:
    """Raise StoreError if there is already something at ``output``. An empty folder counts as nothing."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        what = "is not empty" if output.is_dir() else "exists"
        raise StoreError(f"{output} {what}: nothing was written", hint="choose another place with --output")


@contextmanager
def writing_folder(output: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes ``output`` when the block ends without an error.

    Raises StoreError if there is already something at ``output``, or if it cannot be written. An OSError inside the block is raised
    as StoreError, too. If the block raises, what it has written is removed.
    """
    require_free(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with making_folder(output) as folder:
            yield folder
    except OSError as error:
        raise StoreError(
            f"{output} cannot be written: {error.strerror or error}",
            hint="free some disk space, or choose another place with --output",
        ) from error


def save_arrays(file: Path, arrays: Mapping[str, mx.array], metadata: Mapping[str, str]) -> None:
    """Write arrays as a safetensors file. Raises OSError if it cannot be written, where MLX raises RuntimeError."""
    try:
        mx.save_safetensors(str(file), dict(arrays), metadata=dict(metadata))
    except RuntimeError as error:
        raise OSError(str(error)) from error
