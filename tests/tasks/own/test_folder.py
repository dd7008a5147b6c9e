"""Folders of text, reference and tests."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mlx_selfdebug.auditing.verify import check_tasks
from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks import load_tasks

FILES = {
    "task.md": "# Double\n\nReturn the number doubled.\n\n>>> double(2)\n4\n",
    "reference.py": "import math\n\n\ndef double(n: int) -> int:\n    return 2 * n\n",
    "test_double.py": "from reference import double\n\n\ndef test_zero():\n    assert double(0) == 0\n\n\ndef test_more():\n    assert double(-3) == -6\n",
}
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A folder of one task, ``files`` over those above; None leaves a file out."""

    def make(name: str = "double", **files: str | bytes | None) -> Path:
        folder = tmp_path / "mine" / name
        folder.mkdir(parents=True)
        for file, text in {**FILES, **{key.replace("__", "."): value for key, value in files.items()}}.items():
            if text is not None:
                (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / "mine"

    return make


def problems(folder: Path) -> list[str]:
    with pytest.raises(TaskError) as caught:
        load_tasks(folder)
    return [problem.removeprefix(str(folder)) for problem in [*caught.value.problems] or [str(caught.value)]]


def test_text_reference_and_tests_are_a_task(make, runner):
    [task] = load_tasks(make())
    assert (task.id, task.entry_point, task.starter_code) == ("mine/double", "double", "def double(n: int) -> int:")
    assert task.statement.startswith("Return the number doubled.")
    assert task.public.source == "def check(candidate):\n    assert double(2) == 4\n"
    assert check_tasks([task], runner) == []


def test_a_folder_with_a_text_is_one_task(make):
    [task] = load_tasks(make() / "double")
    assert task.id == "double"


def test_the_current_folder_has_its_real_name(make, monkeypatch):
    reference = "def helper(n):\n    return n\n\n\ndef double(n):\n    return 2 * helper(n)\n"
    folder = make(reference__py=reference)
    monkeypatch.chdir(folder / "double")
    for name in (".", "../double/."):
        [task] = load_tasks(name)
        assert (task.id, task.source, task.entry_point) == ("double", "double", "double")
    [task] = load_tasks("..")
    assert (task.id, task.source) == ("mine/double", "mine")
    monkeypatch.chdir(folder)
    [task] = load_tasks(".")
    assert (task.id, task.source) == ("mine/double", "mine")


def test_public_tests_take_the_place_of_examples(make):
    [task] = load_tasks(make(test_public__py="def test_one():\n    assert double(1) == 2\n"))
    assert "double(1) == 2" in task.public.source
    assert "double(1)" not in task.hidden.source


def test_several_test_files_with_the_same_names_all_count(make, runner):
    again = "HELP = 8\n\n\ndef test_zero():\n    assert double(4) == HELP\n"
    [task] = load_tasks(make(test_again__py=again))
    assert runner.run(task.reference, task.hidden, "double").passed
    for wrong in (
        "def double(n):\n    return 8 if n == 4 else 0\n",
        "def double(n):\n    return 2 * n if n != 4 else 0\n",
    ):
        assert not runner.run(wrong, task.hidden, "double").passed


def test_a_class_is_an_entry_point_too(make, runner):
    reference = "class Double:\n    def __init__(self, n):\n        self.n = n\n\n    def get(self):\n        return 2 * self.n\n"
    tests = "def test_get():\n    assert Double(2).get() == 4\n"
    [task] = load_tasks(make(reference__py=reference, test_double__py=tests, task__md="Double it."))
    assert task.starter_code == "class Double:\n    def __init__(self, n): ...\n    def get(self): ..."
    assert [problem.severity for problem in check_tasks([task], runner)] == ["warning"]


def test_of_several_functions_the_one_with_the_folders_name_is_tested(make):
    reference = "def helper(n):\n    return n\n\n\ndef add_up(n):\n    return helper(n)\n"
    tests = "from reference import add_up\n\n\ndef test_it():\n    assert add_up(2) == 2\n"
    [task] = load_tasks(make("add-up", reference__py=reference, test_double__py=tests))
    assert task.entry_point == "add_up"


def test_an_answer_said_to_be_wrong_must_fail(make, runner):
    [task] = load_tasks(make(wrong_1__py="def double(n):\n    return 2 * n\n"))
    assert [problem.what for problem in check_tasks([task], runner)] == ["wrong answer 1 passes the hidden checks"]


def test_windows_line_ends_and_byte_order_marks_do_not_matter(make, runner):
    files = {
        name.replace(".", "__"): b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() for name, text in FILES.items()
    }
    assert check_tasks(load_tasks(make(**files)), runner) == []


def test_everything_wrong_with_all_tasks_is_said_at_once(make):
    folder = make("one", reference__py="def f(:\n", test_double__py="def test_a(tmp_path):\n    pass\n")
    make_again = folder / "two"
    make_again.mkdir()
    (make_again / "task.md").write_bytes(b"a\n\xff\n")
    assert problems(folder) == [
        "/one/reference.py:1: not valid Python: invalid syntax",
        "/one/test_double.py: test_a: fixtures are not supported (tmp_path)",
        "/two/task.md:2: not UTF-8: b'\\xff\\n'",
        "/two/reference.py: cannot be read: No such file or directory",
        "/two: no hidden tests: add a test_*.py (test_public.py does not count)",
    ]


def test_an_empty_text_is_a_problem(make):
    assert "/double/task.md: the file is empty" in problems(make(task__md=" \n"))


def test_a_reference_without_one_clear_entry_point_is_a_problem(make):
    [problem] = problems(make(reference__py="def a():\n    pass\n\n\ndef b():\n    pass\n"))
    assert problem == (
        "/double/reference.py: defines a, b, but a single public function or class, or one named like the folder, is needed"
    )


def test_a_folder_without_tasks_says_what_a_task_is(tmp_path):
    with pytest.raises(TaskError, match="holds no task") as caught:
        load_tasks(tmp_path)
    assert "task.md, reference.py and test_*.py" in str(caught.value.hint)


def test_a_file_of_a_megabyte_and_more_is_refused(make):
    assert "larger than 1,000,000 bytes" in problems(make(task__md="a" * 1_000_001))[0]


@pytest.mark.parametrize(
    ("imports", "name"),
    [
        ("import reference", "reference.double"),
        ("import reference as r", "r.double"),
        ("from . import reference", "reference.double"),
        ("from double import reference", "reference.double"),
        ("from .reference import double as twice", "twice"),
        ("from reference import *", "double"),
        ("import mine.double.reference", "mine.double.reference.double"),
    ],
)
def test_the_function_is_known_however_the_tests_import_it(make, runner, imports, name):
    tests = f"{imports}\n\n\ndef test_a():\n    assert {name}(4) == 8\n"
    text = f"Double.\n\n>>> {imports}\n>>> {name}(2)\n4\n"
    [task] = load_tasks(make(test_double__py=tests, task__md=text))
    assert check_tasks([task], runner) == []


def test_a_task_of_whose_tests_one_cannot_be_run_is_refused_with_each_reason(make):
    tests = (
        "import pytest\nfrom reference import HELP, double\n\n\ndef test_a():\n    assert double(1) == 2\n\n\n"
        "async def test_b():\n    assert double(2) == 4\n\n\ndef test_c():\n    assert double(HELP) == 8\n\n\n"
        "@pytest.mark.skip\ndef test_d():\n    assert double(3) == 6\n\n\nclass Checked:\n    def test_e(self):\n        assert double(4) == 8\n"
    )
    reasons = problems(make(test_double__py=tests))
    assert [re.match(r"/double/test_double\.py: (.*?): (.*?)(?=,|;|\(|$)", reason).groups() for reason in reasons] == [
        ("test_b", "async tests are not supported"),
        ("test_c", "it uses reference.HELP"),
        ("test_d", "the decorator pytest.mark.skip is not supported"),
        ("Checked.test_e", "its class is no TestCase and has no name that begins with Test"),
    ]


@pytest.mark.parametrize("name", ["double_test", "tests", "test"])
def test_a_file_of_tests_with_another_usual_name_counts(make, runner, name):
    [task] = load_tasks(make(**{f"{name}__py": "def test_b():\n    assert double(50) == 100\n"}))
    assert "double(50)" in task.hidden.source


def test_a_file_of_tests_in_another_folder_is_a_problem(make):
    folder = make()
    (folder / "double" / "tests").mkdir()
    (folder / "double" / "tests" / "test_more.py").write_text("def test_b():\n    assert double(50) == 100\n")
    assert problems(folder) == [
        "/double/tests/test_more.py: a file of tests has to be in the same folder as reference.py"
    ]


def test_a_wrong_answer_is_no_file_of_tests(make):
    wrong = "def double(n):\n    return 0\n"
    [task] = load_tasks(make(wrong_test__py=wrong))
    assert task.wrong == (wrong,)
    assert "return 0" not in task.hidden.source


def test_tests_of_installed_packages_are_not_looked_at(make):
    folder = make()
    for inside in (".venv/lib/site-packages/pkg", "__pycache__", ".git"):
        (folder / "double" / inside).mkdir(parents=True)
        (folder / "double" / inside / "test_other.py").write_text("def test_b():\n    assert other()\n")
    (folder / "double" / "mine").mkdir()
    (folder / "double" / "mine" / "pyvenv.cfg").write_text("")
    (folder / "double" / "mine" / "test_other.py").write_text("def test_b():\n    assert other()\n")
    assert [task.id for task in load_tasks(folder)] == ["mine/double"]


def test_a_folder_with_a_reference_but_no_text_is_a_problem(make):
    make()
    assert problems(make("triple", task__md=None))[0] == "/triple/task.md: cannot be read: No such file or directory"


def test_files_that_are_joined_keep_what_only_a_module_may_have(make, runner):
    first = "from __future__ import annotations\nfrom math import *\n\n\ndef test_a() -> Missing:\n    assert double(floor(2.5)) == 4\n"
    second = "from __future__ import annotations\n\nCOUNT = 0\n\n\ndef counted():\n    global COUNT\n    COUNT += 1\n    return COUNT\n\n\ndef test_a():\n    assert double(counted()) == 2\n"
    [task] = load_tasks(make(test_double__py=first, test_more__py=second))
    assert check_tasks([task], runner) == []


def test_files_that_are_joined_may_have_globals_that_only_a_function_binds(make, runner):
    other = "def setup_module():\n    global base\n    base = 2\n\n\ndef test_base():\n    assert double(base) == 4\n"
    [task] = load_tasks(make(test_other__py=other))
    assert check_tasks([task], runner) == []


def test_the_starter_code_is_the_whole_signature_if_the_body_begins_on_its_last_line(make):
    [task] = load_tasks(make(reference__py="def double(\n    n): return 2 * n\n"))
    assert task.starter_code == "def double(\n    n):"
