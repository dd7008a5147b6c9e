"""Functions of a project that need more than the standard library become tasks of its own tests."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.auditing.verify import check_tasks
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.progress import NullStage
from mlx_selfdebug.repair.asking import Decoding
from mlx_selfdebug.repair.bugs import mutated
from mlx_selfdebug.repair.policies import Search
from mlx_selfdebug.repair.stream import Play, Stream
from mlx_selfdebug.sandbox import Limits, TestRunner
from mlx_selfdebug.stages.collect import collect
from mlx_selfdebug.store import Run
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.tasks.jsonl import dump_tasks, read_tasks
from mlx_selfdebug.tasks.task_set import TaskSet
from mlx_selfdebug.testing import ScriptedModel, make_attempt
from mlx_selfdebug.values.task import Task
from tests.projects.made import write_project
from tests.support.values import small_config

pytestmark = pytest.mark.slow

FILES = {
    "pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['src']\naddopts = '-q'\n",
    "src/shop/__init__.py": "",
    "src/shop/prices.py": '''\
def total(prices):
    """Return the sum of all prices that are not negative."""
    return sum(price for price in prices if price > 0)
''',
    "src/shop/store.py": '''\
import numpy as np

from shop.prices import total

LIMIT = 100


def mean(prices):
    """Return the mean price, or 0.0 if there is none."""
    prices = np.asarray(prices, dtype=float)
    return float(prices.mean()) if len(prices) else 0.0


def both(first, second):
    return min(total(first) + total(second), LIMIT)


class Stock:
    """What is there of a thing."""

    def __init__(self, n):
        self.n = n

    def take(self, n):
        """Take n, or what is there, and return how many were taken."""
        taken = min(n, self.n)
        self.n -= taken
        return taken


def once(n):
    return n + 1


def unseen(n):
    n + 1


if LIMIT > 0:

    def nested(n):
        return n + 2
''',
    "tests/conftest.py": "import pytest\n\nfrom shop.store import Stock\n\n\n@pytest.fixture\ndef stock():\n    return Stock(5)\n",
    "tests/test_store.py": """\
import subprocess
import sys

import pytest

from shop.prices import total
from shop.store import both, mean, nested, once, unseen


@pytest.mark.parametrize("prices, expected", [([1, 2], 1.5), ([], 0.0), ([4], 4.0), ([2, 4, 6], 4.0)])
def test_mean(prices, expected):
    assert mean(prices) == expected


def test_both():
    assert both([1], [2, 3]) == 6


def test_both_at_most_the_limit():
    assert both([90], [20]) == 100


def test_take(stock):
    assert stock.take(2) == 2
    assert stock.n == 3


def test_take_more_than_there_is(stock, tmp_path):
    assert stock.take(9) == 5


def test_total():
    assert total([5, -2]) == 5


def test_total_of_nothing():
    assert total([]) == 0


def test_once():
    assert once(1) == 2


def test_unseen():
    assert unseen(1) is None


def test_unseen_again():
    assert unseen(2) is None


def test_nested():
    assert nested(1) == nested(0) + 1


def test_wrong():
    assert mean([1]) == 2


def test_other_program():
    assert subprocess.run([sys.executable, "-c", "pass"]).returncode == 0
""",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("shop"), FILES).resolve()


@pytest.fixture(scope="module")
def said() -> list[str]:
    """The lines that were logged while the tasks were made."""
    return []


@pytest.fixture(scope="module")
def bugs(project: Path, said: list[str]) -> TaskSet:
    handler = logging.Handler()
    handler.emit = lambda record: said.extend(record.getMessage().splitlines())  # type: ignore[method-assign]
    logger = logging.getLogger("mlx_selfdebug.tasks.own.functions")
    logger.addHandler(handler)
    try:
        return load_tasks(f"bugs:{project}")
    finally:
        logger.removeHandler(handler)


@pytest.fixture(scope="module")
def tasks(project: Path) -> TaskSet:
    return load_tasks(f"functions:{project}")


@pytest.fixture(scope="module")
def runner() -> Iterator[TestRunner]:
    with TestRunner(1, Limits(wall_s=3)) as opened:
        yield opened


def named(tasks: TaskSet, name: str) -> Task:
    return tasks.by_id[f"functions/src.shop.{name}"]


def test_functions_that_need_packages_modules_fixtures_and_methods_are_tasks(tasks: TaskSet) -> None:
    assert {task.id.removeprefix("functions/src.shop."): task.domain for task in tasks} == {
        "prices.total": "python",
        "store.mean": "project",
        "store.both": "project",
        "store.Stock.__init__": "project",
        "store.Stock.take": "project",
    }


def test_public_and_hidden_tests_are_disjoint_and_there_are_both(tasks: TaskSet) -> None:
    for task in (task for task in tasks if task.domain == "project"):
        public, hidden = (set(checks.source.splitlines()[1:]) for checks in (task.public, task.hidden))
        assert public
        assert hidden
        assert not public & hidden


def test_references_pass_and_answers_that_do_nothing_fail(tasks: TaskSet, bugs: TaskSet, runner: TestRunner) -> None:
    assert check_tasks([*tasks, *bugs], runner) == []
    for task in tasks:
        domain = domain_of(task.domain)
        assert not domain.judge(domain.nothing(task), task, task.public, runner).result().passed


def test_a_task_survives_its_file(tasks: TaskSet, bugs: TaskSet, tmp_path: Path) -> None:
    for made in (tasks, bugs):
        dump_tasks(made, tmp_path / "made.jsonl")
        read = read_tasks(tmp_path / "made.jsonl", source=made[0].source)
        assert read == list(made)


def test_a_prompt_has_signature_docstring_what_is_used_and_a_public_test(tasks: TaskSet) -> None:
    prompt = domain_of("project").prompt(named(tasks, "store.Stock.take"))
    assert "class Stock:\n    def take(self, n):\n```" in prompt
    assert "Take n, or what is there" in prompt
    assert "def __init__(self, n):\n        self.n = n" in prompt
    assert "assert stock.take(2) == 2" in prompt
    assert "Write this method so that its tests pass." not in prompt
    assert "Write this function so that its tests pass." in named(tasks, "store.both").statement


def test_what_is_left_out_is_listed_with_the_reason(bugs: TaskSet, said: list[str]) -> None:
    listed = [line.strip() for line in said]
    least = "two are needed, one to show and one to score"
    assert f"src.shop.store.once: 1 of the project's tests runs it and passes; {least}" in listed
    assert f"src.shop.store.unseen: of the 2 tests that run it, none fails if it does nothing; {least}" in listed
    assert "src.shop.store.nested: it stands in an if, try or with" in listed
    wrong = "tests/test_store.py: test_wrong: it fails before anything is changed: AssertionError: assert 1.0 == 2"
    assert any(line.startswith(wrong) for line in listed)
    assert "tests/test_store.py: test_other_program: it starts other programs, which would not see an answer" in listed
    assert not any("test_mean" in line or "test_take" in line for line in listed)


def test_a_bug_fails_a_public_and_a_hidden_test_and_is_told_with_its_facts(bugs: TaskSet, runner: TestRunner) -> None:
    made = [task for task in bugs if task.domain == "project"]
    assert {task.id.partition("/")[2].rpartition("/")[0] for task in made} >= {
        "src.shop.store.mean", "src.shop.store.both", "src.shop.store.Stock.take"
    }  # fmt: skip
    for task in made:
        domain = domain_of("project")
        public, hidden = (
            domain.judge(task.wrong[0], task, checks, runner).result() for checks in (task.public, task.hidden)
        )
        assert {public.outcome, hidden.outcome} <= {"failed", "raised"}
        failure = public.failures[0]
        assert failure.check.startswith("assert ")
        assert failure.error or (failure.expected and failure.got)
        assert task.wrong[0].strip() in task.statement


def test_a_search_for_edits_mends_a_bug(bugs: TaskSet, runner: TestRunner, tmp_path: Path) -> None:
    task = next(task for task in bugs if "Stock.take" in task.id)
    task = replace(task, statement="Take n.")
    domain = domain_of("project")
    verdicts = [domain.judge(task.wrong[0], task, checks, runner).result() for checks in (task.hidden, task.public)]
    given = make_attempt(
        task_id=task.id, arm="given", kind="given", code=task.wrong[0], completion=task.wrong[0],
        verdict=verdicts[0], public=verdicts[1], n_completion_tokens=0,
    )  # fmt: skip
    model = ScriptedModel(lambda prompt, seed: "")
    policy = Search(edits=True, forks=0, then="nothing")
    with Run(tmp_path / "run") as run:
        play = Play("arm", [task], policy, Decoding(0.8, 0.05, 64, 8, 6 * 10**9), {task.id: [given]})
        *_, found = Stream(run, model, runner, NullStage()).play(play)["arm"]
    assert (found.kind, found.finish) == ("edits", "edited")
    assert found.passed
    assert found.public.passed
    assert domain.normalise(found.code) == domain.normalise(task.reference)


def test_bugs_can_be_put_into_such_functions(tasks: TaskSet) -> None:
    operators = {candidate.operator for candidate in mutated(named(tasks, "store.Stock.take"), 0)}
    assert {"return", "call"} <= operators


def test_a_project_without_pytest_keeps_the_tasks_that_need_none(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bare = tmp_path / "bare"
    (bare / "bin").mkdir(parents=True)
    (bare / "pyvenv.cfg").write_text("home = /usr/bin\n")
    import sys

    base = Path(sys.base_prefix, "bin", "python3").resolve()
    (bare / "bin" / "python").symlink_to(base)
    (bare / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
    monkeypatch.setenv("VIRTUAL_ENV", str(bare))
    with caplog.at_level(logging.WARNING):
        assert [task.entry_point for task in load_tasks(f"functions:{project}")] == ["total"]
    assert f"{bare}/bin/python has no pytest" in caplog.text
    assert "-m pip install pytest" in caplog.text


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("test_m.py", "def test_f(:\n", "test_m.py: line 1: not valid Python"),
        ("test_m.py", "import m\n\ndef test_f():\n    assert m.f(1) == 3\n", "no test of {folder} passes"),
        ("other.py", "x = 1\n", "pytest finds no tests in {folder}"),
    ],
)
def test_a_suite_that_shows_nothing_is_said_in_one_line(
    tmp_path: Path, name: str, text: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_project(tmp_path / "p", {"m.py": "import numpy\n\n\ndef f(x):\n    return x + 1\n", name: text})
    with caplog.at_level(logging.WARNING), pytest.raises(TaskError):
        load_tasks(f"functions:{folder}")
    assert reason.format(folder=folder) in caplog.text


def test_the_data_names_the_project_and_the_function(tasks: TaskSet, project: Path) -> None:
    data: dict[str, Any] = json.loads(named(tasks, "store.mean").data)
    assert (data["root"], data["file"], data["function"]) == (str(project), "src/shop/store.py", "mean")


def test_drafts_repairs_bugs_and_pairs_are_made_of_such_a_task(tasks: TaskSet, tmp_path: Path) -> None:
    task = named(tasks, "store.Stock.take")

    def reply(prompt: str, seed: int) -> str:
        right = "was tested" in prompt
        return task.reference if right else task.reference.replace("return taken", f"return taken + {seed % 5 + 1}")

    config = small_config(
        collect__samples=2,
        collect__rounds=1,
        collect__edits=0,
        collect__forks=0,
        collect__weak_share=0,
        collect__bugs=2,
    )
    with Run(tmp_path / "run", config) as run:
        attempts = collect(run, ScriptedModel(reply), [task])
        pairs = list(run.pairs())
    drafts, repairs = ([a for a in attempts if a.kind == kind] for kind in ("draft", "repair"))
    assert [a.passed for a in drafts] == [False, False]
    assert repairs
    assert all(a.passed and a.public.passed for a in repairs)
    repair = next(pair for pair in pairs if pair.kind == "repair")
    assert "Expected: 2\nGot: " in repair.prompt
    assert "bug" in {pair.kind for pair in pairs}
