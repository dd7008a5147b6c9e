"""Functions of a project are judged by the project's own tests: outcomes, facts, and what counts as an answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.project import checks_of
from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.projects.place import Place
from mlx_selfdebug.repair.edits.trying import QuickRunner, TracingRunner
from mlx_selfdebug.sandbox import Executed, Limits, TestRunner
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Verdict
from tests.projects.made import STATS, TESTS, write_project

Judged = Callable[[str, Task], Verdict]
FILE = "tests/test_stats.py"
MEDIANS = [f"{FILE}::test_median[values{number}-{value}]" for number, value in enumerate((2, 2.5, 1.5))]
RIGHT = "def median(values):\n    v = sorted(values)\n    n = len(v)\n    return (v[(n - 1) // 2] + v[n // 2]) / 2\n"
WRONG = RIGHT.replace("(n - 1) // 2", "n // 2")
ADD = "class Window:\n    def add(self, value):\n        self.values = [*self.values, value][-self.size :]\n        return self\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stats = STATS.replace("ordered[n // 2 + 1]", "ordered[n // 2]")
    folder = tmp_path_factory.mktemp("stats")
    return write_project(folder, {"pkg/__init__.py": "", "pkg/stats.py": stats, FILE: TESTS}).resolve()


@pytest.fixture(scope="module")
def runner() -> Iterator[TestRunner]:
    with TestRunner(1, Limits(wall_s=3)) as opened:
        yield opened


@pytest.fixture
def judged(runner: TestRunner) -> Judged:
    return lambda code, task: domain_of("project").judge(code, task, task.public, runner).result()


@pytest.fixture
def median(project: Path) -> Task:
    return task_of(project, "median", "def median(values):", MEDIANS)


@pytest.fixture
def add(project: Path) -> Task:
    return task_of(project, "Window.add", "class Window:\n    def add(self, value):", [f"{FILE}::test_window"])


def task_of(project: Path, name: str, starter: str, tests: list[str]) -> Task:
    place = Place(str(project), sys.executable, "pkg/stats.py", name, (FILE,), 0.3)
    return Task(name, "project", "Do it.", name.partition(".")[0], starter, checks_of(tests), data=place.to_json())


@pytest.mark.parametrize("code", [RIGHT, f"import math\n\n{RIGHT}", f"{RIGHT}\n\ndef helper():\n    return 1\n"])
def test_a_right_function_passes_also_with_imports_and_helpers_beside_it(
    judged: Judged, median: Task, code: str
) -> None:
    verdict = judged(code, median)
    assert (verdict.outcome, verdict.n_passed, verdict.n_checks) == ("passed", 3, 3)
    assert verdict.isolation == "full"


def test_the_facts_of_a_failed_test_are_its_statement_its_parameters_and_both_values(
    judged: Judged, median: Task
) -> None:
    verdict = judged(WRONG, median)
    assert (verdict.outcome, verdict.n_passed) == ("failed", 1)
    first = verdict.failures[0]
    assert (first.check, first.input) == (
        "assert median(values) == expected",
        "values=[4, 1, 3, 2], expected=2.5",
    )
    assert (first.expected, first.got) == ("2.5", "3.0")


def test_an_exception_is_told_with_the_line_of_the_answer_that_raised_it(judged: Judged, median: Task) -> None:
    for code in (RIGHT.replace("v[n // 2]", "v[n]"), f"import math\n\n{RIGHT.replace('v[n // 2]', 'v[n]')}"):
        verdict = judged(code, median)
        error = verdict.failures[0].error
        assert verdict.outcome == "raised"
        assert error is not None
        assert (error.type, code.split("\n")[error.line - 1].strip()) == ("IndexError", error.source)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("def median(values:\n    return 1\n", "load_error"),
        ("", "missing_entry"),
        ("def mean(values):\n    return 1\n", "missing_entry"),
        ("median = None\n", "missing_entry"),
        (f"import not_there\n\n{RIGHT}", "load_error"),
        ("def median(values):\n    import os\n    os._exit(0)\n", "crashed"),
        ("def median(values):\n    while True:\n        pass\n", "timeout_wall"),
        ("def median(values):\n    import pytest\n    pytest.skip('no')\n", "failed"),
        ("def median(values):\n    raise SystemExit(0)\n", "raised"),
        ("import os\nos._exit(0)\n\ndef median(values):\n    return 1\n", "load_error"),
    ],
)
def test_an_answer_that_is_none_or_ends_the_tests_never_passes(
    judged: Judged, median: Task, code: str, outcome: str
) -> None:
    assert judged(code, median).outcome == outcome


def test_a_method_is_answered_within_its_class_or_alone(judged: Judged, add: Task) -> None:
    domain = domain_of("project")
    alone = "\n".join(line.removeprefix("    ") for line in ADD.split("\n")[1:])
    more = ADD + "\n    def other(self):\n        return 1\n"
    assert [domain.extract(f"{text}\n```", add).code for text in (ADD, alone, more)] == [ADD] * 3
    assert judged(ADD, add).passed
    assert judged("class Window:\n    def added(self, value):\n        return self\n", add).outcome == "missing_entry"


def test_an_answer_that_does_nothing_fails(judged: Judged, median: Task, add: Task) -> None:
    for task in (median, add):
        assert not judged(domain_of("project").nothing(task), task).passed


def test_a_quick_run_ends_at_the_first_failure_and_a_traced_one_tells_the_lines(
    runner: TestRunner, median: Task
) -> None:
    domain = domain_of("project")
    quick = domain.judge(WRONG, median, median.public, QuickRunner(runner, 1.0)).result()
    assert (quick.outcome, quick.n_passed) == ("failed", 1)
    executed = domain.judge(WRONG, median, median.public, TracingRunner(runner, 1.0)).result()
    assert [(set(call.lines) >= {2, 3, 4}, call.passed) for call in executed.calls] == [  # type: ignore[attr-defined]
        (True, True),
        (True, False),
        (True, False),
    ]


@pytest.mark.parametrize("code", ["def median(values:\n", "def mean(values):\n    return 1\n"])
def test_a_traced_run_of_what_cannot_be_run_tells_no_lines(runner: TestRunner, median: Task, code: str) -> None:
    executed = domain_of("project").judge(code, median, median.public, TracingRunner(runner, 1.0)).result()
    assert executed == Executed()


def test_a_prompt_shows_the_public_tests_unless_they_are_kept_from_the_model(median: Task) -> None:
    task = replace(median, public=checks_of(MEDIANS, "def test_median():\n    assert median([1]) == 1"))
    domain = domain_of("project")
    assert "assert median([1]) == 1" in domain.prompt(task)
    assert "assert median([1]) == 1" not in domain.task_text(task, public_checks=False)  # type: ignore[attr-defined]


def test_a_project_that_is_gone_or_has_lost_the_function_is_one_clear_line(
    judged: Judged, project: Path, median: Task
) -> None:
    with pytest.raises(UsageError, match="has no function 'mode' any more"):
        judged(RIGHT, task_of(project, "mode", "def mode(values):", MEDIANS))
    with pytest.raises(UsageError, match="is not there; the tasks of a project are tested in the folder"):
        judged(RIGHT, task_of(project / "gone", "median", "def median(values):", MEDIANS))
    with pytest.raises(UsageError, match="cannot be read: 'no JSON'"):
        judged(RIGHT, replace(median, data="no JSON"))
    with pytest.raises(UsageError, match="name no tests"):
        judged(RIGHT, replace(median, public=Checks.from_asserts(["assert 1 == 1"])))


def test_nothing_of_a_suite_is_left_when_the_runner_is_closed(project: Path, median: Task) -> None:
    before = servers()
    with TestRunner(1) as runner:
        assert domain_of("project").judge(RIGHT, median, median.public, runner).result().passed
        assert servers() > before
    assert servers() == before


def servers() -> int:
    """The number of processes that this one has started and that serve the suite of a project."""
    started = psutil.Process().children(recursive=True)
    return sum("suite_server.server" in " ".join(process.cmdline()) for process in started)
