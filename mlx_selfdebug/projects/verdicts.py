"""Turn a run of a project's tests, with other code in one of its functions, into a verdict on that code or the lines it ran.

What a run reports comes from the process in which the code under test runs. Such a verdict is therefore only as trustworthy as that
code: see README.md.
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
"""The largest number of failed tests whose facts a verdict holds."""
_ENDINGS: dict[str, Outcome] = {
    "timed_out": "timeout_wall",
    "memory": "memory",
    "output": "output_limit",
    "disk": "output_limit",
    "policy": "policy_denied",
    "closed": "infrastructure",
    "lost": "infrastructure",
}
"""The outcome for each ``SuiteRun.ending`` of a run that did not end by itself. An ending that is not listed is a crash."""
_ASSERTIONS = frozenset({"AssertionError", "Failed", ""})
"""The exceptions by which a test says that a result is wrong: that of assert, that of ``pytest.fail``, and unknown ones."""


def verdict_on(placed: Placed, file: str, run: SuiteRun, tests: Sequence[str], root: Path) -> Verdict:
    """Return the verdict that a run of tests gives on the code that was put into a file.

    The code passes only if every one of ``tests`` ran and passed, and every file could be collected.

    Args:
        placed: The file with the code in it.
        file: The path of that file, relative to the project's folder.
        run: The run of the tests.
        tests: The ids of the tests that were to run.
        root: The folder in which the tests saw the project.
    """
    results = [run.tests[id_] for id_ in tests if id_ in run.tests]
    n_passed = sum(result.outcome == PASSED for result in results)
    span = Span(file, placed.first, placed.last, placed.text)
    failed = [result for result in results if result.outcome != PASSED]
    # A file that could not be collected has an entry of its own, beside the tests that were asked for.
    failed += [result for result in run.tests.values() if result.collecting and result.outcome == FAILED]
    outcome = _outcome(run, failed, n_passed == len(tests))
    failures = [_failure(result, span, placed, root) for result in failed[:MAX_FAILURES]]
    if not failures and outcome in ("load_error", "infrastructure"):
        reason = (run.broken.strip().splitlines() or [f"the tests were ended: {run.ending}"])[-1]
        failures = [Failure("", error=ErrorFact("TestError", reason))]
    return Verdict(outcome, tuple(failures), n_passed, len(tests), run.wall_s)


def _outcome(run: SuiteRun, failed: Sequence[TestResult], all_passed: bool) -> Outcome:
    """Return the outcome of a run.

    ``failed`` are the results of the tests that did not pass and of the files that could not be collected. ``all_passed`` says
    whether every test that was to run has passed.
    """
    if run.ending != "ended":
        return _ENDINGS.get(run.ending, "crashed")
    if all_passed and not failed:
        return "passed"
    facts = [result.facts for result in failed if result.facts]
    if any(fact.type == HUNG for fact in facts):
        return "crashed"  # The process ended in the middle of a test.
    if not failed or any(result.collecting for result in failed):
        return "load_error"  # A file could not be loaded, or tests are missing although none has failed.
    is_wrong_result = not facts or any(fact.op or fact.type in _ASSERTIONS for fact in facts)
    return "failed" if is_wrong_result else "raised"


def _failure(result: TestResult, span: Span, placed: Placed, root: Path) -> Failure:
    """Return the facts of a test that did not pass, with the line of an exception as a line of the code and not of its file."""
    if result.facts is None or result.facts.type in (HUNG, ""):
        return Failure(result.id, got="skipped" if result.outcome == "skipped" else "")
    failure = failure_of(result, span, root)
    if failure.error:
        line = placed.line_in_code(failure.error.line)
        failure = replace(failure, error=replace(failure.error, line=line, source=failure.error.source if line else ""))
    return failure if failure.check else replace(failure, check=result.id)


def executed_by(placed: Placed, path: str, run: SuiteRun, tests: Sequence[str]) -> Executed:
    """Return the lines of the code that each test ran, as one call per test. Tests that ran none of its lines are left out.

    A run does not report how often a line ran, so each count is 1. At most ``MAX_CALLS`` tests are returned.

    Args:
        placed: The file with the code in it.
        path: The path of that file as the tests saw it.
        run: A run in which that file was traced.
        tests: The ids of the tests.
    """
    calls = []
    for id_ in tests:
        lines = (placed.line_in_code(line) for line in sorted(run.lines.get(id_, {}).get(path, ())))
        counts = {line: 1 for line in lines if line}
        if counts:
            calls.append(ExecutedCall(counts, run.passed(id_)))
    return Executed(tuple(calls[:MAX_CALLS]))
