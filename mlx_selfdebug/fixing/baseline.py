"""Hold what the tests showed before any change, and decide whether that is enough to go by."""

from __future__ import annotations

from dataclasses import dataclass

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.projects.project import Project, serves_tests_or_builds
from mlx_selfdebug.projects.suite import Suite
from mlx_selfdebug.projects.suite_run import HUNG, PASSED, SuiteRun


@dataclass(frozen=True)
class Baseline:
    """The results of the tests before any change."""

    run: SuiteRun
    failing: tuple[str, ...]
    """The ids of the tests that failed and are not flaky. A proven change makes all of them pass."""
    flaky: frozenset[str] = frozenset()
    """The ids of the tests that passed in one run and failed in another. They prove nothing."""

    @property
    def passing(self) -> list[str]:
        return [id_ for id_, test in self.run.tests.items() if test.outcome == PASSED and id_ not in self.flaky]

    def broken_by(self, run: SuiteRun) -> list[str]:
        """Return the tests that passed before and do not pass in ``run``."""
        return [id_ for id_ in self.passing if not run.passed(id_)]

    def fixed_by(self, run: SuiteRun) -> list[str]:
        """Return the failing tests that pass in ``run``."""
        return [id_ for id_ in self.failing if run.passed(id_)]

    def accepts(self, run: SuiteRun) -> bool:
        """Return whether ``run`` proves a change: all failing tests pass in it, and so do all that passed before."""
        return len(self.fixed_by(run)) == len(self.failing) and not self.broken_by(run)


def hung(run: SuiteRun, id_: str) -> bool:
    """Return whether a test of a run did not end by itself."""
    facts = run.tests[id_].facts
    return facts is not None and facts.type == HUNG


def passing_nearest_first(run: SuiteRun) -> list[str]:
    """Return the tests that passed. Those in files that also hold failed tests come first."""
    files = {id_.partition("::")[0] for id_ in run.failed()}
    passing = [id_ for id_, test in run.tests.items() if test.outcome == PASSED]
    return sorted(passing, key=lambda id_: id_.partition("::")[0] not in files)


def flaky_tests(first: SuiteRun, second: SuiteRun) -> frozenset[str]:
    """Return the tests that passed in one of two runs of the same code and failed in the other."""
    return frozenset(
        id_
        for id_, test in second.tests.items()
        if id_ in first.tests and {test.outcome, first.tests[id_].outcome} == {"passed", "failed"}
    )


def require_tests(run: SuiteRun, suite: Suite, project: Project) -> None:
    """Raise UsageError if a run of all tests shows nothing to go by.

    That is so if a limit of the sandbox ended the run, if no test file can be collected because a file of the project does not
    parse, or if there are no tests.
    """
    if run.ending not in ("ended", "timed_out"):
        raise UsageError(
            f"the tests were ended by a limit of the sandbox: {run.ending}",
            hint="name fewer tests with --test, or raise the memory with --test-memory-gb",
        )
    _require_parsed(run, suite)
    if not run.tests:
        last_lines = [line for line in (run.broken or run.output).strip().splitlines() if line.strip()][-3:]
        raise UsageError(
            f"no tests were found in {project.root} with {suite.framework}"
            + "".join(f"\n  {line}" for line in last_lines),
            hint='name the command that runs them: --test "pytest -q tests"',
        )


def _require_parsed(run: SuiteRun, suite: Suite) -> None:
    """Raise UsageError if nothing could be collected and the first reason is a file of the project that does not parse."""
    uncollected = [test for test in run.tests.values() if test.collecting and test.facts]
    if not uncollected or len(uncollected) < len(run.tests):
        return
    facts = uncollected[0].facts
    assert facts is not None
    frames = [
        frame for frame in facts.frames if (name := suite.relative(frame.path)) and not serves_tests_or_builds(name)
    ]
    if facts.type == "SyntaxError" and frames:
        raise UsageError(
            # Python adds the file and the line to the message, in parentheses.
            f"{suite.relative(frames[-1].path)}:{frames[-1].line}: SyntaxError: {facts.message.split(' (')[0]}",
            hint="only functions in files that parse can be repaired",
        )
