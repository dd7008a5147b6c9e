"""Prove a proposal: the whole suite passes as before, and the tests that failed pass too.

A proposal that passes the tests which failed is first made smaller, if it passes them with less. Then it is judged by all tests:
none that passed before may fail. Of several, one that does not special-case a test wins, then the one that changes fewest lines,
then the one that the model finds likeliest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlx_selfdebug.fixing.change import Change, special_cases, without_hunk
from mlx_selfdebug.fixing.judging import Judge, Proposal
from mlx_selfdebug.projects.suite import Suite
from mlx_selfdebug.projects.suite_run import PASSED, SuiteRun, TestResult

AT_ONCE = 6
"""The number of proposals that are judged by the whole suite before it is seen whether one of them holds."""
MAX_SMALLER = 12
"""The number of tests that may be spent on making a change smaller."""


@dataclass(frozen=True)
class Baseline:
    """The tests before any change."""

    run: SuiteRun
    failing: tuple[str, ...]
    """The tests that are to pass."""
    flaky: frozenset[str] = frozenset()
    """The tests that passed in one run and failed in another. They prove nothing."""

    @property
    def passing(self) -> list[str]:
        return [id_ for id_, test in self.run.tests.items() if test.outcome == PASSED and id_ not in self.flaky]

    def broken_by(self, run: SuiteRun) -> list[str]:
        """Return the tests that passed before and do not pass in ``run``."""
        return [id_ for id_ in self.passing if not run.passed(id_)]

    def fixed_by(self, run: SuiteRun) -> list[str]:
        return [id_ for id_ in self.failing if run.passed(id_)]


class Proving:
    """Judges proposals by the whole suite."""

    def __init__(self, suite: Suite, baseline: Baseline, judge: Judge, results: Sequence[TestResult]) -> None:
        self._suite, self._baseline, self._judge = suite, baseline, judge
        self._results = results

    def proved(self, proposals: Sequence[Proposal]) -> list[Change]:
        """Return the first changes among ``proposals`` that break no test, the best first."""
        for start in range(0, len(proposals), AT_ONCE):
            if changes := self._proved(proposals[start : start + AT_ONCE]):
                return changes
        return []

    def _proved(self, proposals: Sequence[Proposal]) -> list[Change]:
        tested = [self._smaller(proposal) for proposal in proposals]
        distinct = {proposal.program: proposal for proposal in tested}.values()
        runs = [(p, self._suite.run((), {p.function.file.name: p.text})) for p in distinct]
        changes = [(p, self._change(p, future.result())) for p, future in runs]
        good = [(p, change) for p, change in changes if change is not None]
        good.sort(key=lambda pair: (pair[1].special_cases, pair[1].n_lines, -pair[0].likelihood))
        return [change for _, change in good]

    def partial(self, proposal: Proposal) -> Change | None:
        """Return the change of a proposal that fixes some of the failing tests, unless it breaks others."""
        run = self._suite.run((), {proposal.function.file.name: proposal.text}).result()
        if not self._baseline.fixed_by(run) or self._baseline.broken_by(run):
            return None
        return self._made(proposal, run)

    def _change(self, proposal: Proposal, run: SuiteRun) -> Change | None:
        fixed = self._baseline.fixed_by(run)
        if len(fixed) < len(self._baseline.failing) or self._baseline.broken_by(run):
            return None
        return self._made(proposal, run)

    def _made(self, proposal: Proposal, run: SuiteRun) -> Change | None:
        function = proposal.function
        change = Change(
            file=function.file,
            function=function.name,
            text=proposal.text,
            by=proposal.by,
            fixed=tuple(self._baseline.fixed_by(run)),
            special_cases=special_cases(function.program, proposal.program, self._results),
        )
        try:
            change.data  # noqa: B018
        except UnicodeEncodeError:  # The file's encoding lacks a character of the change.
            return None
        return change

    def _smaller(self, proposal: Proposal) -> Proposal:
        """Take back every stretch of a change without which the failing tests pass all the same."""
        for _ in range(MAX_SMALLER):
            smaller = next((p for p in without_hunk(proposal) if self._judge.submit(p).result().passed), None)
            if smaller is None:
                return proposal
            proposal = smaller
        return proposal
