from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mlx_selfdebug.auditing.audit import MIN_MUTANTS, MutantRun, TaskAudit, audit_tasks, open_audit_runner
from mlx_selfdebug.auditing.mutants import Mutant
from mlx_selfdebug.config import SandboxConfig
from mlx_selfdebug.errors import SandboxError
from mlx_selfdebug.tasks import Checks, Task

STRONG = Task(
    id="t/shared",
    domain="python",
    statement="Return how many numbers are above the limit.",
    entry_point="above",
    public=Checks.from_asserts(["assert above([1, 5], 3) == 1"]),
    hidden=Checks.from_asserts(["assert above([3, 4, 2, 9], 3) == 2", "assert above([0, 1], -1) == 2"]),
    reference="def above(numbers, limit):\n    return sum((1 for n in numbers if n > limit))\n",
)
WEAK = replace(STRONG, id="t/weak", hidden=Checks.from_asserts(["assert above([], 0) == 0"]), public=Checks())


def mutant_runs(*outcomes: Any) -> tuple[MutantRun, ...]:
    return tuple(MutantRun(Mutant("unary", 1, "", "", str(i)), outcome, None) for i, outcome in enumerate(outcomes))


def test_checks_that_look_at_the_rule_catch_every_mutant(runner):
    [audit] = audit_tasks([STRONG], runner)
    assert audit.survivors == []
    assert audit.caught == len(audit.runs) == audit.by_hidden >= MIN_MUTANTS
    assert not audit.is_weak(1.0)


def test_checks_that_look_elsewhere_are_weak_and_what_passes_them_is_listed(runner):
    [audit] = audit_tasks([WEAK], runner)
    assert audit.is_weak(0.5)
    assert "return sum((1 for n in numbers if n >= limit))" in [mutant.after for mutant in audit.survivors]
    assert [run.mutant.after for run in audit.runs if run.caught] == ["return None"]


def test_hidden_and_public_checks_are_counted_apart_and_either_catches(runner):
    [audit] = audit_tasks([replace(WEAK, public=STRONG.public)], runner)
    assert (audit.by_hidden, audit.caught) == (1, audit.by_public)
    assert 1 < audit.caught < len(audit.runs)


def test_checks_there_are_none_of_catch_an_unknown_number(runner):
    [audit] = audit_tasks([WEAK], runner)
    assert audit.by_public is None


def test_a_mutant_that_never_ends_is_caught(runner):
    loop = "def above(numbers, limit):\n    while numbers:\n        numbers.pop()\n    return 0\n"
    task = replace(WEAK, reference=loop, hidden=Checks.from_asserts(["assert above([1], 0) == 0"]))
    with open_audit_runner(SandboxConfig(wall_s=0.5)) as hasty:
        [audit] = audit_tasks([task], hasty)
    [run] = [run for run in audit.runs if run.mutant.operator == "statement"]
    assert run.hidden in ("timeout_cpu", "timeout_wall")
    assert run.caught


@pytest.mark.parametrize("kind", ["public", "hidden"])
def test_a_reference_that_fails_its_own_checks_is_a_problem_by_name(runner, kind: str):
    wrong = replace(STRONG, **{kind: Checks.from_asserts(["assert above([1], 0) == 7"])})
    [audit, other] = audit_tasks([wrong, STRONG], runner)
    assert audit.problem.startswith(f"the reference does not pass the {kind} checks: failed")
    assert (audit.task_id, audit.runs, other.problem) == (wrong.id, (), "")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"reference": ""}, "the task has no reference"),
        ({"reference": "def above(numbers, limit): pass\n"}, "its reference holds nothing to change"),
        ({"hidden": Checks(), "public": Checks()}, "the task has no checks"),
        ({"domain": "sql"}, "no mutants can be made of tasks of the domain sql"),
    ],
)
def test_a_task_nothing_is_known_of_says_why_and_is_not_weak(runner, changes: dict[str, Any], why: str):
    [audit] = audit_tasks([replace(STRONG, **changes)], runner)
    assert (audit.unknown, audit.problem, audit.is_weak(1.0)) == (why, "", False)


def test_a_reference_too_slow_for_an_audit_is_not_blamed():
    endless = "def above(numbers, limit):\n    while 2 > 1:\n        limit += 1\n"
    with open_audit_runner(SandboxConfig(wall_s=0.2, workers=1)) as hasty:
        [audit] = audit_tasks([replace(STRONG, reference=endless)], hasty, mutants=1)
    assert (audit.problem, audit.unknown) == ("", "its reference takes longer than the time limit of an audit")


def test_checks_that_cannot_be_run_are_an_error_and_catch_nothing(runner):
    broken = Checks.from_source("def check(candidate):\n    candidate([], 0)\n    nowhere()\n")
    with pytest.raises(SandboxError, match="hidden checks of t/shared could not be run"):
        audit_tasks([replace(STRONG, hidden=broken)], runner)


def test_two_audits_are_equal_and_in_the_order_of_the_tasks(runner):
    tasks = [WEAK, STRONG, replace(STRONG, id="t/other")]
    first = audit_tasks(tasks, runner, mutants=3)
    assert first == audit_tasks(tasks, runner, mutants=3)
    assert [audit.task_id for audit in first] == [task.id for task in tasks]
    assert all(len(audit.runs) == 3 for audit in first)


def test_tasks_draw_their_mutants_apart(runner):
    first, other = audit_tasks([STRONG, replace(STRONG, id="t/other")], runner, mutants=3)
    assert [run.mutant for run in first.runs] != [run.mutant for run in other.runs]


def test_few_mutants_make_no_task_weak():
    passed = ("passed",) * (MIN_MUTANTS - 1)
    assert not TaskAudit("t", mutant_runs(*passed)).is_weak(0.5)
    assert TaskAudit("t", mutant_runs(*passed, "passed")).is_weak(0.5)


def test_just_the_share_is_not_weak():
    audit = TaskAudit("t", mutant_runs(*["passed", "raised"] * MIN_MUTANTS))
    assert not audit.is_weak(0.5)
    assert audit.is_weak(0.51)


def test_an_audit_is_json_with_its_survivors():
    audit = TaskAudit("t", mutant_runs("failed", "passed"))
    data = json.loads(json.dumps(audit.to_dict()))
    assert (data["mutants"], data["caught"], data["by_hidden"], data["by_public"]) == (2, 1, 1, None)
    assert [mutant["source"] for mutant in data["survivors"]] == ["1"]
