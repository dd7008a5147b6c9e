"""Which programs are taken for bugs, and which never are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from mlx_selfdebug.domains.python_source import defines
from mlx_selfdebug.repair.bugs import Bug, Candidate, find_bugs, mutated, plain_source, stacked, without_docstring
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.testing import make_task
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task

STARTER = load_tasks("starter")[:12]
LOOP = "def square(x):\n    while True:\n        pass\n"


@pytest.fixture(scope="module")
def runner() -> Iterator[TestRunner]:
    with TestRunner(2, Limits(wall_s=1, cpu_s=1)) as opened:
        yield opened


def written(task: Task, *codes: str) -> dict[str, list[Candidate]]:
    return {task.id: [Candidate(task, f"by-hand-{i}", "by hand", code) for i, code in enumerate(codes)]}


def codes(bugs: list[Bug]) -> list[str]:
    return [bug.candidate.code for bug in bugs]


def test_a_bug_is_a_program_that_fails_a_public_check_and_a_hidden_one(runner: TestRunner) -> None:
    bugs = find_bugs({task.id: mutated(task, 0) for task in STARTER}, runner)
    assert len(bugs) > len(STARTER) / 2
    for bug in bugs:
        assert defines(bug.candidate.code, bug.candidate.task.entry_point)
        assert not bug.public.passed
        assert not bug.hidden.passed


@pytest.mark.parametrize(
    "code",
    [
        "def square(x):\n    return x * x\n",
        "def square(x):\n    return x *\n",
        "def other(x):\n    return x\n",
        "import os\ndef square(x):\n    os._exit(0)\n",
        "def square(x):\n    return 9 if x == 3 else 0\n",
        "def square(x):\n    return 0 if x == 3 else x * x\n",
    ],
)
def test_right_code_broken_code_and_what_one_kind_of_checks_lets_through_are_no_bugs(
    runner: TestRunner, code: str
) -> None:
    assert find_bugs(written(make_task(), code), runner) == []


def test_a_program_that_runs_into_a_limit_is_taken_only_where_there_is_no_other(runner: TestRunner) -> None:
    wrong = "def square(x):\n    return x\n"
    assert codes(find_bugs(written(make_task(), LOOP, wrong), runner)) == [wrong]
    assert codes(find_bugs(written(make_task(), LOOP), runner)) == [LOOP]


def test_a_task_whose_reference_fails_a_public_check_has_no_bugs(runner: TestRunner) -> None:
    misled = replace(make_task(), public=Checks.from_asserts(["assert square(3) == 8"]))
    assert find_bugs(written(misled, "def square(x):\n    return x\n"), runner) == []


def test_a_task_gives_as_many_bugs_as_are_asked_for(runner: TestRunner) -> None:
    wrong = [f"def square(x):\n    return x - {i}\n" for i in range(5)]
    assert codes(find_bugs(written(make_task(), *wrong), runner, per_task=3)) == wrong[:3]


def test_a_limit_takes_bugs_spread_over_the_tasks_in_their_order(runner: TestRunner) -> None:
    names = [f"f{i}" for i in range(6)]
    tasks = [make_task(name, "x + 1") for name in names]
    candidates = {task.id: written(task, f"def {task.entry_point}(x):\n    return x\n")[task.id] for task in tasks}
    assert [bug.candidate.task.entry_point for bug in find_bugs(candidates, runner, limit=3)] == ["f0", "f2", "f4"]
    without_first = {**candidates, tasks[0].id: []}
    assert len(find_bugs(without_first, runner, limit=3)) == 3


def test_candidates_are_drawn_by_the_seed_and_the_task_and_have_names_of_their_own() -> None:
    task = max(STARTER, key=lambda one: len(one.reference))
    drawn = mutated(task, 0)
    assert drawn == mutated(task, 0)
    assert [one.id for one in drawn] != [one.id for one in mutated(task, 1)]
    assert len({one.id for one in drawn}) == len({one.code for one in drawn}) == len(drawn)


def test_a_name_says_the_same_program_whichever_seed_drew_it() -> None:
    task = STARTER[0]
    first, second = ({one.id: one.code for one in mutated(task, seed)} for seed in (0, 1))
    shared = first.keys() & second.keys()
    assert shared
    assert all(first[id_] == second[id_] for id_ in shared)


def test_every_operator_of_a_reference_has_its_turn_before_one_has_its_second() -> None:
    drawn = [one.operator for one in mutated(make_task("f", "(x + 1) * 2 - 3 if x > 4 else -x"), 0)]
    assert len(set(drawn)) > 3
    assert len(set(drawn[: len(set(drawn))])) == len(set(drawn))


def test_the_docstring_that_says_the_statement_is_dropped_and_nothing_else() -> None:
    source = (
        "import math\n\n\ndef helper(a):\n    'Stays.'\n    return a\n\n\n"
        'def f(a):\n    """Add one.\n\n    >>> f(1)\n    2\n    """\n    return helper(a) + 1  # kept\n'
    )
    assert without_docstring(source, "f") == source.replace(
        source[source.index('    """') : source.index("    return helper")], ""
    )
    assert without_docstring("def f(a):\n    'All there is.'\n", "f") == "def f(a):\n    'All there is.'\n"
    assert without_docstring("def f(:", "f") == "def f(:"


def test_a_string_is_dropped_from_its_own_line_even_if_a_form_feed_stands_before_it() -> None:
    source = 'PAGE = "\x0c"\n\ndef f(x):\n    y = x\n    "Stands alone."\n    return y\n'
    assert without_docstring(source, "f") == source.replace('    "Stands alone."\n', "")


def test_stacked_bugs_are_different_programs_up_to_so_many_edits_away() -> None:
    task = STARTER[0]
    drawn = stacked(task, task.reference, "p", seed=0, max_edits=3, n=12)
    assert len(drawn) == len({one.code for one in drawn} | {plain_source(task.reference, task.entry_point)}) - 1
    assert {1, 2} <= {one.operator.count("+") + 1 for one in drawn} <= {1, 2, 3}
    assert {one.parent for one in drawn} == {"p"}


def test_stacked_bugs_are_drawn_by_seed_and_right_program() -> None:
    def draw(seed: int, parent: str) -> list[str]:
        drawn = stacked(STARTER[0], STARTER[0].reference, parent, seed=seed, max_edits=2, n=6)
        return [one.code for one in drawn]

    assert draw(0, "p") == draw(0, "p")
    assert draw(0, "p") != draw(1, "p")
    assert draw(0, "p") != draw(0, "q")


def test_an_operator_is_drawn_by_its_weight() -> None:
    code = "def square(x):\n    y = x + 1\n    return y * y - 2\n"
    drawn = stacked(make_task(), code, "", seed=0, max_edits=1, n=5, weights={"constant": 0, "return": 0})
    assert {one.operator for one in drawn} == {"arithmetic"}


def test_code_that_does_not_parse_and_other_domains_have_no_stacked_bugs() -> None:
    assert stacked(make_task(), "def square(x", "", seed=0, max_edits=2, n=5) == []
    other = replace(make_task(), domain="sql")
    assert stacked(other, "def square(x):\n    return x\n", "", seed=0, max_edits=2, n=5) == []


def test_bugs_in_the_models_own_code_need_no_reference(runner: TestRunner) -> None:
    task = replace(make_task(), reference="")
    drawn = stacked(task, "def square(x):\n    return x * x\n", "collect:t:0:0", seed=0, max_edits=1, n=8)
    bugs = find_bugs({task.id: drawn}, runner, per_task=2)
    assert len(bugs) == 2
    attempt = bugs[0].to_attempt("bugs", task.id, 1)
    assert (attempt.id, attempt.parent, attempt.kind) == ("bugs:test/square:1:0", "collect:t:0:0", "given")
