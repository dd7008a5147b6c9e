"""Prove proposals: every failing test now passes, and every test that passed before still does.

A proposal that passes the failing tests is first reduced to the hunks that it needs for that. Then the whole suite is run on it. Of
several that hold, one that does not special-case a test wins, then the one that changes fewest lines, then the one that the model
finds likeliest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlx_selfdebug.fixing.change import Change, special_cases, without_hunk
from mlx_selfdebug.fixing.judging import Judge, Proposal
from mlx_selfdebug.projects.suite import Suite
from mlx_selfdebug.projects.suite_run import PASSED, SuiteRun, TestResult

AT_ONCE = 6
"""The number of proposals that the whole suite judges at once. The next ones are tried only if none of these holds."""
MAX_REVERTED_HUNKS = 12
"""The largest number of hunks that are taken back from one proposal."""


@dataclass(frozen=True)
class Baseline:
    """The tests before any change."""

    run: SuiteRun
    failing: tuple[str, ...]
    """The tests that failed and are not flaky. A proven change makes all of them pass."""
    flaky: frozenset[str] = frozenset()
    """The tests that passed in one run and failed in another. They prove nothing."""

    @property
    def passing(self) -> list[str]:
        return [id_ for id_, test in self.run.tests.items() if test.outcome == PASSED and id_ not in self.flaky]

    def broken_by(self, run: SuiteRun) -> list[str]:
        """Return the tests that passed before and do not pass in ``run``."""
        return [id_ for id_ in self.passing if not run.passed(id_)]

    def fixed_by(self, run: SuiteRun) -> list[str]:
        """Return the failing tests that pass in ``run``."""
        return [id_ for id_ in self.failing if run.passed(id_)]


class Prover:
    """Proves proposals by the whole suite.

    ``results`` are those of the failing tests. They reveal a change that only special-cases these tests.
    """

    def __init__(self, suite: Suite, baseline: Baseline, judge: Judge, results: Sequence[TestResult]) -> None:
        self._suite, self._baseline, self._judge = suite, baseline, judge
        self._results = results

    def proved(self, proposals: Sequence[Proposal]) -> list[Change]:
        """Return the proven changes, the best first. Proposals are tried in batches, up to the first batch that proves any."""
        for start in range(0, len(proposals), AT_ONCE):
            if changes := self._proved(proposals[start : start + AT_ONCE]):
                return changes
        return []

    def _proved(self, proposals: Sequence[Proposal]) -> list[Change]:
        tested = [self._smaller(proposal) for proposal in proposals]
        distinct: dict[tuple[str, str], Proposal] = {}
        for proposal in tested:  # The likeliest comes first, and two proposals may have become the same.
            distinct.setdefault((proposal.function.id, proposal.program), proposal)
        runs = [(p, self._suite.run((), {p.function.file.name: p.text})) for p in distinct.values()]
        changes = [(p, self._full_change(p, future.result())) for p, future in runs]
        good = [(p, change) for p, change in changes if change is not None]
        good.sort(key=lambda pair: (pair[1].special_cases, pair[1].n_lines, -pair[0].likelihood))
        return [change for _, change in good]

    def partial_change(self, proposal: Proposal) -> Change | None:
        """Return the change of a proposal that fixes some of the failing tests, unless it breaks others."""
        run = self._suite.run((), {proposal.function.file.name: proposal.text}).result()
        if not self._baseline.fixed_by(run) or self._baseline.broken_by(run):
            return None
        return self._change_of(proposal, run)

    def _full_change(self, proposal: Proposal, run: SuiteRun) -> Change | None:
        """Return the change of a proposal that fixes all failing tests and breaks none in ``run``."""
        fixed = self._baseline.fixed_by(run)
        if len(fixed) < len(self._baseline.failing) or self._baseline.broken_by(run):
            return None
        return self._change_of(proposal, run)

    def _change_of(self, proposal: Proposal, run: SuiteRun) -> Change | None:
        """Return the change, or None if the encoding of its file lacks a character of it."""
        function = proposal.function
        try:
            function.file.encoded(proposal.text)
        except UnicodeEncodeError:
            return None
        return Change(
            file=function.file,
            function=function.name,
            text=proposal.text,
            by=proposal.by,
            fixed=tuple(self._baseline.fixed_by(run)),
            special_cases=special_cases(function.program, proposal.program, self._results),
        )

    def _smaller(self, proposal: Proposal) -> Proposal:
        """Return the proposal without the hunks that the failing tests do not need, which are taken back one at a time."""
        for _ in range(MAX_REVERTED_HUNKS):
            smaller = next((p for p in without_hunk(proposal) if self._judge.submit(p).result().passed), None)
            if smaller is None:
                return proposal
            proposal = smaller
        return proposal
