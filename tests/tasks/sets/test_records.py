"""Files of published sets: their forms, and that everything wrong with one is said at once."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks import Task, files
from mlx_selfdebug.tasks.sets.records import build_tasks, read_records

ROWS = [{"id": 1, "text": "a"}, {"id": 2, "text": "é"}]
TYPES = {"id": int, "text": str}


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def as_jsonl(newline: str = "\n") -> bytes:
    return newline.join(json.dumps(row) for row in ROWS).encode()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", as_jsonl()),
        ("a.jsonl", as_jsonl("\r\n")),
        ("a.jsonl", b"\xef\xbb\xbf" + as_jsonl("\n\n")),
        ("a.json", json.dumps(ROWS, indent=1).encode()),
        ("a.jsonl.gz", gzip.compress(as_jsonl())),
    ],
    ids=["lines", "CRLF", "byte order mark and empty lines", "array", "gzip"],
)
def test_every_form_is_read(tmp_path, name, data):
    assert [record.fields for record in read_records(written(tmp_path / name, data), TYPES)] == ROWS


def test_parquet_is_read(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert [record.fields for record in read_records(tmp_path / "a.parquet", TYPES)] == ROWS


def test_all_problems_are_said_with_their_lines(tmp_path):
    path = written(tmp_path / "a.jsonl", b'{"id": 1}\n{"id": "x", "text": 5}\nnone\n[]\n')
    with pytest.raises(TaskError) as caught:
        read_records(path, TYPES)
    assert [problem.removeprefix(str(path)) for problem in caught.value.problems] == [
        ":1: text: missing, the required fields are id, text",
        ":2: id: 'x' is not a whole number",
        ":2: text: 5 is not a string",
        ":3: not JSON at column 1 (Expecting value)",
        ":4: not an object but []",
    ]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.jsonl", b"", "holds no record"),
        ("a.jsonl", b'{"id": 1}\n\xff\n', r":2: not UTF-8"),
        ("a.json", b"[1, ", "not JSON"),
        ("a.jsonl.gz", b"\x1f\x8b\x08broken", "cannot be read"),
        ("a.parquet", b"plain", "not a Parquet file"),
    ],
)
def test_a_file_of_another_kind_is_an_error(tmp_path, name, data, said):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(TaskError) as caught:
        read_records(written(tmp_path / name, data), TYPES)
    assert said.removeprefix("r") in "\n".join([str(caught.value), *caught.value.problems])


def test_a_file_larger_than_any_set_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_BYTES", 10)
    with pytest.raises(TaskError, match="larger than"):
        read_records(written(tmp_path / "a.jsonl", as_jsonl()), TYPES)


def test_no_file_and_a_folder_are_errors(tmp_path):
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(TaskError):
            read_records(path, TYPES)


def test_every_record_that_cannot_be_built_and_every_id_given_twice_are_said(tmp_path):
    path = written(tmp_path / "a.jsonl", b'{"id": 1}\n{"id": 1}\n{"id": 0}\n{"id": -1}\n')

    def build(fields):
        if fields["id"] < 1:
            raise ValueError("below 1")
        return Task(str(fields["id"]), "python", "s", "f")

    with pytest.raises(TaskError) as caught:
        build_tasks(path, read_records(path, {"id": int}), build)
    assert [problem.removeprefix(str(path)) for problem in caught.value.problems] == [
        ":2: the id 1 is already used",
        ":3: ValueError: below 1",
        ":4: ValueError: below 1",
    ]
