"""Prove proposals: every failing test now passes, and every test that passed before still does.

A proposal that passes the failing tests is first reduced to the hunks that it needs for that. Then the whole suite is run on it. If
several proposals hold, those that special-case no test come first, then those that change fewer lines. Edits that are still equal
are ordered by the likelihood that the model gave them before they were reduced, with the likeliest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

from mlx_selfdebug.fixing.baseline import Baseline
from mlx_selfdebug.fixing.change import Change, special_cases, without_hunk
from mlx_selfdebug.fixing.judging import Judge, Proposal
from mlx_selfdebug.projects.suite import Suite
from mlx_selfdebug.projects.suite_run import SuiteRun, TestResult

BATCH_SIZE = 6
"""The number of proposals on which the whole suite runs at once. The next batch is tried only if no proposal of this one holds."""
MAX_REVERTED_HUNKS = 12
"""The largest number of hunks that are reverted in one proposal."""


class Prover:
    """Proves proposals by running the whole suite.

    ``results`` are the results of the failing tests. They reveal a change that only special-cases these tests.
    """

    def __init__(self, suite: Suite, baseline: Baseline, judge: Judge, results: Sequence[TestResult]) -> None:
        self._suite, self._baseline, self._judge = suite, baseline, judge
        self._results = results

    def prove(self, proposals: Sequence[Proposal]) -> list[Change]:
        """Return the proven changes, with the best first. Batches are tried in order, up to the first that proves any change."""
        for start in range(0, len(proposals), BATCH_SIZE):
            if changes := self._prove_batch(proposals[start : start + BATCH_SIZE]):
                return changes
        return []

    def _prove_batch(self, proposals: Sequence[Proposal]) -> list[Change]:
        """Reduce the proposals, run the whole suite on each, and return the proven changes, with the best first."""
        distinct: dict[tuple[str, str], Proposal] = {}
        for proposal in map(self._reduce, proposals):
            # Reducing may make two proposals the same. The earlier one is kept.
            distinct.setdefault((proposal.function.id, proposal.program), proposal)
        runs = [(proposal, self._run_suite(proposal)) for proposal in distinct.values()]
        changes = [(proposal, self._proven_change(proposal, run.result())) for proposal, run in runs]
        proven = [(proposal, change) for proposal, change in changes if change is not None]
        proven.sort(key=lambda pair: (pair[1].special_cases, pair[1].n_lines, -pair[0].likelihood))
        return [change for _, change in proven]

    def _run_suite(self, proposal: Proposal) -> Future[SuiteRun]:
        return self._suite.run((), {proposal.function.file.name: proposal.text})

    def _reduce(self, proposal: Proposal) -> Proposal:
        """Revert hunks one at a time while the failing tests still pass, and return the reduced proposal."""
        for _ in range(MAX_REVERTED_HUNKS):
            smaller = next((p for p in without_hunk(proposal) if self._judge.submit(p).result().passed), None)
            if smaller is None:
                return proposal
            proposal = smaller
        return proposal

    def _proven_change(self, proposal: Proposal, run: SuiteRun) -> Change | None:
        """Return the change of a proposal, or None if ``run``, the whole suite on it, does not prove it."""
        return self._change_of(proposal, run) if self._baseline.accepts(run) else None

    def partial_change(self, proposal: Proposal) -> Change | None:
        """Run the whole suite on a proposal that fixes some failing tests. Return its change, or None if it breaks other tests."""
        run = self._run_suite(proposal).result()
        if not self._baseline.fixed_by(run) or self._baseline.broken_by(run):
            return None
        return self._change_of(proposal, run)

    def _change_of(self, proposal: Proposal, run: SuiteRun) -> Change | None:
        """Return the change of a proposal, or None if the file's encoding lacks one of its characters."""
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
