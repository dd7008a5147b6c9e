"""Judge proposed versions of a function by the tests that fail, and count what was tried."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from mlx_selfdebug.projects.source import Function
from mlx_selfdebug.projects.suite import Suite, Swap
from mlx_selfdebug.projects.suite_run import SuiteRun
from mlx_selfdebug.values.verdict import Outcome, Verdict

Origin = Literal["edits", "line", "insertion", "fork", "repair", "draft"]
"""How a version of a function was made.

- edits: the search tried a small edit.
- line: the model wrote one line anew.
- insertion: the model wrote a statement between two lines.
- fork: the model wrote the rest of the function anew, from a place that surprised it.
- repair: the model was shown the function and the facts of its failing tests.
- draft: the model wrote the function from its description, and was not shown the failing version.
"""


@dataclass(frozen=True)
class Proposal:
    """Another version of a function, which is to be tested."""

    function: Function
    program: str
    """The text of the new version, in the form of ``function.program``."""
    by: Origin
    likelihood: float = 0.0
    """The log-likelihood of the program minus that of the failing program, in nats. It is 0 if the model did not compare them.

    Programs that the model wrote are not compared. A proposal without some of its hunks keeps the likelihood of the whole proposal.
    """

    @property
    def swap(self) -> Swap | None:
        """The swap that puts this version into a loaded project, or None if more than the function's body differs."""
        return Swap.to(self.function, self.program)

    @property
    def text(self) -> str:
        """The text of the whole file with this version. Raises ValueError if the program is no version of the function."""
        text = self.function.spliced(self.program)
        if text is None:
            raise ValueError(f"the proposal is no version of {self.function.id}")
        return text


@dataclass
class Judge:
    """Runs the failing tests on proposals. A proposal passes if all of these tests pass."""

    suite: Suite
    failing: Sequence[str]
    """The ids of the tests that judge."""
    wall_s: float
    """Seconds that these tests may take together. The limit is tight, so that a proposal with an endless loop costs little."""
    n_tries: int = 0
    """The number of test runs that were begun."""
    first_verdict: float | None = None
    """When the first verdict arrived, by the monotonic clock."""
    seconds: list[float] = field(default_factory=list)
    """How long each test run took."""
    partial: Proposal | None = None
    """Of the proposals that failed, the first of those that passed the most tests; None if none passed any test."""
    n_passed_by_partial: int = 0
    _verdicts: dict[tuple[str, str], Future[Verdict]] = field(default_factory=dict)
    """The verdicts so far, by the id of the function and the program."""

    def submit(self, proposal: Proposal) -> Future[Verdict]:
        """Begin to test a proposal, and return its future verdict. The same program is tested only once."""
        key = proposal.function.id, proposal.program
        if key not in self._verdicts or self._verdicts[key].cancelled():
            self._verdicts[key] = self._run(proposal)
        return self._verdicts[key]

    def _run(self, proposal: Proposal) -> Future[Verdict]:
        """Begin to run the failing tests on a proposal, and return the future verdict."""
        verdict: Future[Verdict] = Future()
        text = proposal.function.spliced(proposal.program)
        if text is None:
            verdict.set_result(Verdict("load_error"))
            return verdict
        self.n_tries += 1
        files = {proposal.function.file.name: text}
        run = self.suite.run(
            self.failing, files, swap=proposal.swap, stop_at_first_failure=True, wall_s=self.wall_s, stall_s=self.wall_s
        )

        def set_verdict(run: Future[SuiteRun]) -> None:
            if run.cancelled() or not verdict.set_running_or_notify_cancel():
                return
            if error := run.exception():
                verdict.set_exception(error)
            else:
                verdict.set_result(self._verdict(run.result(), proposal))

        run.add_done_callback(set_verdict)
        # A search that is over cancels the verdicts that it no longer waits for. Their runs are then cancelled, too.
        verdict.add_done_callback(lambda verdict: verdict.cancelled() and run.cancel())
        return verdict

    def _verdict(self, run: SuiteRun, proposal: Proposal) -> Verdict:
        """Return the verdict on a proposal after its run, and keep the records of this judge up to date."""
        self.first_verdict = self.first_verdict or time.monotonic()
        self.seconds.append(run.wall_s)
        n_tests, n_passed = len(self.failing), sum(run.passed(id_) for id_ in self.failing)
        if n_passed == n_tests:
            return Verdict("passed", (), n_passed, n_tests, run.wall_s)
        if n_passed > self.n_passed_by_partial:
            self.partial, self.n_passed_by_partial = proposal, n_passed
        outcome: Outcome = "timeout_wall" if run.ending == "timed_out" else "failed"
        return Verdict(outcome, (), n_passed, n_tests, run.wall_s)
