"""Read a run of a project's tests on other code for one of its functions as a verdict, or as the lines that ran.

What a run shows comes from the project's own process, in which the code under test runs too. A verdict of this kind is only as
trustworthy as that code is: see README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mlx_selfdebug.projects.facts import Span, failure_of
from mlx_selfdebug.projects.source import Placed
from mlx_selfdebug.projects.suite_run import FAILED, HUNG, PASSED, SuiteRun, TestResult
from mlx_selfdebug.sandbox.executed import MAX_CALLS, Executed, ExecutedCall
from mlx_selfdebug.values.verdict import ErrorFact, Failure, Outcome, Verdict

MAX_FAILURES = 8
"""The largest number of failed tests whose facts are kept."""
_ENDINGS: dict[str, Outcome] = {
    "timed_out": "timeout_wall",
    "memory": "memory",
    "output": "output_limit",
    "disk": "output_limit",
    "policy": "policy_denied",
    "closed": "infrastructure",
    "lost": "infrastructure",
}
"""The outcomes of runs that did not end by themselves. Any other way in which the process ended is a crash."""
_ASSERTIONS = frozenset({"AssertionError", "Failed", ""})
"""The types of error by which a test says that something is not as expected: of assert, of pytest, and unknown."""


def verdict_on(placed: Placed, file: str, run: SuiteRun, tests: Sequence[str], root: Path) -> Verdict:
    """Return the verdict on the code that was put into ``file``, by a run of ``tests`` that saw the project at ``root``."""
    results = [run.tests[id_] for id_ in tests if id_ in run.tests]
    n_passed = sum(result.outcome == PASSED for result in results)
    span = Span(file, placed.first, placed.last, placed.text)
    failed = [result for result in results if result.outcome != PASSED]
    failed += [result for result in run.tests.values() if result.collecting and result.outcome == FAILED]
    outcome = _outcome(run, failed, n_passed == len(tests))
    failures = [_failure(result, span, placed, root) for result in failed[:MAX_FAILURES]]
    if not failures and outcome in ("load_error", "infrastructure"):
        last = (run.broken.strip().splitlines() or [f"the tests were ended: {run.ending}"])[-1]
        failures = [Failure("", error=ErrorFact("TestError", last))]
    return Verdict(outcome, tuple(failures), n_passed, len(tests), run.wall_s)


def _outcome(run: SuiteRun, failed: Sequence[TestResult], all_passed: bool) -> Outcome:
    if run.ending != "ended":
        return _ENDINGS.get(run.ending, "crashed")
    if all_passed and not failed:
        return "passed"
    facts = [result.facts for result in failed if result.facts]
    if any(fact.type == HUNG for fact in facts):
        return "crashed"  # Its process ended in the middle of a test.
    if not failed or any(result.collecting for result in failed):
        return "load_error"
    return "failed" if not facts or any(fact.op or fact.type in _ASSERTIONS for fact in facts) else "raised"


def _failure(result: TestResult, span: Span, placed: Placed, root: Path) -> Failure:
    if result.facts is None or result.facts.type in (HUNG, ""):
        return Failure(result.id, got="skipped" if result.outcome == "skipped" else "")
    failure = failure_of(result, span, root)
    if failure.error:
        line = placed.line_in_code(failure.error.line)
        failure = replace(failure, error=replace(failure.error, line=line, source=failure.error.source if line else ""))
    return failure if failure.check else replace(failure, check=result.id)


def executed_by(placed: Placed, path: str, run: SuiteRun, tests: Sequence[str]) -> Executed:
    """Return which lines of the code each test ran. ``path`` is the path of the file as the tests see it."""
    calls = []
    for id_ in tests:
        ran = (placed.line_in_code(line) for line in sorted(run.lines.get(id_, {}).get(path, ())))
        lines = {line: 1 for line in ran if line}
        if lines:
            calls.append(ExecutedCall(lines, run.passed(id_)))
    return Executed(tuple(calls[:MAX_CALLS]))
