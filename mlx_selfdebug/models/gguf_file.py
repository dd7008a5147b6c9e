"""Read the header of a GGUF file, and check all of it before any of it is used.

This is a strict reader of our own, because the one in the ``gguf`` package takes seconds on a large vocabulary and
trusts what a file says about itself. Here every count, length and offset is bounded before it is used, so time and
memory are bounded by the size of the header, which may be at most 64 MiB. Every tensor that is handed out lies wholly
inside the file and overlaps no other. Little-endian files of versions 2 and 3 are read. Arrays of arrays are refused,
because no model we read has one.

    file = read_gguf("model.gguf")
    file.metadata["general.architecture"], file.tensors["token_embd.weight"].shape    # 'qwen2', (151936, 896)

The format is described at https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from mlx_selfdebug.errors import FormatError

Scalar = int | float | bool | str
Value = Scalar | list[int] | list[float] | list[bool] | list[str]
Bytes = npt.NDArray[np.uint8]

MAX_HEADER_BYTES = 64 << 20
MAX_ENTRIES = 1 << 16
MAX_ITEMS = 1 << 22
MAX_STRING_BYTES = 1 << 20
MAX_NAME_BYTES = 64
MAX_DIMENSIONS = 4
MAX_ALIGNMENT = 1 << 16
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
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

    @property
    def row_bytes(self) -> int:
        return self.n_bytes // math.prod(self.shape[:-1])


@dataclass(frozen=True)
class GgufFile:
    """The checked header of a GGUF file. None of the tensors' data is in memory."""

    path: Path
    metadata: dict[str, Value]
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
        FormatError: anything at all is wrong with the file. The message says what and, for the header, at which byte reading
            stopped.
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

    def fail(self, what: str) -> NoReturn:
        raise FormatError(f"{self.path}: {what} (at byte {self.position})", hint=_OTHER_FILE)

    def parse(self) -> GgufFile:
        self.check_magic()
        n_tensors = self.count("tensors", bytes_each=24)
        n_entries = self.count("metadata entries", bytes_each=13)
        metadata = self.metadata(n_entries)
        if metadata.get("split.count", 1) not in (0, 1):
            self.fail("the file is one part of a split GGUF; join the parts first (llama-gguf-split --merge)")
        specs = [self.tensor_spec() for _ in range(n_tensors)]
        tensors = self.place(specs, self.data_start(metadata))
        return GgufFile(self.path, metadata, tensors)

    def check_magic(self) -> None:
        if self.take(4) != b"GGUF":
            self.position = 0
            self.fail(f"this is not a GGUF file: it begins with {self.head[:4]!r} instead of b'GGUF'")
        version = self.scalar("<I")
        if version & 0xFFFF == 0 and version:
            self.fail("the file is big-endian; only little-endian files are read")
        if version not in (2, 3):
            self.fail(f"the file has GGUF version {version}; only versions 2 and 3 are read")

    def take(self, n: int) -> bytes:
        end = self.position + n
        if end > len(self.head):
            if len(self.head) < self.file_size:
                self.fail(f"the header is longer than {MAX_HEADER_BYTES >> 20} MiB")
            self.fail(
                f"the file is cut off: {n} more bytes are announced, and {len(self.head) - self.position} are left"
            )
        data = self.head[self.position : end]
        self.position = end
        return data

    def scalar(self, code: str) -> int:
        value: int = struct.unpack(code, self.take(struct.calcsize(code)))[0]
        return value

    def count(self, what: str, bytes_each: int) -> int:
        n = self.scalar("<Q")
        if n > min(MAX_ENTRIES, self.file_size // bytes_each):
            self.fail(f"the header announces {n} {what}: more than the file can hold, or more than {MAX_ENTRIES}")
        return n

    def string(self, what: str, limit: int = MAX_STRING_BYTES) -> str:
        n = self.scalar("<Q")
        if n > limit:
            self.fail(f"{what} has {n} bytes; at most {limit} are allowed")
        try:
            return self.take(n).decode()
        except UnicodeDecodeError as error:
            self.fail(f"{what} is not UTF-8: {error.reason}")

    def metadata(self, n_entries: int) -> dict[str, Value]:
        entries: dict[str, Value] = {}
        for _ in range(n_entries):
            key = self.string("a metadata key", 65_535)
            if key in entries:
                self.fail(f"metadata key {key[:80]!r} occurs twice")
            entries[key] = self.value(key[:80])
        return entries

    def value(self, key: str) -> Value:
        kind = self.scalar("<I")
        if kind == _STRING:
            return self.string(f"the value of {key!r}")
        if kind == _ARRAY:
            return self.array(key)
        if kind not in _SCALARS:
            self.fail(f"metadata {key!r} has the unknown value type {kind}")
        return self.scalar(_SCALARS[kind])

    def array(self, key: str) -> Value:
        kind, n = self.scalar("<I"), self.scalar("<Q")
        if kind == _ARRAY:
            self.fail(f"metadata {key!r} is an array of arrays")
        if kind != _STRING and kind not in _SCALARS:
            self.fail(f"metadata {key!r} is an array of the unknown value type {kind}")
        item_bytes = 8 if kind == _STRING else struct.calcsize(_SCALARS[kind])
        if n > MAX_ITEMS or n * item_bytes > len(self.head) - self.position:
            self.fail(f"metadata {key!r} announces {n} items: more than the file holds, or more than {MAX_ITEMS}")
        if kind == _STRING:
            return [self.string(f"an item of {key!r}") for _ in range(n)]
        return list(struct.unpack(f"<{n}{_SCALARS[kind][1]}", self.take(n * item_bytes)))

    def tensor_spec(self) -> GgufTensor:
        """Return a tensor's entry as it is written: its offset still counts from the start of the data."""
        name = self.string("a tensor name", MAX_NAME_BYTES)
        if not _NAME.fullmatch(name):
            self.fail(f"tensor name {name!r} contains characters that are not allowed in one")
        n_dims = self.scalar("<I")
        if not 1 <= n_dims <= MAX_DIMENSIONS:
            self.fail(f"tensor {name!r} has {n_dims} dimensions; 1 to {MAX_DIMENSIONS} are allowed")
        shape = tuple(reversed(struct.unpack(f"<{n_dims}Q", self.take(8 * n_dims))))
        type_name, n_bytes = self.tensor_type(name, shape)
        return GgufTensor(name, type_name, shape, self.scalar("<Q"), n_bytes)

    def tensor_type(self, name: str, shape: tuple[int, ...]) -> tuple[str, int]:
        code = self.scalar("<I")
        try:
            kind = GGMLQuantizationType(code)
        except ValueError:
            self.fail(f"tensor {name!r} has the unknown type {code}")
        block, block_bytes = GGML_QUANT_SIZES[kind]
        if 0 in shape or shape[-1] % block:
            self.fail(f"tensor {name!r} of shape {shape} cannot be {kind.name}, whose rows are blocks of {block}")
        return kind.name, math.prod(shape) // block * block_bytes

    def data_start(self, metadata: dict[str, Value]) -> int:
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
            self.fail(f"general.alignment is {alignment!r}; it must be a power of two up to {MAX_ALIGNMENT}")
        self.alignment = alignment
        return -(-self.position // alignment) * alignment

    def place(self, specs: list[GgufTensor], start: int) -> dict[str, GgufTensor]:
        """Turn offsets into positions in the file, and refuse tensors that lie outside it, overlap or share a name."""
        tensors: dict[str, GgufTensor] = {}
        end = start
        for spec in sorted(specs, key=lambda spec: spec.offset):
            if spec.name in tensors:
                self.fail(f"tensor {spec.name!r} occurs twice")
            offset = start + spec.offset
            if offset % self.alignment or offset + spec.n_bytes > self.file_size:
                what = f"it has {spec.n_bytes} bytes from byte {offset} on, and the file has {self.file_size}"
                self.fail(f"tensor {spec.name!r} lies outside the file or off its alignment: {what}")
            if offset < end:
                self.fail(f"tensor {spec.name!r} overlaps the tensor before it")
            end = offset + spec.n_bytes
            tensors[spec.name] = GgufTensor(spec.name, spec.type_name, spec.shape, offset, spec.n_bytes)
        return tensors
