"""Typed tasks, and files that they are appended to."""

from __future__ import annotations

import doctest
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks import typed
from mlx_selfdebug.tasks.jsonl import append_task, dump_tasks, read_tasks
from mlx_selfdebug.tasks.typed import NO_STATEMENT, typed_task
from mlx_selfdebug.testing import make_task

TEXT = "Return twice x.\ndouble(2) == 4\n>>> double(3)\n6"


def shown(text: str) -> str:
    task = typed_task(text)
    return domain_of(task.domain).prompt(task)


def test_the_example_in_the_docstring_holds() -> None:
    assert doctest.testmod(typed)[0] == 0


def test_a_typed_task_is_checked_by_its_examples_alone() -> None:
    task = typed_task(TEXT)
    assert (task.id, task.source, task.entry_point) == ("typed/double", "typed", "double")
    assert task.public == task.hidden
    assert task.public.source.count("assert") == 2


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "double(x) is twice x.\ndouble(2) == 4\n>>> double(3)\n6",
        "Return double(x) of x.\n>>> double(2)\n4\n>>> double(3)\n6\n",
    ],
)
def test_the_model_is_shown_every_example_once(text: str) -> None:
    prompt = shown(text)
    assert (prompt.count("double(2) == 4"), prompt.count("double(3) == 6")) == (1, 1)


def test_the_model_is_shown_that_an_exception_is_expected() -> None:
    text = "Root.\nroot(4) == 2\n>>> root(-1)\nTraceback (most recent call last):\n  ...\nValueError: negative"
    assert "raises(ValueError" in shown(text)


def test_examples_alone_are_a_task() -> None:
    assert typed_task("double(2) == 4").statement == NO_STATEMENT


def test_words_alone_are_a_task_that_nothing_checks() -> None:
    task = typed_task("Write double(x).")
    assert (task.entry_point, bool(task.public), bool(task.hidden)) == ("double", False, False)


def test_nothing_is_no_task() -> None:
    with pytest.raises(TaskError, match="neither a statement nor an example"):
        typed_task(" \n ")


def test_an_appended_task_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    task = typed_task(TEXT)
    append_task(make_task(), file)
    assert append_task(task, file) == task
    assert read_tasks(file, source="typed")[1] == task


def test_a_task_whose_id_is_taken_gets_a_number(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    ids = [append_task(typed_task(f"{words}\ndouble(2) == 4"), file).id for words in ("One.", "Two.", "Three.")]
    assert ids == ["typed/double", "typed/double-2", "typed/double-3"]


def test_the_same_task_is_not_appended_twice(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    append_task(typed_task(TEXT), file)
    before = file.read_bytes()
    with pytest.raises(TaskError, match=r"holds this task already, as typed/double$"):
        append_task(typed_task(TEXT), file)
    assert file.read_bytes() == before


def test_a_file_without_an_end_of_line_gets_one_first(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    dump_tasks([make_task()], file)
    file.write_bytes(file.read_bytes().rstrip(b"\n"))
    append_task(typed_task(TEXT), file)
    assert len(read_tasks(file)) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "holds no task|not a file of one task per line"),
        (
            '[{"id": "a", "statement": "A.", "entry_point": "a", "public": [], "hidden": ["assert a() == 1"]}]',
            "not a file of one task per line",
        ),
        ("Dear diary,\n", "1 problem"),
    ],
)
def test_a_file_of_another_form_is_left_as_it_is(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(content)
    with pytest.raises(TaskError, match=message):
        append_task(typed_task(TEXT), file)
    assert file.read_text() == content


def test_a_task_that_does_not_fit_the_format_is_not_appended(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="1 problem"):
        append_task(replace(make_task(), id="a b"), tmp_path / "mine.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_an_error_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="cannot be written: No such file or directory"):
        append_task(make_task(), tmp_path / "nowhere" / "mine.jsonl")


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit on the size of files")
def test_a_line_that_finds_no_room_leaves_no_part_of_it(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: the first part of the line still fits."""
    file = tmp_path / "mine.jsonl"
    append_task(make_task(), file)
    before = file.read_bytes()
    script = (
        "import resource, signal, sys\n"
        "from mlx_selfdebug.tasks.jsonl import append_task\n"
        "from mlx_selfdebug.testing import make_task\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 20}, {len(before) + 20}))\n"
        f"append_task(make_task('double', 'x + x'), {str(file)!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", script], capture_output=True, text=True, env=dict(os.environ), timeout=60
    )
    assert "cannot be written" in done.stderr
    assert file.read_bytes() == before
