"""Functions of a package whose tests are translated, and bugs put into them. Those of its own suite are in test_project_tasks.py."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.tasks.own.project_tasks import SuiteTasks

PRICES = '''\
import math
from functools import lru_cache

RATE = 0.5


def rounded(cents: float) -> int:
    return math.floor(cents + RATE)


def total(prices: list[int]) -> int:
    """The sum of all prices that are not negative."""
    # only what costs something
    return sum(price for price in prices if price > 0)


def discounted(cents: int, percent: int = 10) -> int:
    return rounded(cents * (100 - percent) / 100)


@lru_cache
def cached(n: int) -> int:
    return n


def lonely(n: int) -> int:
    return n


def untested(n: int) -> int:
    return n
'''
TESTS = """\
import pytest
from shop import discounted
from shop.prices import cached, lonely
from shop.prices import total as summed
from shop.store import both


def test_total_of_nothing():
    assert summed([]) == 0


def test_total():
    assert summed([1, 2, 3]) == 6


def test_total_negative():
    assert summed([5, -2]) == 5


class TestDiscount:
    def test_ten(self):
        assert discounted(100) == 90

    @pytest.mark.parametrize("cents, percent, expected", [(99, 50, 50), (10, 0, 10)])
    def test_many(self, cents, percent, expected):
        assert discounted(cents, percent) == expected

    def test_both(self):
        assert discounted(summed([10]), 0) == 10


def test_cached():
    assert cached(1) == 1


def test_cached_again():
    assert cached(2) == 2


def test_lonely():
    assert lonely(1) == 1


def test_store():
    assert both([1], [2]) == 3


def test_store_empty():
    assert both([], []) == 0
"""


@pytest.fixture(autouse=True)
def _without_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's own suite is not run, which would make tasks of what is left out here."""
    monkeypatch.setattr("mlx_selfdebug.tasks.own.functions.project_tasks", lambda *_: SuiteTasks())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "src" / "shop").mkdir(parents=True)
    (tmp_path / "tests").mkdir()
    (tmp_path / "src" / "shop" / "__init__.py").write_text("from shop.prices import discounted, total\n")
    (tmp_path / "src" / "shop" / "prices.py").write_text(PRICES)
    (tmp_path / "src" / "shop" / "store.py").write_text(
        "from shop.prices import total\n\n\ndef both(a, b):\n    return total(a) + total(b)\n"
    )
    (tmp_path / "tests" / "test_prices.py").write_text(TESTS)
    return tmp_path


def test_a_function_that_two_tests_use_alone_is_a_task(project):
    tasks = load_tasks(f"functions:{project}")
    assert [task.id for task in tasks] == ["functions/src.shop.prices.total", "functions/src.shop.prices.discounted"]


def test_the_others_are_listed_with_the_reason(project, caplog):
    with caplog.at_level(logging.WARNING):
        load_tasks(f"functions:{project}")
    said = caplog.text
    assert "src.shop.prices.cached: it is decorated" in said
    assert "src.shop.prices.lonely: 1 of the 1 tests that use it uses nothing else of the package" in said
    assert "src.shop.store.both: its module imports shop, which a test run does not have" in said
    assert "untested" not in said


def test_a_name_that_a_test_gives_a_function_is_its_own(project):
    task = load_tasks(f"functions:{project}").by_id["functions/src.shop.prices.total"]
    assert task.public.source.startswith("def test_total_of_nothing():\n    assert total([]) == 0")
    assert "test_total_of_nothing" not in task.hidden.source


def test_the_rest_of_the_module_is_there_but_not_the_function(project):
    task = load_tasks(f"functions:{project}").by_id["functions/src.shop.prices.discounted"]
    assert "def rounded" in task.data
    assert "def discounted" not in task.data
    assert "def rounded(cents: float) -> int: ..." in domain_of("python").prompt(task)


def test_a_test_that_uses_another_function_of_the_package_is_left_out(project):
    task = load_tasks(f"functions:{project}").by_id["functions/src.shop.prices.discounted"]
    assert "test_both" not in task.public.source + task.hidden.source


def test_a_function_whose_own_tests_fail_is_left_out(project, caplog):
    path = project / "src" / "shop" / "prices.py"
    path.write_text(PRICES.replace("price > 0", "price > 9"))
    with caplog.at_level(logging.WARNING):
        tasks = load_tasks(f"functions:{project}")
    assert [task.entry_point for task in tasks] == ["discounted"]
    assert "total: the reference does not pass the hidden checks" in caplog.text


def test_every_bug_is_one_that_the_tests_catch(project):
    tasks = load_tasks(f"bugs:{project}")
    assert {task.entry_point for task in tasks} == {"total", "discounted"}
    assert len({task.wrong for task in tasks}) == len(tasks) >= 4
    for task in tasks:
        assert task.wrong[0].strip() in task.statement
        assert task.reference.strip() not in task.statement


def test_the_same_bugs_come_every_time(project):
    assert list(load_tasks(f"bugs:{project}")) == list(load_tasks(f"bugs:{project}"))


def test_a_folder_without_such_functions_is_an_error_with_the_reasons(tmp_path):
    (tmp_path / "one.py").write_text("def f():\n    return 1\n")
    (tmp_path / "test_one.py").write_text("from one import f\n\n\ndef test_f():\n    assert f() == 1\n")
    with pytest.raises(TaskError, match="no function that can be a task") as caught:
        load_tasks(f"functions:{tmp_path}")
    assert caught.value.problems[0].startswith("one.f: 1 of the 1 tests")


@pytest.mark.parametrize("name", ["functions", "bugs"])
def test_no_folder_is_an_error(name, tmp_path):
    with pytest.raises(TaskError):
        load_tasks(f"{name}:{tmp_path / 'none'}")
    with pytest.raises(TaskError, match="is read from"):
        load_tasks(name)


def test_files_that_are_no_python_are_passed_over(project):
    (project / "src" / "shop" / "broken.py").write_text("def f(:\n")
    (project / "src" / "shop" / "latin.py").write_bytes(b"# \xe9\n")
    (project / "tests" / "test_broken.py").write_text("def test_(:\n")
    assert len(load_tasks(f"functions:{project}")) == 2


SLUG = 'def slug(text):\n    """Lower case, blanks as dashes."""\n    return \'-\'.join(text.lower().split())\n'
TWO_TESTS = (
    "{imports}\n\ndef test_a():\n    assert {slug}('A b') == 'a-b'\n\ndef test_b():\n    assert {slug}('') == ''\n"
)


def made(folder: Path, files: dict[str, str]) -> str:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return f"functions:{folder}"


@pytest.mark.parametrize(
    ("imports", "slug"),
    [
        ("import pkg.core.texts", "pkg.core.texts.slug"),
        ("import pkg.core.texts as t", "t.slug"),
        ("from pkg.core import texts", "texts.slug"),
        ("from pkg.core import texts as t", "t.slug"),
        ("from pkg.core.texts import *", "slug"),
        ("from pkg.core.texts import slug as dashed", "dashed"),
        ("from pkg import slug", "slug"),
        ("import pkg", "pkg.slug"),
        ("from ..core import texts", "texts.slug"),
        ("from ..core.texts import slug", "slug"),
        ("from .. import slug", "slug"),
        ("try:\n    from texts import slug\nexcept ImportError:\n    from ..core.texts import slug", "slug"),
    ],
)
def test_a_function_is_found_however_the_tests_import_it(tmp_path, imports, slug):
    files = {
        "pkg/__init__.py": "from .core.texts import slug\n",
        "pkg/core/__init__.py": "",
        "pkg/core/texts.py": SLUG,
        "pkg/tests/test_texts.py": TWO_TESTS.format(imports=imports, slug=slug),
    }
    [task] = load_tasks(made(tmp_path, files))
    assert task.id == "functions/pkg.core.texts.slug"


@pytest.mark.parametrize("name", ["shop/tests.py", "shop/tests/test_texts.py", "texts_test.py", "test.py"])
def test_a_file_of_tests_is_known_by_the_names_that_frameworks_use(tmp_path, name):
    tests = (
        "from unittest import TestCase\nfrom shop.texts import slug\n\n\nclass SlugTest(TestCase):\n"
        "    def test_a(self):\n        self.assertEqual(slug('A b'), 'a-b')\n\n"
        "    def test_b(self):\n        self.assertEqual(slug(''), '')\n"
    )
    [task] = load_tasks(made(tmp_path, {"manage.py": "", "shop/__init__.py": "", "shop/texts.py": SLUG, name: tests}))
    assert task.id == "functions/shop.texts.slug"


def test_djangos_own_test_cases_are_understood(tmp_path):
    tests = (
        "from django.test import SimpleTestCase\nfrom .texts import slug\n\n\nclass SlugTest(SimpleTestCase):\n"
        "    def test_a(self):\n        self.assertEqual(slug('A b'), 'a-b')\n\n"
        "    def test_b(self):\n        self.assertEqual(slug(''), '')\n"
    )
    assert len(load_tasks(made(tmp_path, {"shop/texts.py": SLUG, "shop/tests.py": tests}))) == 1


def test_what_only_a_set_up_uses_counts_as_used(tmp_path, caplog):
    tests = (
        "from texts import Store, slug\n\n\nclass TestSlug:\n    def setup_method(self):\n        self.store = Store()\n\n"
        "    def test_a(self):\n        assert slug('A b') == 'a-b'\n\n    def test_b(self):\n        assert slug('') == ''\n"
    )
    with caplog.at_level(logging.WARNING), pytest.raises(TaskError):
        load_tasks(made(tmp_path, {"texts.py": SLUG + "\n\nclass Store:\n    pass\n", "test_texts.py": tests}))
    reason = "test_texts.py: TestSlug.test_a, TestSlug.test_b: it uses more than one thing of the package: texts.Store, texts.slug"
    assert reason in caplog.text


def test_each_test_that_is_left_out_is_listed_with_the_reason(tmp_path, caplog):
    more = (
        "\n\ndef test_c(tmp_path):\n    assert slug('C') == 'c'\n\n\nasync def test_d():\n    assert slug('D') == 'd'\n\n\n"
        "def test_e():\n    assert slug(requests.get('x')) == ''\n\n\ndef test_f():\n    assert True\n"
    )
    tests = TWO_TESTS.format(imports="import requests\nfrom texts import slug", slug="slug") + more
    with caplog.at_level(logging.WARNING):
        [task] = load_tasks(made(tmp_path, {"texts.py": SLUG, "test_texts.py": tests}))
    assert "test_texts.py: test_c: fixtures are not supported (tmp_path)" in caplog.text
    assert "test_texts.py: test_d: async tests are not supported" in caplog.text
    assert "test_texts.py: test_e: it uses requests.get, which a test run does not have" in caplog.text
    assert "test_texts.py: test_f: it uses nothing of the package" in caplog.text
    assert "test_c" not in task.public.source + task.hidden.source


def test_each_file_that_is_no_python_is_listed(project, caplog):
    (project / "tests" / "test_broken.py").write_text("def test_(:\n")
    with caplog.at_level(logging.WARNING):
        load_tasks(f"functions:{project}")
    assert "tests/test_broken.py: line 1: not valid Python" in caplog.text


def test_a_function_whose_tests_cannot_be_run_is_left_out_and_so_are_they(tmp_path):
    tests = "from texts import slug\n\n\ndef test_a(x):\n    assert slug(x)\n\n\ndef test_b():\n    assert slug('A') == 'a'\n"
    with pytest.raises(TaskError) as caught:
        load_tasks(made(tmp_path, {"texts.py": SLUG, "test_texts.py": tests}))
    assert "1 of the 2 tests that use it uses nothing else of the package and can be run" in caught.value.problems[0]
    assert "test_texts.py: test_a: fixtures are not supported (x)" in caught.value.problems


def test_an_async_function_is_left_out_with_that_reason(tmp_path):
    tests = TWO_TESTS.format(imports="from texts import slug", slug="slug")
    with pytest.raises(TaskError) as caught:
        load_tasks(made(tmp_path, {"texts.py": f"async {SLUG}", "test_texts.py": tests}))
    assert caught.value.problems[0] == "texts.slug: it is async"


MEAN = "\n\ndef mean(values: {annotation}) -> float:\n    return sum(values) / len(values) if len(values) else 0.0\n"
MEAN_TESTS = "from stats import mean\n\n\ndef test_a():\n    assert mean([1, 2, 3]) == 2\n\n\ndef test_b():\n    assert mean([]) == 0\n"


@pytest.mark.parametrize(
    "imports",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy as np\n",
        "import typing as t\nif t.TYPE_CHECKING:\n    import numpy as np\nelse:\n    import math\n",
        "try:\n    import numpy as np\nexcept ImportError:\n    np = None\n",
        "from contextlib import suppress\nwith suppress(ImportError):\n    import numpy as np\n",
        "def drawn():\n    import numpy as np\n    return np\n",
    ],
)
def test_an_import_that_the_function_does_not_need_does_not_matter(tmp_path, imports):
    source = f"from __future__ import annotations\n{imports}" + MEAN.format(annotation="np.ndarray | list[float]")
    [task] = load_tasks(made(tmp_path, {"stats.py": source, "test_stats.py": MEAN_TESTS}))
    assert task.entry_point == "mean"


@pytest.mark.parametrize("imports", ["import numpy", "if True:\n    import numpy", "class A:\n    import numpy"])
def test_an_import_that_the_module_needs_is_the_reason(tmp_path, imports):
    with pytest.raises(TaskError) as caught:
        load_tasks(made(tmp_path, {"stats.py": imports + MEAN.format(annotation="list"), "test_stats.py": MEAN_TESTS}))
    assert caught.value.problems[0] == "stats.mean: its module imports numpy, which a test run does not have"


@pytest.mark.parametrize(
    ("annotation", "written"),
    [
        ("list[float]", "list[float]"),
        ("Missing", '"Missing"'),
        ('"Mean" | None', "\"'Mean' | None\""),
        ("dict[str,\n    Missing]", '"dict[str, Missing]"'),
        ("Later", "Later"),
    ],
)
def test_an_annotation_is_a_string_where_only_the_future_import_allowed_it(tmp_path, annotation, written):
    source = (
        "from __future__ import annotations\n# é\n"
        + MEAN.format(annotation=annotation)
        + "\n\nclass Later:\n    pass\n"
    )
    [task] = load_tasks(made(tmp_path, {"stats.py": source, "test_stats.py": MEAN_TESTS}))
    assert task.starter_code == f"def mean(values: {written}) -> float:"


def test_an_annotation_with_a_name_that_only_a_type_checker_sees_assigned_is_a_string(tmp_path):
    for_type_checkers = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    Price = float\n"
    source = f"from __future__ import annotations\n{for_type_checkers}" + MEAN.format(annotation="list[Price]")
    [task] = load_tasks(made(tmp_path, {"stats.py": source, "test_stats.py": MEAN_TESTS}))
    assert task.starter_code == 'def mean(values: "list[Price]") -> float:'


@pytest.mark.parametrize(
    "folder", [".venv", "venv", "myenv", "build", "dist", "node_modules", "lib/site-packages", ".hidden"]
)
def test_a_folder_that_tools_made_is_skipped_before_its_files_are_counted(tmp_path, folder, monkeypatch):
    monkeypatch.setattr("mlx_selfdebug.tasks.own.modules.MAX_FILES", 4)
    files = {"texts.py": SLUG, "test_texts.py": TWO_TESTS.format(imports="from texts import slug", slug="slug")}
    many = {f"{folder}/lib{n}/texts.py": SLUG for n in range(5)} | (
        {"myenv/pyvenv.cfg": ""} if folder == "myenv" else {}
    )
    assert len(load_tasks(made(tmp_path, files | many))) == 1


@pytest.mark.parametrize("name", ["build", "dist", "venv"])
def test_a_package_may_have_the_name_of_such_a_folder(tmp_path, name):
    tests = TWO_TESTS.format(imports=f"from {name}.texts import slug", slug="slug")
    [task] = load_tasks(
        made(tmp_path, {f"{name}/__init__.py": "", f"{name}/texts.py": SLUG, "tests/test_texts.py": tests})
    )
    assert task.id == f"functions/{name}.texts.slug"


def test_a_module_of_the_standard_library_is_not_one_of_the_package_with_the_same_name(tmp_path):
    tests = (
        "import math\n"
        + TWO_TESTS.format(imports="from pkg.texts import slug", slug="slug")
        + "\n\ndef test_c():\n    assert len(slug('A')) == math.ceil(0.5)\n"
    )
    files = {"pkg/math.py": "def ceil(x):\n    return x\n", "pkg/texts.py": SLUG, "test_texts.py": tests}
    [task] = load_tasks(made(tmp_path, files))
    assert "math.ceil(0.5)" in task.hidden.source
