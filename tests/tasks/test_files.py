"""The files that people have: told by their content and not by their names, read or refused with what they are."""

from __future__ import annotations

import gzip
import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.tasks.files import json_texts, stem

TASK = {"id": "a", "statement": "Return 1.", "entry_point": "one", "public": [], "hidden": ["assert one() == 1"]}
TASKS = [TASK, TASK | {"id": "b"}]
LINES = "".join(json.dumps(task) + "\n" for task in TASKS).encode()


@pytest.mark.parametrize(
    "data",
    [
        LINES,
        gzip.compress(LINES),
        json.dumps(TASKS).encode(),
        json.dumps(TASKS, indent=2).encode(),
        gzip.compress(b"\xef\xbb\xbf" + json.dumps(TASKS, indent=2).encode()),
        "\r\n".join(json.dumps(task, indent=2) for task in TASKS).encode(),
    ],
    ids=["lines", "gzip", "array in a line", "array", "gzip of an array", "objects of several lines"],
)
@pytest.mark.parametrize("name", ["mine.jsonl", "mine.json", "mine.jsonl.gz", "mine.json.gz"])
def test_own_tasks_are_read_from_every_form_whatever_the_name(tmp_path: Path, name: str, data: bytes):
    path = tmp_path / name
    path.write_bytes(data)
    tasks = load_tasks(path)
    assert ([task.id for task in tasks], tasks.name, tasks[0].source) == (["a", "b"], "mine", "mine")


@pytest.mark.parametrize(
    ("data", "what", "help_"),
    [
        (b"PAR1\x15\x04", "a Parquet file", "to_json"),
        (b"PK\x03\x04", "a zip archive", "unzip"),
        (b"\x28\xb5\x2f\xfd", "zstd", "zstd -d"),
        (b"\xfd7zXZ\x00", "xz", "xz -dk"),
        (b"BZh91AY", "bzip2", "bzip2 -dk"),
        (b"SQLite format 3\x00", "a SQLite database", "spider:FILE"),
        ("{}".encode("utf-16"), "UTF-16", "iconv"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS", "git lfs pull"),
        (b"<!DOCTYPE html>", "a web page", "download the file itself"),
    ],
)
def test_a_file_of_another_kind_is_named_with_what_to_do(tmp_path: Path, data: bytes, what: str, help_: str):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(data)
    with pytest.raises(TaskError) as caught:
        load_tasks(path)
    assert (what in str(caught.value), help_ in str(caught.value.hint), caught.value.problems) == (True, True, ())


def test_a_file_that_is_not_there_is_still_taken_for_a_file():
    for name in ("none.json", "none.jsonl.gz"):
        with pytest.raises(TaskError, match="no such file"):
            load_tasks(name)


def test_problems_in_an_array_are_said_with_their_index(tmp_path: Path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([TASK, 5, TASK, {**TASK, "id": 7}]))
    with pytest.raises(TaskError) as caught:
        load_tasks(path)
    assert [problem.removeprefix(str(path)).partition(",")[0] for problem in caught.value.problems] == [
        "[1]: line: not an object",
        "[2]: id: already used at mine.json[0]",
        "[3]: id: not a string",
    ]


def test_an_array_that_is_not_json_is_said_with_its_line(tmp_path: Path):
    path = tmp_path / "mine.json"
    path.write_text('[\n {"id": 1},\n {"id": }\n]')
    with pytest.raises(TaskError, match=r"mine\.json:3: not JSON at column 9"):
        load_tasks(path)


def test_objects_of_several_lines_are_said_with_their_first_line(tmp_path: Path):
    path = tmp_path / "mine.jsonl"
    path.write_text("\n\n".join(json.dumps(task, indent=1) for task in (TASK, TASK | {"id": 5})))
    with pytest.raises(TaskError) as caught:
        load_tasks(path)
    assert caught.value.problems[0].startswith(f"{path}:11: id: not a string")


def test_a_pipe_is_read_like_a_file(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(gzip.compress(LINES),))
    writer.start()
    assert len(load_tasks(pipe)) == 2
    writer.join()


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.json", "mine.jsonl.gz", "mine.json.gz", "mine"])
def test_the_stem_of_a_name_has_no_suffix(name: str):
    assert stem(Path("folder", name)) == "mine"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.lists(st.dictionaries(st.text(), JSON), min_size=1, max_size=5), st.sampled_from([None, 0, 2]), st.booleans())
def test_the_values_of_an_array_are_read_whatever_they_are(tmp_path_factory, values, indent, ascii_only):
    path = tmp_path_factory.mktemp("array") / "mine.json"
    path.write_text(json.dumps(values, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
    assert [json.loads(text) for _, text in json_texts(path)] == values
