"""Whole fixes of small projects with a scripted model: what is found, what is left alone, and what is said where nothing can be done."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import mlx_selfdebug as sd
from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.fixing import Effort, FixResult, FixSettings, fix_project
from mlx_selfdebug.projects.suite import SuiteLimits
from mlx_selfdebug.testing import ScriptedModel, fenced
from tests.projects.made import FIXED_LINE, STATS, TESTS, contents, project_at, write_project, write_stats

pytestmark = pytest.mark.slow

QUICK = FixSettings(effort=Effort(rewritten_lines=0, insertions=0, forks=0, repairs=1, drafts=1))
SILENT = ScriptedModel(lambda prompt, seed: "I do not know.")


def fixed(folder: Path, reply: Callable[[str, int], str] | None = None, settings: FixSettings = QUICK) -> FixResult:
    return fix_project(project_at(folder), ScriptedModel(reply) if reply else SILENT, settings=settings)


def test_a_small_edit_is_found_and_nothing_is_written(tmp_path: Path) -> None:
    folder = write_stats(tmp_path)
    before = contents(folder)
    result = fixed(folder)
    assert result.fixed
    assert result.change is not None
    assert result.change.function == "median"
    assert result.change.n_lines == 1
    assert result.after is not None
    assert (result.before.failed, result.after.failed) == (2, 0)
    assert result.decoded_tokens == 0
    assert contents(folder) == before
    assert repr(result).startswith("<FixResult: fixed, 2 failing tests, ")


def test_every_byte_outside_of_the_function_stays(tmp_path: Path) -> None:
    text = ("\ufeff" + STATS.replace("\n", "\r\n")).encode("utf-8")
    folder = write_project(tmp_path, {"pkg/__init__.py": "", "pkg/stats.py": text, "tests/test_stats.py": TESTS})
    change = fixed(folder).change
    assert change is not None
    line = b"    return (ordered[n // 2 - 1] + ordered[n // 2 + 1]) / 2\r\n"
    start = text.index(line)
    assert change.data.startswith(text[:start])
    assert change.data.endswith(text[start + len(line) :])


MISSING = 'def total(items):\n    """Return the sum of the prices of all items that are in stock."""\n    return None\n'
STOCK_TESTS = (
    "from shop import total\n\ndef test_total():\n    assert total([{'price': 3, 'stock': 1}, {'price': 5, 'stock': 0}]) == 3\n\n"
    "def test_nothing():\n    assert total([]) == 0\n"
)
RIGHT = "def total(items):\n    return sum(item['price'] for item in items if item['stock'])\n"


def test_where_no_edit_helps_the_models_draft_is_taken_and_the_docstring_stays(tmp_path: Path) -> None:
    folder = write_project(tmp_path, {"shop.py": MISSING, "test_shop.py": STOCK_TESTS})
    result = fixed(folder, lambda prompt, seed: fenced(RIGHT))
    assert result.change is not None
    assert result.change.by in ("repair", "draft")
    assert result.change.text == MISSING.replace("return None", RIGHT.split("\n")[1].strip())


def test_a_statement_that_is_missing_is_put_in_above_a_line(tmp_path: Path) -> None:
    folder = write_project(tmp_path, {"shop.py": MISSING, "test_shop.py": STOCK_TESTS})
    settings = replace(QUICK, effort=replace(QUICK.effort, insertions=4, repairs=0, drafts=0))
    result = fixed(folder, lambda prompt, seed: fenced(RIGHT), settings)
    assert result.change is not None
    assert result.change.by == "insertion"
    assert "an inserted statement" in str(result)


def test_the_repair_is_shown_what_the_test_expected_and_got(tmp_path: Path) -> None:
    folder = write_project(tmp_path, {"shop.py": MISSING, "test_shop.py": STOCK_TESTS})
    prompts: list[str] = []
    fixed(folder, lambda prompt, seed: prompts.append(prompt) or fenced(RIGHT))
    assert any("None" in prompt and "def test_total" in prompt for prompt in prompts)


def test_a_method_is_fixed_in_its_class(tmp_path: Path) -> None:
    broken = STATS.replace("ordered[n // 2 + 1]) / 2", "ordered[n // 2]) / 2").replace("> self.size", ">= self.size")
    result = fixed(write_stats(tmp_path, **{"pkg/stats.py": broken}))
    assert result.change is not None
    assert result.change.function in ("Window.__init__", "Window.add")
    assert result.change.text.startswith(broken.partition("class Window")[0])


def test_of_functions_with_the_same_code_each_is_edited(tmp_path: Path) -> None:
    # The first wave of edits is of one function, and the second of two.
    twins = dict.fromkeys(("a.py", "b.py", "c.py"), "def step(x):\n    return x - 1\n")
    test = "import a, b, c\n\ndef test_all():\n    assert (a.step(1), b.step(1), c.step(1)) == (0, 0, 2)\n"
    change = fixed(write_project(tmp_path, {**twins, "test_all.py": test})).change
    assert change is not None
    assert (change.file.name, change.by) == ("c.py", "edits")


def test_where_all_tests_pass_no_model_is_loaded(tmp_path: Path) -> None:
    good = STATS.replace("    return (ordered[n // 2 - 1] + ordered[n // 2 + 1]) / 2", FIXED_LINE)

    def load() -> ScriptedModel:
        raise AssertionError("the model was loaded")

    result = fix_project(
        project_at(write_stats(tmp_path, **{"pkg/stats.py": good})), load, settings=replace(QUICK, patience_s=300)
    )
    assert result.outcome == "nothing_failed"
    assert "nothing to fix" in str(result)


def test_a_change_that_only_holds_where_packages_were_imported_before_is_dropped_and_said(tmp_path: Path) -> None:
    """Tries are made in processes that have imported the packages of the project's tests. The last run of a fix is not."""
    tests = (
        "import sys\nEARLY = 'colorsys' in sys.modules\nimport colorsys\nfrom m import double\n\n"
        "def test_a():\n    assert double(3) == 6\n\ndef test_b():\n    assert double(3) == 9 or EARLY\n"
    )
    result = fixed(write_project(tmp_path, {"m.py": "def double(x):\n    return x * x\n", "test_m.py": tests}))
    assert not result.fixed
    assert "a change passed the whole suite, but not when all tests were run from the start" in result.notes


def test_a_change_that_breaks_another_test_is_no_fix(tmp_path: Path) -> None:
    files = {
        "m.py": "def f(x):\n    return x + 1\n",
        "test_m.py": "from m import f\n\ndef test_a():\n    assert f(1) == 2\n\ndef test_b():\n    assert f(1) == 3\n",
    }
    result = fixed(write_project(tmp_path, files), settings=replace(QUICK, seconds=20))
    assert result.outcome == "not_fixed"
    assert result.change is None


def test_a_change_that_special_cases_the_test_comes_last_and_is_marked(tmp_path: Path) -> None:
    files = {
        "m.py": 'def f(x):\n    """Return x doubled."""\n    total = 0\n    for _ in range(0):\n        total = f(total) * len(str(x))\n    return total - 77\n',
        "test_m.py": "from m import f\n\ndef test_a():\n    assert f(21) == 42\n",
    }
    cheat = "def f(x):\n    if x == 21:\n        return 42\n    return 0\n"
    result = fixed(write_project(tmp_path, files), lambda prompt, seed: fenced(cheat))
    assert result.change is not None
    assert result.change.special_cases
    assert "warning" in str(result)


def test_a_part_of_the_failing_tests_that_can_be_fixed_is_shown(tmp_path: Path) -> None:
    files = {
        "a.py": "def f(x):\n    return x - 1\n",
        "b.py": "def g():\n    raise NotImplementedError('to be written by someone else entirely')\n",
        "test_m.py": "from a import f\nfrom b import g\n\ndef test_a():\n    assert f(1) == 2\n    assert f(5) == 6\n\ndef test_b():\n    assert g() == {'a': object}\n",
    }
    result = fixed(write_project(tmp_path, files), settings=replace(QUICK, seconds=30))
    assert result.outcome == "not_fixed"
    assert result.change is not None
    assert result.change.fixed == ("test_m.py::test_a",)


def test_a_flaky_test_is_named_and_left_out(tmp_path: Path) -> None:
    flaky = "import os\n\ndef test_flaky():\n    seen = os.path.exists('seen')\n    open('seen', 'w').close()\n    assert seen\n"
    result = fixed(write_stats(tmp_path, **{"tests/test_flaky.py": flaky}))
    assert result.flaky == ("tests/test_flaky.py::test_flaky",)
    assert result.fixed


def test_an_endless_loop_is_fixed(tmp_path: Path) -> None:
    files = {
        "m.py": "def count(n):\n    total = 0\n    while n > 0:\n        total += 1\n        n -= 0\n    return total\n",
        "test_m.py": "from m import count\n\ndef test_none():\n    assert count(0) == 0\n\ndef test_three():\n    assert count(3) == 3\n",
    }
    settings = replace(QUICK, limits=SuiteLimits(stall_s=3), effort=replace(QUICK.effort, tries=0))
    reply = fenced(files["m.py"].replace("n -= 0", "n -= 1"))
    result = fixed(write_project(tmp_path, files), lambda prompt, seed: reply, settings)
    assert result.fixed
    assert "did not end" in result.notes[0]
    assert result.suspects == (("m.py::count", 1.0),)


def test_tests_are_never_changed(tmp_path: Path) -> None:
    files = {"test_m.py": "def helper():\n    return 1\n\ndef test_a():\n    assert helper() == 2\n"}
    result = fixed(write_project(tmp_path, files))
    assert (result.outcome, result.suspects) == ("not_fixed", ())
    assert "no function of the project that may be changed" in str(result)


def test_a_syntax_error_is_named_with_its_line(tmp_path: Path) -> None:
    files = {"m.py": "x = 1\ndef f(:\n", "test_m.py": "import m\n\ndef test_a():\n    pass\n"}
    with pytest.raises(UsageError, match=r"m\.py:2: SyntaxError"):
        fixed(write_project(tmp_path, files))


def test_a_project_without_tests_is_told_how_to_name_them(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no tests were found") as error:
        fixed(write_project(tmp_path, {"m.py": ""}))
    assert "--test" in str(error.value.hint)


def test_two_fixes_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    folder = write_stats(tmp_path)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: fixed(folder), range(2)))
    assert [result.fixed for result in results] == [True, True]


def test_a_program_and_its_tests_are_fixed_as_text() -> None:
    result = sd.fix(
        "def double(x):\n    return x * x\n", "assert double(3) == 6\nassert double(0) == 0", SILENT, settings=QUICK
    )
    assert result.change is not None
    assert result.change.text in ("def double(x):\n    return x + x\n", "def double(x):\n    return x * 2\n")
    assert "double" in result._repr_html_()


def test_asserts_beside_a_decorated_test_function_change_nothing_about_it() -> None:
    tests = (
        "import pytest\n\n@pytest.mark.parametrize('x', [1, 2])\ndef test_1(x):\n    assert double(x) == 2 * x\n\n"
        "assert double(0) == 0\n"
    )
    result = sd.fix("def double(x):\n    return 2 * x\n", tests, SILENT, settings=QUICK)
    assert (result.outcome, result.before.passed) == ("nothing_failed", 3)


@pytest.mark.parametrize(
    ("source", "tests", "what"), [("def f(:", "assert 1", "the program"), ("x = 1", "assert (", "the tests")]
)
def test_text_that_does_not_parse_is_named(source: str, tests: str, what: str) -> None:
    with pytest.raises(UsageError, match=f"{what} does not parse"):
        sd.fix(source, tests, SILENT)


def test_the_result_explains_what_the_model_read(tmp_path: Path) -> None:
    (explained, *_) = fixed(write_stats(tmp_path)).explained
    assert explained.function == "pkg/stats.py::median"
    in_a_notebook = re.sub("<.*?>", "", explained._repr_html_())
    for picture in (str(explained), in_a_notebook):
        assert any(line.startswith("▶") and "ordered[n // 2 - 1]" in line for line in picture.split("\n"))
