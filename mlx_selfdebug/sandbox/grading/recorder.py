"""Count the asserts in one run of the checks, and record for each failed one what went in, what was expected and what came back.

The rewritten checks (see asserts.py) call the recorder before, in and after each assert.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

from mlx_selfdebug.sandbox.grading.asserts import Compiled, Site
from mlx_selfdebug.sandbox.grading.blame import is_missing_name
from mlx_selfdebug.sandbox.grading.outputs import Difference, first_difference
from mlx_selfdebug.sandbox.grading.remote import RemoteCandidate, is_denial
from mlx_selfdebug.sandbox.grading.signals import CandidateDied, CandidateError, StopChecks, UnsendableError
from mlx_selfdebug.sandbox.grading.text import cut, scrub, show, show_call
from mlx_selfdebug.sandbox.grading.tools import Ending, Raises
from mlx_selfdebug.sandbox.wire.codec import OpaqueValueError
from mlx_selfdebug.values.verdict import ExpectedKind, Failure, Outcome

MAX_FAILURES = 8
"""The maximum number of failures that are kept per run."""
MAX_FAILURES_PER_SITE = 3
"""The maximum number of failures that are kept of one assert, which may run many times."""
MAX_LOST_CHECKS = 2000
"""The number of checks after the candidate's death that are counted as failed before the checks are ended."""
MAX_CHECK_S = 60.0
"""Seconds that the checks may take in addition to the time that the candidate may take."""
_ENDED = "the run ends at its first failed check"
_MISSING: Any = object()
"""Stands for a side of an assert that was not evaluated."""

Fault = Literal["failed", "raised", "bad_value", "policy_denied"]
"""The outcome of a run in which a check failed and the candidate lived on."""


@dataclass
class OpenAssert:
    """An assert that is being evaluated."""

    site: Site
    """The place of the assert in the source."""
    left: Any = _MISSING
    """The value of the left side of the comparison."""
    right: Any = _MISSING
    """The value of the right side of the comparison."""

    @property
    def got(self) -> Any:
        """The value of the side that holds the candidate's value."""
        return self.left if self.site.got_left else self.right

    @property
    def expected(self) -> Any:
        """The value of the other side."""
        return self.right if self.site.got_left else self.left


class Recorder:
    """The object that the rewritten checks call, which counts and records their asserts.

    It raises StopChecks out of the checks where it makes no sense to go on: when they take too long, when they are broken, or with
    ``stop_at_first_failure`` once a check has failed.
    """

    def __init__(self, compiled: Compiled, candidate: RemoteCandidate, *, stop_at_first_failure: bool = False) -> None:
        self.stop_at_first_failure = stop_at_first_failure
        """Whether the run ends at its first failed check."""
        self.ended = False
        """Whether a failed check has ended the run. Nothing that happens later changes the record."""
        self.n_checks = 0
        """The number of checks that ran or were counted as failed."""
        self.n_passed = 0
        """The number of checks that passed."""
        self.first_fault: Fault | None = None
        """The kind of the first failed check, or None as long as no check has failed."""
        self.death_record = -1
        """The index of the failure in which the candidate died, or -1."""
        self._compiled = compiled
        self._candidate = candidate
        self._failures: list[Failure] = []
        self._n_kept: Counter[Site] = Counter()
        self._open: list[OpenAssert] = []  # outermost first: while one assert is evaluated, a helper may run others
        self._n_lost = 0
        self._deadline = time.monotonic() + candidate.wall_s + MAX_CHECK_S

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The failures that were kept, at most ``MAX_FAILURES`` and one more for the death of the candidate."""
        return tuple(self._failures)

    # The methods that the rewritten checks call.

    def enter(self, index: int) -> None:
        """Begin the assert with that index in ``Compiled.sites``. Raises StopChecks if the checks have taken too long."""
        self._open.append(OpenAssert(self._compiled.sites[index]))
        self._begin()
        if time.monotonic() > self._deadline:
            outcome: Outcome = "timeout_wall" if self._candidate.n_answers else "infrastructure"
            raise StopChecks(f"the checks took {MAX_CHECK_S:.0f} s longer than the candidate may take", outcome)
        if self._candidate.death and self.death_record >= 0:
            raise CandidateDied

    def left(self, value: Any) -> Any:
        """Note the value of the left side of the current assert, and return it."""
        self._open[-1].left = value
        return value

    def right(self, value: Any) -> Any:
        """Note the value of the right side of the current assert, and return it."""
        self._open[-1].right = value
        return value

    def leave(self, condition: object) -> None:
        """End the current assert, which passes if ``condition`` is true."""
        if bool(condition) and not self._candidate.death:
            self._pass()
        else:
            self._fail(self._open[-1], None)
        self._open.pop()

    def fail(self, error: BaseException, evaluate_right: Callable[[], Any] | None = None) -> None:
        """End the current assert, in which ``error`` was raised, and let the checks go on.

        Raises ``error`` itself if it must end the checks or if they may catch it, and StopChecks if it shows that the checks are
        broken. ``evaluate_right`` evaluates the right side, in case it was not reached.
        """
        opened = self._open.pop()
        if isinstance(error, StopChecks) or (
            isinstance(error, GeneratorExit) and not isinstance(error, CandidateError)
        ):
            raise error
        if opened.site.guarded and not isinstance(error, CandidateDied):
            self.n_checks -= 1
            raise error
        if self.blames_checks(error):
            raise StopChecks(f"{type(error).__name__}: {error} in `{opened.site.text}`", "infrastructure") from error
        self._fail(opened, error, evaluate_right)

    def raised(self) -> None:
        """Count a passed check, in which the expected exception was raised."""
        self._begin()
        self._pass()

    def not_raised(self, index: int) -> None:
        """Count a failed check, in which the expected exception was not raised."""
        self._begin()
        self._fail(OpenAssert(self._compiled.sites[index]), None)

    def raises(self, index: int, kinds: Any, match: str | None = None, *, message: str | None = None) -> Raises:
        """Return the context manager for ``with raises(...)``. The block is one check, and the checks go on after it."""
        return Raises(kinds, match, message=message, end=lambda ending, error: self._end_raises(index, ending, error))

    def _end_raises(self, index: int, ending: Ending, error: BaseException | None) -> bool:
        """Count the check that a block ``with raises(...)`` makes. Return True, so that its exception is swallowed."""
        if ending == "other" and error is not None:
            self.enter(index)
            self.fail(error)
        elif ending == "raised" and not self._candidate.death:
            self.raised()
        else:
            self.not_raised(index)
        return True

    @contextmanager
    def independent_test(self, name: str) -> Iterator[None]:
        """Run the block as a test of its own, after which the checks go on, whatever is raised in it.

        A block that runs no assert and raises nothing is one passed check.
        """
        n_checks_before = self.n_checks
        try:
            yield
        except BaseException as error:
            if isinstance(error, StopChecks | KeyboardInterrupt) and not isinstance(error, CandidateError):
                raise
            site = Site(0, cut(str(name)), "predicate", "")
            if self.blames_checks(error):
                raise StopChecks(f"{type(error).__name__}: {error} in `{site.text}`", "infrastructure") from error
            self._begin()
            self._fail(OpenAssert(site), error)
        else:
            if self.n_checks == n_checks_before and not self._candidate.death:
                self.raised()

    def expect_objects(self) -> None:
        """Note that the checks work with objects of the candidate (see objects.py)."""
        self._candidate.expects_objects = True

    # The methods that checking.py calls.

    def finish(self) -> None:
        """Note that ``check`` came to its end, which counts as one passed check if it ran no assert."""
        if not self.n_checks and not self._candidate.death:
            self.n_checks = self.n_passed = 1

    def record_stop(self, error: BaseException, line: int) -> None:
        """Record that a statement on ``line``, which is not an assert, raised ``error`` and so ended the checks.

        The asserts after it count as failed if they would have run exactly once.
        """
        if self.ended:
            return
        text = self._compiled.lines[line - 1].strip() if 0 < line <= len(self._compiled.lines) else ""
        self.n_checks += 1 if self.stop_at_first_failure else self._compiled.remaining(line) or 1
        self._record(OpenAssert(Site(line, cut(text), "predicate", "")), error, None)

    def record_death(self) -> None:
        """Record the death of the candidate, unless an assert has recorded it."""
        if self.death_record < 0 and not self.ended:
            self._record(OpenAssert(Site(0, "", "predicate", "")), CandidateDied(), None)

    def blames_checks(self, error: BaseException) -> bool:
        """Return whether ``error`` shows that the checks themselves are broken.

        It does if nothing that the candidate did can have caused it: the candidate has not been called, the checks passed to it
        what cannot be sent, or they use a name that does not exist. Once a check has failed, the checks are no longer blamed.
        """
        if (
            isinstance(error, CandidateError | CandidateDied | OpaqueValueError)
            or self.first_fault
            or self._candidate.death
        ):
            return False
        return not self._candidate.n_calls or isinstance(error, UnsendableError) or is_missing_name(error)

    def _begin(self) -> None:
        """Count a check that begins."""
        if self.ended:  # the checks caught the exception that was to end them
            raise StopChecks(_ENDED)
        self.n_checks += 1

    def _pass(self) -> None:
        self.n_passed += 1

    def _fail(
        self, opened: OpenAssert, error: BaseException | None, evaluate_right: Callable[[], Any] | None = None
    ) -> None:
        """Record a failed check, and end the run if it ends at its first failure."""
        self._record(opened, error, evaluate_right)
        if self.stop_at_first_failure:
            self.ended = self._candidate.closed = True
            raise StopChecks(_ENDED)

    def _record(
        self, opened: OpenAssert, error: BaseException | None, evaluate_right: Callable[[], Any] | None
    ) -> None:
        """Keep the facts of a failed check, if there is room for them.

        The first record after the candidate's death is always kept. The checks that fail after it, since no call is answered any
        more, are only counted.
        """
        self.first_fault = self.first_fault or self._fault(error)
        if self._candidate.death and self.death_record >= 0:
            self._n_lost += 1
            if self._n_lost >= MAX_LOST_CHECKS:
                raise StopChecks(f"{MAX_LOST_CHECKS} checks after the candidate's death were counted as failed")
            return
        site = opened.site
        if self._candidate.death:
            self.death_record = len(self._failures)
        elif len(self._failures) >= MAX_FAILURES or self._n_kept[site] >= MAX_FAILURES_PER_SITE:
            return
        self._n_kept[site] += 1
        self._failures.append(self._failure(opened, error, evaluate_right))

    def _fault(self, error: BaseException | None) -> Fault:
        if isinstance(error, CandidateError):
            return "policy_denied" if is_denial(error.fact) else "raised"
        return "bad_value" if self._candidate.returned_opaque or isinstance(error, OpaqueValueError) else "failed"

    def _failure(
        self, opened: OpenAssert, error: BaseException | None, evaluate_right: Callable[[], Any] | None
    ) -> Failure:
        """Return the facts of a failed check."""
        if opened.expected is _MISSING and evaluate_right is not None:
            with suppress(Exception):  # the value is needed only for the facts, which can do without it
                opened.right = evaluate_right()
        expected, kind = _expected(opened)
        fact = error.fact if isinstance(error, CandidateError) else None
        death = self._candidate.death
        got = "" if fact or death else self._got(opened)
        return Failure(
            check=opened.site.text,
            input=self._input(opened.site),
            expected=expected,
            expected_kind=kind,
            got=got,
            error=death.error if death else fact,
        )

    def _input(self, site: Site) -> str:
        """Return the arguments of the latest call as text, or the standard input if a program was run."""
        arguments = self._candidate.last_arguments()
        if arguments is None:
            return ""
        args, kwargs = arguments
        if site.form == "output" and args and type(args[0]) is str:
            return scrub(args[0])
        return show_call(args, kwargs)

    def _got(self, opened: OpenAssert) -> str:
        """Return the candidate's value as text: of a program's output, the first line that differs."""
        difference = _difference(opened)
        if difference is not None:
            return f"line {difference.line}: {scrub(difference.got)}"
        if opened.site.form == "text" and type(opened.left) is str:
            return scrub(opened.left)
        if opened.got is not _MISSING:
            return show(opened.got)
        return show(self._candidate.last_value) if self._candidate.n_answers else ""


def _expected(opened: OpenAssert) -> tuple[str, ExpectedKind]:
    """Return the expected value as text, and what kind of expectation it is."""
    site = opened.site
    if site.form == "raises":
        return site.expected, "raises"
    if site.form in ("text", "output") and type(opened.right) is str:
        difference = _difference(opened)
        if difference is None:
            return scrub(opened.right.rstrip()), "text"
        return f"line {difference.line}: {scrub(difference.expected)}", "text"
    if opened.expected is _MISSING or site.form in ("truth", "predicate"):
        return site.expected, "predicate"
    if site.form == "approx":
        return show(opened.expected), "approx"
    if site.operator in ("==", "is"):
        return show(opened.expected), "value"
    if site.got_left:
        return f"{site.operator} {show(opened.expected)}", "predicate"
    return site.expected, "predicate"


def _difference(opened: OpenAssert) -> Difference | None:
    """Return the first line in which a program's output differs from the expected text, or None for any other check."""
    if opened.site.form != "output" or type(opened.left) is not str or type(opened.right) is not str:
        return None
    return first_difference(opened.left, opened.right)
