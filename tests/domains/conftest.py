"""Test runs of a domain: one real runner for the packages that it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mlx_selfdebug.domains import domain_of, packages_of
from mlx_selfdebug.sandbox import TestRunner
from mlx_selfdebug.tasks import Task
from mlx_selfdebug.values.verdict import Verdict

Judge = Callable[[Task, str], Verdict]


@pytest.fixture(scope="module")
def runners() -> Iterator[dict[tuple[str, ...], TestRunner]]:
    found: dict[tuple[str, ...], TestRunner] = {}
    yield found
    for runner in found.values():
        runner.close()


@pytest.fixture
def judge(runners: dict[tuple[str, ...], TestRunner]) -> Judge:
    """The verdict on an answer by the task's public checks."""

    def judge(task: Task, answer: str) -> Verdict:
        packages = packages_of([task.domain])
        if packages not in runners:
            runners[packages] = TestRunner(workers=1, packages=packages)
        domain = domain_of(task.domain)
        return domain.judge(domain.extract(answer, task).code, task, task.public, runners[packages]).result()

    return judge


@pytest.fixture
def told(judge: Judge) -> Callable[[Task, str], str]:
    """What a model is told of its answer; "" if it passed."""

    def told(task: Task, answer: str) -> str:
        verdict = judge(task, answer)
        return "" if verdict.passed else domain_of(task.domain).facts_text(verdict, task, 3)  # type: ignore[attr-defined]

    return told
