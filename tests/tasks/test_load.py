from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlx_selfdebug.errors import TaskError, UnknownNameError
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.tasks.load import available_sets

LINE = '{"id": "a", "statement": "Return 1.", "entry_point": "one", "public": [], "hidden": ["assert one() == 1"]}'


def test_the_sets_that_come_with_the_package_load_by_their_names():
    for name in ("starter", "humaneval"):
        assert load_tasks(name).name == name


def test_every_set_is_described_in_one_line():
    assert all(text and "\n" not in text for text in available_sets().values())


def test_a_file_is_loaded_by_its_path_and_named_after_it(write):
    tasks = load_tasks(str(write(LINE)))
    assert (tasks.name, tasks[0].id, tasks[0].source) == ("mine", "a", "mine")


def test_a_path_object_is_a_path(write):
    assert len(load_tasks(write(LINE))) == 1


def test_a_path_without_our_ending_is_still_a_path(tmp_path: Path):
    path = tmp_path / "tasks.txt"
    path.write_text(LINE)
    assert load_tasks(path)[0].id == "a"


def test_an_unknown_name_is_an_error_with_a_suggestion():
    with pytest.raises(UnknownNameError, match=r"unknown task set 'humanevl'\. Did you mean 'humaneval'\?"):
        load_tasks("humanevl")


def test_an_unknown_name_before_a_colon_is_an_unknown_name():
    with pytest.raises(UnknownNameError):
        load_tasks("nothing:here")


def test_a_path_that_does_not_exist_is_an_error_that_names_it(tmp_path: Path):
    with pytest.raises(TaskError, match=r"none\.jsonl: no such file"):
        load_tasks(tmp_path / "none.jsonl")


def test_a_folder_without_tasks_is_refused(tmp_path: Path):
    with pytest.raises(TaskError, match="holds no task"):
        load_tasks(tmp_path)


def test_a_set_that_is_read_from_a_file_says_how_to_give_one():
    with pytest.raises(TaskError, match="none was given") as caught:
        load_tasks("mbppplus")
    assert "mbppplus:PATH" in str(caught.value.hint)


def test_a_path_for_a_set_that_takes_none_is_refused():
    with pytest.raises(TaskError, match="starter takes no path"):
        load_tasks("starter:file.jsonl")


@pytest.mark.parametrize("name", ["~/mine.jsonl", "mbpp:~/mbpp.jsonl", "~/folder"])
def test_a_tilde_stands_for_the_home_folder_wherever_the_path_begins(tmp_path: Path, monkeypatch, name: str):
    mbpp = {
        "task_id": 11,
        "text": "Add.",
        "code": "def add(a, b):\n    return a + b",
        "test_list": ["assert add(1, 2) == 3"],
    }
    (tmp_path / "mine.jsonl").write_text(LINE)
    (tmp_path / "mbpp.jsonl").write_text(json.dumps(mbpp))
    (tmp_path / "folder" / "one").mkdir(parents=True)
    (tmp_path / "folder" / "one" / "task.md").write_text("Return 1.")
    (tmp_path / "folder" / "one" / "reference.py").write_text("def one():\n    return 1\n")
    (tmp_path / "folder" / "one" / "test_one.py").write_text("def test_one():\n    assert one() == 1\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load_tasks(name)) == 1


def test_a_tilde_of_a_user_who_does_not_exist_is_part_of_the_name():
    with pytest.raises(TaskError, match=r"~nobody-of-that-name/mine\.jsonl: no such file"):
        load_tasks("~nobody-of-that-name/mine.jsonl")
