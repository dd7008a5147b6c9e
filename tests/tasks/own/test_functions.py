"""Functions of a package with its own tests, and bugs put into them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks import load_tasks

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
    assert "src.shop.prices.cached (it is decorated)" in said
    assert "src.shop.prices.lonely (1 of the 1 tests that use it uses nothing else of the package" in said
    assert "src.shop.store.both (its module imports shop, which a test run does not have)" in said
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
    assert "total (the reference does not pass the hidden checks" in caplog.text


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
