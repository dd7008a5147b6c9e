"""Write a GGUF file tensor by tensor and piece by piece, on top of the writer in the ``gguf`` package.

That writer takes only whole tensors, and refuses an empty list in the metadata. The class here adds both.

    with GgufFileWriter(path, "qwen2") as writer:
        writer.write_header(metadata, tensors)
        for tensor in tensors:
            for piece in pieces_of(tensor):
                writer.write_piece(piece)
            writer.end_tensor(tensor)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from gguf.constants import GGUFValueType
from gguf.gguf_writer import GGUFWriter
from gguf.utility import size_label

from mlx_selfdebug.exporting.gguf_tensors import Encoded, FileTensor
from mlx_selfdebug.models.gguf_file import Value


class GgufFileWriter:
    """A GGUF file that is being written. Used as a context manager, it closes the file at the end.

    Its methods raise OSError if the disk is full or fails.
    """

    def __init__(self, path: Path, architecture: str) -> None:
        self._writer = _Writer(path, architecture)

    def __enter__(self) -> GgufFileWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._writer.close()
        except OSError:
            # Closing writes what is still buffered, so it may fail. An error of the block comes first and says more.
            if error is None:
                raise

    def write_header(self, metadata: Mapping[str, Value], tensors: Iterable[FileTensor]) -> None:
        """Write all that comes before the first tensor's data: the metadata and the list of tensors."""
        for key, value in metadata.items():
            self._add(key, value)
        for tensor in tensors:
            # The writer takes the type from ``raw_dtype`` and ignores the dtype, unless that is uint8.
            dtype = np.dtype(np.float32)
            self._writer.add_tensor_info(tensor.name, tensor.shape, dtype, tensor.n_bytes, raw_dtype=tensor.kind)
        self._add("general.size_label", size_label(*self._writer.get_total_parameter_count()))
        self._writer.write_header_to_file()
        self._writer.write_kv_data_to_file()
        self._writer.write_ti_data_to_file()
        self._pad(self._stream.tell())

    def write_piece(self, piece: Encoded) -> None:
        """Write some rows of the current tensor. The tensors are written in the order that they have in the header."""
        self._stream.write(piece.data)

    def end_tensor(self, tensor: FileTensor) -> None:
        """Fill the space up to the place where the next tensor begins."""
        self._pad(tensor.n_bytes)

    @property
    def _stream(self) -> IO[bytes]:
        stream: IO[bytes] = self._writer.fout[0]
        return stream

    def _pad(self, n_bytes: int) -> None:
        """Write the zeros that follow ``n_bytes`` bytes, since tensors begin at multiples of the file's alignment."""
        self._writer.write_padding(self._stream, n_bytes)

    def _add(self, key: str, value: Value) -> None:
        """Add an entry to the metadata, with the GGUF type that its Python type stands for."""
        if isinstance(value, bool):  # before int, of which bool is a subclass
            self._writer.add_bool(key, value)
        elif isinstance(value, int):
            self._writer.add_uint32(key, value)
        elif isinstance(value, float):
            self._writer.add_float32(key, value)
        elif isinstance(value, str):
            self._writer.add_string(key, value)
        else:
            self._writer.add_key_value(key, value, GGUFValueType.ARRAY)


class _Writer(GGUFWriter):  # type: ignore[misc]
    """The writer of the ``gguf`` package, extended to write empty lists. They are written as lists of strings."""

    def _pack_val(
        self, val: Any, vtype: GGUFValueType, add_vtype: bool, sub_type: GGUFValueType | None = None
    ) -> bytes:
        if vtype == GGUFValueType.ARRAY and not len(val):
            # An array is written as its type, the type of its elements, and their number.
            return bytes(self._pack("I", vtype) + self._pack("I", GGUFValueType.STRING) + self._pack("Q", 0))
        return bytes(super()._pack_val(val, vtype, add_vtype, sub_type))
