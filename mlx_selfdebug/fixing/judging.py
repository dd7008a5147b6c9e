"""Judge proposed programs of a function by the tests that fail, and count what was tried."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from mlx_selfdebug.projects.source import Function
from mlx_selfdebug.projects.suite import Suite, Swap
from mlx_selfdebug.projects.suite_run import SuiteRun
from mlx_selfdebug.values.verdict import Verdict


@dataclass(frozen=True)
class Proposal:
    """Another version of a function."""

    function: Function
    program: str
    by: str
    """How it was made: "edits", "line", "insertion", "fork", "repair" or "draft"."""
    likelihood: float = 0.0
    """By how many nats likelier the model finds the whole program than the one that fails; 0 if they were not compared."""

    @property
    def swap(self) -> Swap | None:
        """Return what makes the function into this version of it once it is loaded; None if more than its body differs."""
        return Swap.to(self.function, self.program)

    @property
    def text(self) -> str:
        """Return the text of the whole file with this version of the function. Raises ValueError if it does not fit in."""
        text = self.function.spliced(self.program)
        if text is None:
            raise ValueError(f"the proposal is no version of {self.function.id}")
        return text


@dataclass
class Judge:
    """Runs the tests that fail on proposals. A proposal passes if all of them do."""

    suite: Suite
    failing: Sequence[str]
    wall_s: float
    """Seconds that the tests may take together, so that an endless loop is cheap."""
    n_tries: int = 0
    first_verdict: float | None = None
    """When the first proposal was judged, by the monotonic clock."""
    seconds: list[float] = field(default_factory=list)
    """How long each try took."""
    best: tuple[int, Proposal | None] = (0, None)
    """The largest number of failing tests that a proposal passed without passing all of them, and the first such proposal."""
    _known: dict[tuple[str, str], Future[Verdict]] = field(default_factory=dict)

    def submit(self, proposal: Proposal) -> Future[Verdict]:
        """Begin to test a proposal and return its future verdict. One that was tested before is not tested again."""
        key = proposal.function.id, proposal.program
        if key not in self._known or self._known[key].cancelled():
            self._known[key] = self._begun(proposal)
        return self._known[key]

    def _begun(self, proposal: Proposal) -> Future[Verdict]:
        future: Future[Verdict] = Future()
        text = proposal.function.spliced(proposal.program)
        if text is None:
            future.set_result(Verdict("load_error"))
            return future
        self.n_tries += 1
        files = {proposal.function.file.name: text}
        run = self.suite.run(
            self.failing, files, swap=proposal.swap, first_failure=True, wall_s=self.wall_s, stall_s=self.wall_s
        )

        def take(done: Future[SuiteRun]) -> None:
            if done.cancelled() or not future.set_running_or_notify_cancel():
                return
            if error := done.exception():
                future.set_exception(error)
            else:
                future.set_result(self._verdict(done.result(), proposal))

        run.add_done_callback(take)
        # A search that is over cancels what it no longer waits for.
        future.add_done_callback(lambda done: done.cancelled() and run.cancel())
        return future

    def _verdict(self, run: SuiteRun, proposal: Proposal) -> Verdict:
        self.first_verdict = self.first_verdict or time.monotonic()
        self.seconds.append(run.wall_s)
        n_passed = sum(run.passed(id_) for id_ in self.failing)
        if n_passed == len(self.failing):
            return Verdict("passed", (), n_passed, n_passed, run.wall_s)
        if n_passed > self.best[0]:
            self.best = n_passed, proposal
        return Verdict(
            "timeout_wall" if run.ending == "timed_out" else "failed", (), n_passed, len(self.failing), run.wall_s
        )
