"""Read the header of a GGUF file, and check all of it before any of it is used.

This is a strict reader of our own, because the one in the ``gguf`` package takes seconds on a large vocabulary and
trusts what a file says about itself. Here every count, length and offset is bounded before it is used, so time and
memory are bounded by the size of the header, which may be at most 64 MiB. Every tensor that is returned lies wholly
inside the file and overlaps no other. Little-endian files of versions 2 and 3 are read. Arrays of arrays are refused,
because no model that we read has one.

    file = read_gguf("model.gguf")
    file.metadata["general.architecture"], file.tensors["token_embd.weight"].shape    # 'qwen2', (151936, 896)

The format is described at https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from mlx_selfdebug.errors import FormatError

Number = int | float | bool
Value = Number | str | list[int] | list[float] | list[bool] | list[str]
"""A value of the metadata. Integers of all widths become int, and floats of both widths become float."""
Bytes = npt.NDArray[np.uint8]

# The format itself sets these limits.
MAX_KEY_BYTES = 65_535
MAX_NAME_BYTES = 64
MAX_DIMENSIONS = 4

# These limits are our own. They keep a hostile file from taking much time or memory.
MAX_HEADER_BYTES = 64 << 20
MAX_ENTRIES = 1 << 16
"""The maximum number of metadata entries, and of tensors."""
MAX_ITEMS = 1 << 22
"""The maximum length of an array in the metadata. The longest arrays hold a vocabulary or its merges."""
MAX_STRING_BYTES = 1 << 20
MAX_ALIGNMENT = 1 << 16

MIN_ENTRY_BYTES = 13
"""The smallest size of a metadata entry: the length of its key (8 bytes), its type (4) and a value (1)."""
MIN_SPEC_BYTES = 24
"""A lower bound for the size of a tensor's entry: the length of its name (8 bytes), the number of dimensions (4), its type (4)
and its offset (8)."""

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
"""A tensor's name: parts of letters, digits, "_" and "-", joined by dots."""
_STRING, _ARRAY = 8, 9
"""The codes of the two value types that are not numbers."""
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
"""The format for ``struct`` of each numeric value type, by its code."""
_OTHER_FILE = "download the file again, or use another conversion of the model"


@dataclass(frozen=True)
class GgufTensor:
    """The type and the position of one tensor in the file."""

    name: str
    type_name: str
    """The name of the GGML type, such as ``Q4_K``."""
    shape: tuple[int, ...]
    """The shape in row-major order: rows first, the reverse of the order in the file."""
    offset: int
    """The position of the tensor's first byte in the file."""
    n_bytes: int
    """The size of the tensor in the file."""

    @property
    def row_bytes(self) -> int:
        """The number of bytes per row, where a row runs along the last dimension."""
        return self.n_bytes // math.prod(self.shape[:-1])


@dataclass(frozen=True)
class GgufFile:
    """The checked header of a GGUF file. None of the tensors' data is in memory."""

    path: Path
    """The path of the file."""
    metadata: dict[str, Value]
    """The metadata by key, such as ``general.architecture``."""
    tensors: dict[str, GgufTensor]
    """The tensors by name."""

    def read_rows(self, tensor: GgufTensor, start: int, stop: int) -> Bytes:
        """Return the raw bytes of the rows from ``start`` up to ``stop``: uint8, shape (rows, row_bytes).

        Raises:
            FormatError: the file has become shorter since its header was read.
        """
        rows = stop - start
        with self.path.open("rb") as stream:
            stream.seek(tensor.offset + start * tensor.row_bytes)
            data = stream.read(rows * tensor.row_bytes)
        if len(data) != rows * tensor.row_bytes:
            raise FormatError(f"{self.path}: tensor {tensor.name!r} is cut off", hint=_OTHER_FILE)
        return np.frombuffer(data, np.uint8).reshape(rows, tensor.row_bytes)


def read_gguf(path: str | Path) -> GgufFile:
    """Read and check the header of ``path``.

    Raises:
        FormatError: the file cannot be read, or its header is wrong in any way. The message says what is wrong and, for the
            header, at which byte reading stopped.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(min(size, MAX_HEADER_BYTES))
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}") from error
    return _Header(path, head, size).parse()


class _Header:
    """A cursor over the first bytes of the file. Every step forward is checked against the bytes that are there."""

    def __init__(self, path: Path, head: bytes, file_size: int) -> None:
        self.path = path
        self.head = head
        self.file_size = file_size
        self.position = 0

    def parse(self) -> GgufFile:
        """Read the whole header."""
        self.check_magic()
        n_tensors = self.read_count("tensors", MIN_SPEC_BYTES)
        n_entries = self.read_count("metadata entries", MIN_ENTRY_BYTES)
        metadata = self.read_metadata(n_entries)
        if metadata.get("split.count", 1) not in (0, 1):
            self.fail("the file is one part of a split GGUF; join the parts first (llama-gguf-split --merge)")
        specs = [self.read_tensor_spec() for _ in range(n_tensors)]
        tensors = self.place(specs, self.alignment(metadata))
        return GgufFile(self.path, metadata, tensors)

    def check_magic(self) -> None:
        """Read the first four bytes and the version, and refuse files of another kind or version."""
        if self.take(4) != b"GGUF":
            self.position = 0
            self.fail(f"this is not a GGUF file: it begins with {self.head[:4]!r} instead of b'GGUF'")
        version = self.read_uint32()
        if version & 0xFFFF == 0 and version:
            self.fail("the file is big-endian; only little-endian files are read")
        if version not in (2, 3):
            self.fail(f"the file has GGUF version {version}; only versions 2 and 3 are read")

    def read_count(self, what: str, min_bytes: int) -> int:
        """Read the number of ``what``, each of which takes at least ``min_bytes`` of the file."""
        n = self.read_uint64()
        if n > min(MAX_ENTRIES, self.file_size // min_bytes):
            self.fail(f"the header announces {n} {what}: more than the file can hold, or more than {MAX_ENTRIES}")
        return n

    def read_metadata(self, n_entries: int) -> dict[str, Value]:
        """Read the entries of the metadata, and refuse keys that occur twice."""
        entries: dict[str, Value] = {}
        for _ in range(n_entries):
            key = self.read_string("a metadata key", MAX_KEY_BYTES)
            shown = key[:80]
            if key in entries:
                self.fail(f"metadata key {shown!r} occurs twice")
            entries[key] = self.read_value(shown)
        return entries

    def read_value(self, key: str) -> Value:
        """Read the type of the value of ``key`` and the value."""
        code = self.read_uint32()
        if code == _STRING:
            return self.read_string(f"the value of {key!r}")
        if code == _ARRAY:
            return self.read_array(key)
        if code not in _NUMBERS:
            self.fail(f"metadata {key!r} has the unknown value type {code}")
        return self.read_number(_NUMBERS[code])

    def read_array(self, key: str) -> Value:
        """Read the type and the number of the items of the array ``key``, and the items."""
        code, n = self.read_uint32(), self.read_uint64()
        if code == _ARRAY:
            self.fail(f"metadata {key!r} is an array of arrays")
        if code != _STRING and code not in _NUMBERS:
            self.fail(f"metadata {key!r} is an array of the unknown value type {code}")
        item_bytes = 8 if code == _STRING else struct.calcsize(_NUMBERS[code])  # A string begins with its length.
        if n > MAX_ITEMS or n * item_bytes > len(self.head) - self.position:
            self.fail(f"metadata {key!r} announces {n} items: more than the file holds, or more than {MAX_ITEMS}")
        if code == _STRING:
            return [self.read_string(f"an item of {key!r}") for _ in range(n)]
        return list(struct.unpack(f"<{n}{_NUMBERS[code][1]}", self.take(n * item_bytes)))

    def read_tensor_spec(self) -> GgufTensor:
        """Return a tensor's entry as it is written: its offset still counts from the start of the data."""
        name = self.read_string("a tensor name", MAX_NAME_BYTES)
        if not _NAME.fullmatch(name):
            self.fail(f"tensor name {name!r} contains characters that are not allowed in a name")
        n_dimensions = self.read_uint32()
        if not 1 <= n_dimensions <= MAX_DIMENSIONS:
            self.fail(f"tensor {name!r} has {n_dimensions} dimensions; 1 to {MAX_DIMENSIONS} are allowed")
        shape = tuple(reversed(struct.unpack(f"<{n_dimensions}Q", self.take(8 * n_dimensions))))
        type_name, n_bytes = self.read_tensor_type(name, shape)
        return GgufTensor(name, type_name, shape, self.read_uint64(), n_bytes)

    def read_tensor_type(self, name: str, shape: tuple[int, ...]) -> tuple[str, int]:
        """Read a tensor's type, and return its name and the number of bytes that the tensor takes with it."""
        code = self.read_uint32()
        try:
            ggml_type = GGMLQuantizationType(code)
        except ValueError:
            self.fail(f"tensor {name!r} has the unknown type {code}")
        block, block_bytes = GGML_QUANT_SIZES[ggml_type]
        if 0 in shape or shape[-1] % block:
            self.fail(f"tensor {name!r} of shape {shape} cannot be {ggml_type.name}, whose rows are blocks of {block}")
        return ggml_type.name, math.prod(shape) // block * block_bytes

    def alignment(self, metadata: dict[str, Value]) -> int:
        """Return the alignment of tensors in bytes, 32 unless the metadata set another. Tensors begin at multiples of it."""
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
            self.fail(f"general.alignment is {alignment!r}; it must be a power of two up to {MAX_ALIGNMENT}")
        return alignment

    def place(self, specs: list[GgufTensor], alignment: int) -> dict[str, GgufTensor]:
        """Turn offsets into positions in the file, and refuse tensors that lie outside it, overlap or share a name."""
        tensors: dict[str, GgufTensor] = {}
        start = end = -(-self.position // alignment) * alignment
        for spec in sorted(specs, key=lambda spec: spec.offset):
            if spec.name in tensors:
                self.fail(f"tensor {spec.name!r} occurs twice")
            offset = start + spec.offset
            if offset % alignment or offset + spec.n_bytes > self.file_size:
                what = f"it has {spec.n_bytes} bytes from byte {offset} on, and the file has {self.file_size}"
                self.fail(f"tensor {spec.name!r} lies outside the file or off its alignment: {what}")
            if offset < end:
                self.fail(f"tensor {spec.name!r} overlaps the tensor before it")
            end = offset + spec.n_bytes
            tensors[spec.name] = replace(spec, offset=offset)
        return tensors

    def read_string(self, what: str, max_bytes: int = MAX_STRING_BYTES) -> str:
        """Read a string: its length in bytes, and its bytes in UTF-8. ``what`` names it in an error message."""
        n = self.read_uint64()
        if n > max_bytes:
            self.fail(f"{what} has {n} bytes; at most {max_bytes} are allowed")
        try:
            return self.take(n).decode()
        except UnicodeDecodeError as error:
            self.fail(f"{what} is not UTF-8: {error.reason}")

    def read_uint32(self) -> int:
        """Read an unsigned integer of 4 bytes."""
        return int.from_bytes(self.take(4), "little")

    def read_uint64(self) -> int:
        """Read an unsigned integer of 8 bytes."""
        return int.from_bytes(self.take(8), "little")

    def read_number(self, layout: str) -> Number:
        """Read a number with the layout that ``struct`` describes by ``layout``, one of the values of ``_NUMBERS``."""
        number: Number = struct.unpack(layout, self.take(struct.calcsize(layout)))[0]
        return number

    def take(self, n: int) -> bytes:
        """Return the next ``n`` bytes, and move behind them."""
        end = self.position + n
        if end > len(self.head):
            if len(self.head) < self.file_size:
                self.fail(f"the header is longer than {MAX_HEADER_BYTES >> 20} MiB")
            n_left = len(self.head) - self.position
            self.fail(f"the file is cut off: {n} more bytes are announced, and {n_left} are left")
        data = self.head[self.position : end]
        self.position = end
        return data

    def fail(self, what: str) -> NoReturn:
        """Raise a FormatError that says ``what`` is wrong, and at which byte reading stopped."""
        raise FormatError(f"{self.path}: {what} (at byte {self.position})", hint=_OTHER_FILE)
