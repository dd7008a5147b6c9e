from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_selfdebug.errors import FormatError
from mlx_selfdebug.models.gguf_file import MAX_HEADER_BYTES, read_gguf


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def tensor(name: str | bytes = "a.weight", dims: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def header(
    *tensors: bytes,
    entries: tuple[bytes, ...] = (),
    version: int = 3,
    n_tensors: int | None = None,
    n_entries: int | None = None,
    data: int = 4096,
) -> bytes:
    counts = (
        len(tensors) if n_tensors is None else n_tensors,
        len(entries) if n_entries is None else n_entries,
    )
    body = b"GGUF" + struct.pack("<IQQ", version, *counts) + b"".join(entries) + b"".join(tensors)
    return body + bytes(-len(body) % 32 + data)


def entry(key: str | bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


U32, STRING, ARRAY = 4, 8, 9


@pytest.fixture
def refuses(tmp_path: Path) -> Callable[[bytes, str], None]:
    def check(data: bytes, match: str) -> None:
        path = tmp_path / "bad.gguf"
        path.write_bytes(data)
        with pytest.raises(FormatError, match=match) as caught:
            read_gguf(path)
        assert str(path) in str(caught.value)

    return check


def test_reads_what_the_gguf_package_reads(tiny_gguf: Path) -> None:
    ours, theirs = read_gguf(tiny_gguf), gguf.GGUFReader(tiny_gguf)
    assert ours.metadata == {k: f.contents() for k, f in theirs.fields.items() if not k.startswith("GGUF.")}
    assert {t.name: (t.type_name, t.shape, t.offset, t.n_bytes) for t in ours.tensors.values()} == {
        t.name: (t.tensor_type.name, tuple(reversed(t.shape.tolist())), t.data_offset, t.n_bytes)
        for t in theirs.tensors
    }


def test_rows_are_the_files_bytes(tiny_gguf: Path) -> None:
    ours, theirs = read_gguf(tiny_gguf), gguf.GGUFReader(tiny_gguf)
    for one in theirs.tensors:
        mine = ours.tensors[one.name]
        rows = ours.read_rows(mine, 0, mine.n_bytes // mine.row_bytes)
        assert rows.tobytes() == one.data.tobytes()


HOSTILE = {
    "another magic": (b"GGML" + header(tensor())[4:], "not a GGUF file"),
    "an empty file": (b"", "cut off"),
    "version 1": (header(tensor(), version=1), "version 1"),
    "version 4": (header(tensor(), version=4), "version 4"),
    "big-endian": (header(tensor(), version=3 << 24), "big-endian"),
    "a flood of tensors": (header(tensor(), n_tensors=1 << 60), r"announces \d+ tensors"),
    "a flood of entries": (header(tensor(), n_entries=1 << 60), r"announces \d+ metadata entries"),
    "an endless key": (header(entries=(struct.pack("<Q", 1 << 62),)), "bytes"),
    "an endless string": (header(entries=(entry("k", STRING, struct.pack("<Q", 1 << 62)),)), "at most"),
    "an endless array": (header(entries=(entry("k", ARRAY, struct.pack("<IQ", U32, 1 << 61)),)), "announces"),
    "an array of arrays": (header(entries=(entry("k", ARRAY, struct.pack("<IQ", ARRAY, 1)),)), "array of arrays"),
    "an unknown value type": (header(entries=(entry("k", 77, b""),)), "unknown value type 77"),
    "an array of an unknown type": (header(entries=(entry("k", ARRAY, struct.pack("<IQ", 77, 1)),)), "value type 77"),
    "a key twice": (header(entries=(entry("k", U32, bytes(4)), entry("k", U32, bytes(4)))), "occurs twice"),
    "a key that is no text": (header(entries=(entry(b"\xff\xfe", U32, bytes(4)),)), "not UTF-8"),
    "an alignment of 0": (header(entries=(entry("general.alignment", U32, bytes(4)),)), "general.alignment"),
    "an odd alignment": (header(entries=(entry("general.alignment", U32, b"\x07\0\0\0"),)), "general.alignment"),
    "a text as alignment": (header(entries=(entry("general.alignment", STRING, text("32")),)), "general.alignment"),
    "one part of many": (header(entries=(entry("split.count", U32, b"\x03\0\0\0"),)), "split GGUF"),
    "a path as a name": (header(tensor("../../etc/passwd")), "characters"),
    "a name of dots": (header(tensor("..")), "characters"),
    "an absolute path as a name": (header(tensor("/tmp/x")), "characters"),
    "a name of 1 MB": (header(tensor("a" * 1_000_000)), "at most 64"),
    "no dimensions": (header(tensor(dims=())), "0 dimensions"),
    "a thousand dimensions": (header(tensor(dims=(1,) * 1000)), "1000 dimensions"),
    "a dimension of 0": (header(tensor(dims=(0,))), "cannot be F32"),
    "dimensions that overflow": (header(tensor(dims=((1 << 63), (1 << 63)))), "outside the file"),
    "rows of half a block": (header(tensor(dims=(40,), kind=8)), "blocks of 32"),
    "an unknown tensor type": (header(tensor(kind=999)), "unknown type 999"),
    "data past the end": (header(tensor(offset=1 << 20)), "outside the file"),
    "an offset that wraps": (header(tensor(offset=(1 << 64) - 32)), "outside the file"),
    "an offset off its alignment": (header(tensor(offset=8)), "off its alignment"),
    "overlapping tensors": (header(tensor("a"), tensor("b", offset=32)), "overlaps"),
    "a tensor twice": (header(tensor("a"), tensor("a", offset=128)), "occurs twice"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_header_is_refused_by_name(case: str, refuses: Callable[[bytes, str], None]) -> None:
    data, match = HOSTILE[case]
    refuses(data, match)


def test_a_header_without_end_is_refused_before_it_fills_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.gguf"
    longest = struct.pack("<IQ", 10, 1 << 22) + bytes(8 << 22)
    path.write_bytes(header(entries=tuple(entry(key, ARRAY, longest) for key in "abc"), data=0))
    with path.open("r+b") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(FormatError, match=r"longer than 64 MiB|announces"):
        read_gguf(path)
    assert path.stat().st_size > MAX_HEADER_BYTES


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"gone\.gguf.*No such file"):
        read_gguf(tmp_path / "gone.gguf")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("gguf") / "whole.gguf"
    path.write_bytes(
        header(
            tensor("a.weight", (64, 4), 8),
            tensor("b", (32,), 0, 288),
            entries=(
                entry("general.architecture", STRING, text("qwen2")),
                entry("tokens", ARRAY, struct.pack("<IQ", STRING, 3) + text("a") + text("ß") + text("")),
                entry("n", U32, bytes(4)),
            ),
            data=416,
        )
    )
    read_gguf(path)
    return path.with_name("cut.gguf"), path.read_bytes()


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_cut_off_anywhere_it_is_refused(whole: tuple[Path, bytes], data: st.DataObject) -> None:
    path, content = whole
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(FormatError):
        read_gguf(path)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_flipped_bytes_are_refused_or_lead_to_tensors_inside_the_file(
    whole: tuple[Path, bytes], data: st.DataObject
) -> None:
    path, content = whole
    changed = bytearray(content)
    for at in data.draw(st.lists(st.integers(0, len(content) - 417), min_size=1, max_size=4)):
        changed[at] = data.draw(st.integers(0, 255))
    path.write_bytes(changed)
    try:
        file = read_gguf(path)
    except FormatError:
        return
    for one in file.tensors.values():
        assert file.read_rows(one, 0, one.n_bytes // one.row_bytes).nbytes == one.n_bytes


def test_a_file_that_shrinks_while_it_is_read_is_noticed(tiny_gguf: Path) -> None:
    file = read_gguf(tiny_gguf)
    last = max(file.tensors.values(), key=lambda one: one.offset)
    with tiny_gguf.open("r+b") as stream:
        stream.truncate(last.offset + 1)
    with pytest.raises(FormatError, match="cut off"):
        file.read_rows(last, 0, last.n_bytes // last.row_bytes)


def test_shapes_are_rows_first(tiny_gguf: Path) -> None:
    shape = read_gguf(tiny_gguf).tensors["blk.0.ffn_up.weight"].shape
    assert shape == (512, 256)
    assert np.prod(shape) == 512 * 256
