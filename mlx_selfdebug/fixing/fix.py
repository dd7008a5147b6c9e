"""Fix a project: run its tests, find the suspicious functions, propose changes, prove one.

    from mlx_selfdebug.fixing import fix_project

    result = fix_project("project", test="pytest -q tests/test_parser.py")
    print(result)                       # the diff, the tests before and after, what was tried
    if result.fixed:
        apply_change(result.change, result.project)

Nothing is written to the project. Its tests run confined, in a scratch copy.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.fixing.case import Case, Effort, Spent
from mlx_selfdebug.fixing.change import Change
from mlx_selfdebug.fixing.explaining import Explained
from mlx_selfdebug.fixing.judging import Judge
from mlx_selfdebug.fixing.locating import Suspect, failing_lines, suspects_of
from mlx_selfdebug.fixing.proposing import Proposing
from mlx_selfdebug.fixing.proving import Baseline, Prover
from mlx_selfdebug.fixing.result import Counts, FixResult
from mlx_selfdebug.fixing.statement import shown_tests, task_of, verdict_of
from mlx_selfdebug.projects.project import Project, is_test
from mlx_selfdebug.projects.source import SourceFile, read_source
from mlx_selfdebug.projects.suite import Suite, SuiteLimits, open_suite
from mlx_selfdebug.projects.suite_run import HUNG, SuiteRun
from mlx_selfdebug.sandbox.isolation import Level

if TYPE_CHECKING:
    from mlx_selfdebug.sampling.language_model import LanguageModel

Tell = Callable[[str], None]
MAX_JUDGED = 20
"""The number of failing tests that judge each try. The whole suite judges in the end."""
MAX_TRACED = 200
"""The number of passing tests whose lines are recorded beside those of all failing tests."""
_MIN_TRY_S = 2.0
_HUNG_S = 5.0
"""Seconds for a test that is known not to end, in the run that records its lines."""
_SLOWDOWN = 5.0
"""A try may take five times as long as the same tests took on the program that fails."""


@dataclass(frozen=True)
class FixSettings:
    """How ``fix_project`` goes about it."""

    seconds: float = 120.0
    """Seconds after which nothing new is tried, counted from the start."""
    effort: Effort = field(default_factory=Effort)
    limits: SuiteLimits = field(default_factory=SuiteLimits)
    level: Level = "full"
    """The isolation that is required of the confined tests."""
    allow_network: bool = False
    readable: tuple[str, ...] = ()
    """Further files and folders that the tests may read."""
    patience_s: float = 1.0
    """Seconds that the tests get alone before the model is loaded beside them: a quick suite that passes needs no model."""
    budget_bytes: int = 6 * 10**9
    """Memory for the model and all tests together."""
    reserved_bytes: int = 10**9
    """The part of it that is reserved for the tests."""
    seed: int = 0


def fix_project(
    folder: str | os.PathLike[str] | Project,
    model: str | LanguageModel | Callable[[], LanguageModel] = "qwen2.5-coder-0.5b",
    *,
    test: str = "",
    python: str | os.PathLike[str] = "",
    settings: FixSettings | None = None,
    tell: Tell = lambda _: None,
) -> FixResult:
    """Try to make the failing tests of a project pass with a small change of one function, and return what was found.

    Args:
        folder: The folder of the project, or the project itself.
        model: The model, its name, or a function that loads it, which happens when it is first needed.
        test: The command that tests the project, such as "pytest -q tests"; by default pytest, or unittest where that is missing.
        python: The interpreter of the project; by default that of its virtual environment.
        settings: Limits and efforts.
        tell: Is told in a few words what is going on.

    Raises UsageError if there are no tests or they cannot be run, SandboxError if tests are isolated less well than required, and
    ModelError if the model cannot be loaded. Nothing is written to the project.
    """
    project = folder if isinstance(folder, Project) else Project.find([folder], test=test, python=python)
    return _Fix(project, model, settings or FixSettings(), tell).result()


class _Fix:
    """One fix, from the first run of the tests to the proof."""

    def __init__(
        self,
        project: Project,
        model: str | LanguageModel | Callable[[], LanguageModel],
        settings: FixSettings,
        tell: Tell,
    ) -> None:
        self._project, self._settings, self._tell = project, settings, tell
        self._wanted = model
        self._loaded: LanguageModel | None = None
        self._begin = time.monotonic()
        self._spent = Spent()
        self._notes: list[str] = []
        self._try_s = _MIN_TRY_S

    def result(self) -> FixResult:
        with self._open() as suite:
            return self._result(suite)

    def _result(self, suite: Suite) -> FixResult:
        first = self._first_run(suite)
        if not first.failed():
            return self._ended(FixResult("nothing_failed", self._project.root, Counts.of(first)))
        files = self._files()
        traced, baseline = self._traced(suite, first, files)
        if not baseline.failing:
            self._notes.append(
                "the tests that failed passed when they were run again: they are flaky, and nothing can be judged by them"
            )
            return self._ended(
                FixResult("not_fixed", self._project.root, Counts.of(first), flaky=tuple(sorted(baseline.flaky)))
            )
        suspects = self._suspects(suite, traced, baseline, files)
        self._warm(suite, baseline)
        return self._searched(suite, baseline, suspects)

    @contextmanager
    def _open(self, files: Mapping[str, bytes] | None = None) -> Iterator[Suite]:
        settings = self._settings
        with open_suite(
            self._project,
            settings.limits,
            level=settings.level,
            allow_network=settings.allow_network,
            readable=settings.readable,
            files=files,
        ) as suite:
            yield suite

    @contextmanager
    def _timed(self, step: str, words: str) -> Iterator[None]:
        self._tell(words)
        begin = time.monotonic()
        try:
            yield
        finally:
            self._spent.add(step, time.monotonic() - begin)

    def _ended(self, result: FixResult) -> FixResult:
        self._spent.seconds["total"] = time.monotonic() - self._begin
        return replace(result, notes=tuple(self._notes), seconds=dict(self._spent.seconds))

    def _first_run(self, suite: Suite) -> SuiteRun:
        with self._timed("running the tests", "running the tests"):
            future = suite.run(facts=True)
            wait([future], timeout=self._settings.patience_s)
            if not future.done():
                self._load()
            run = future.result()
        _require_tests(run, suite, self._project)
        if run.ending == "timed_out":
            self._notes.append(
                f"the tests were ended after {run.wall_s:.0f} s because one of them did not end; those after it are left out"
            )
        if run.spawning.intersection(run.failed()):
            suite.on_disk = True
            self._notes.append(
                "failing tests start other programs, so every try is written to the scratch copy and tries run one at a time"
            )
        return run

    def _load(self) -> LanguageModel:
        if self._loaded is None:
            begin = time.monotonic()
            self._loaded = _loaded(self._wanted)
            self._spent.add("loading the model", time.monotonic() - begin)
        return self._loaded

    def _files(self) -> list[SourceFile]:
        files = []
        for name in self._project.sources():
            try:
                files.append(read_source(self._project.root, name))
            except UsageError as error:
                self._notes.append(str(error))
        return files

    def _traced(self, suite: Suite, first: SuiteRun, files: Sequence[SourceFile]) -> tuple[SuiteRun, Baseline]:
        """Run the tests again to see which lines they run and whether they are flaky."""
        failed = first.failed()
        near = _nearest(first, failed)[:MAX_TRACED]
        with self._timed("finding suspects", "finding out which lines the failing tests run"):
            limit = 30 + 20 * first.wall_s
            run = suite.run(
                [] if len(first.tests) <= MAX_TRACED else [*failed, *near],
                facts=True,
                trace=[file.name for file in files],
                wall_s=limit,
                stall_s=_HUNG_S if any(_hung(first, id_) for id_ in failed) else None,
            ).result()
        flaky = {
            id_
            for id_, test in run.tests.items()
            if id_ in first.tests and {test.outcome, first.tests[id_].outcome} == {"passed", "failed"}
        }
        if flaky:
            self._notes.append(f"flaky, so left out: {', '.join(sorted(flaky)[:5])}")
        failing = tuple(id_ for id_ in failed if id_ not in flaky)
        return run, Baseline(first, failing, frozenset(flaky))

    def _suspects(
        self, suite: Suite, traced: SuiteRun, baseline: Baseline, files: Sequence[SourceFile]
    ) -> list[Suspect]:
        names = {str(suite.seen / file.name): file.name for file in files}
        failing = failing_lines(traced, baseline.failing, names)
        passing = failing_lines(traced, baseline.passing, names)
        frames = [
            [(names[frame.path], frame.line) for frame in test.facts.frames if frame.path in names]
            for test in (baseline.run.tests[id_] for id_ in baseline.failing)
            if test.facts
        ]
        return suspects_of(files, failing, passing, frames)

    def _warm(self, suite: Suite, baseline: Baseline) -> None:
        """Have other packages imported and the project loaded before the tries, unless the tests then end otherwise."""
        modules = [name for name, path in baseline.run.modules.items() if suite.relative(path) is None]
        judging = baseline.failing[:MAX_JUDGED]
        ending = [id_ for id_ in judging if not _hung(baseline.run, id_)]
        with self._timed("warming up", "warming up"):
            suite.warm(modules, judging)
            if ending:
                again = suite.run(ending).result()
                self._try_s = max(_MIN_TRY_S, _SLOWDOWN * again.wall_s)
                if set(again.failed()) != set(ending):
                    suite.warm([])

    def _searched(self, suite: Suite, baseline: Baseline, suspects: Sequence[Suspect]) -> FixResult:
        results = [baseline.run.tests[id_] for id_ in baseline.failing]
        judge = Judge(suite, baseline.failing[:MAX_JUDGED], self._try_s)
        prover = Prover(suite, baseline, judge, results)
        changes: list[Change] = []
        cases: list[Case] = []
        if suspects:
            model = self._load()
            effort = self._settings.effort
            told = shown_tests(results, suite.seen)
            cases = [
                Case(suspect, task_of(suspect.function, told), verdict_of(results, suspect.function, suite.seen))
                for suspect in suspects[: sum(effort.waves)]
            ]
            changes = self._proved(Proposing(
                model, cases, judge, effort,
                budget_bytes=self._settings.budget_bytes, reserved_bytes=self._settings.reserved_bytes,
                deadline=self._begin + self._settings.seconds, tell=self._tell, spent=self._spent, seed=self._settings.seed,
            ), prover)  # fmt: skip
        if judge.first_verdict is not None:
            self._spent.seconds["until the first verdict"] = judge.first_verdict - self._begin
            self._spent.seconds["a try (median)"] = median(judge.seconds)
        return self._handed_over(baseline, suspects, changes, judge, prover, cases)

    def _proved(self, proposing: Proposing, prover: Prover) -> list[Change]:
        for proposals in proposing.steps():
            if proposals:
                with self._timed("running the whole suite", "running the whole suite"):
                    changes = prover.proved(proposals)
                if changes:
                    return changes
        return []

    def _handed_over(
        self,
        baseline: Baseline,
        suspects: Sequence[Suspect],
        changes: Sequence[Change],
        judge: Judge,
        prover: Prover,
        cases: Sequence[Case],
    ) -> FixResult:
        change, after = self._confirmed(changes, baseline)
        partial = judge.best[1] if change is None and len(baseline.failing) > 1 else None
        return self._ended(
            FixResult(
                outcome="fixed" if change else "not_fixed",
                project=self._project.root,
                before=Counts.of(baseline.run),
                failing=baseline.failing,
                flaky=tuple(sorted(baseline.flaky)),
                change=change or (prover.partial_change(partial) if partial else None),
                after=Counts.of(after) if after else None,
                others=tuple(other for other in changes if other is not change),
                suspects=tuple((suspect.function.id, suspect.suspicion) for suspect in suspects[:10]),
                tried=dict(self._spent.tried),
                decoded_tokens=self._spent.decoded_tokens,
                read_tokens=self._spent.read_tokens,
                explained=tuple(
                    Explained(case.function.id, case.suspect.suspicion, case.reading, case.suspect.shares)
                    for case in cases
                    if case.reading is not None
                ),
            )
        )

    def _confirmed(self, changes: Sequence[Change], baseline: Baseline) -> tuple[Change | None, SuiteRun | None]:
        """Test the changes from the start, one after another, and return the first that holds with its run."""
        for change in changes:
            with (
                self._timed("testing from the start", "testing the change from the start"),
                self._open({change.file.name: change.data}) as suite,
            ):
                run = suite.run().result()
            if len(baseline.fixed_by(run)) == len(baseline.failing) and not baseline.broken_by(run):
                return change, run
        return None, None


def _loaded(wanted: str | LanguageModel | Callable[[], LanguageModel]) -> LanguageModel:
    if isinstance(wanted, str):
        from mlx_selfdebug.models.load import load_model

        return load_model(wanted)
    return wanted() if callable(wanted) else wanted


def _hung(run: SuiteRun, id_: str) -> bool:
    """Return whether a test did not end."""
    facts = run.tests[id_].facts
    return facts is not None and facts.type == HUNG


def _nearest(first: SuiteRun, failed: Sequence[str]) -> list[str]:
    """Return the tests that passed, those of the files in which others failed first."""
    files = {id_.partition("::")[0] for id_ in failed}
    passing = [id_ for id_, test in first.tests.items() if test.outcome == "passed"]
    return sorted(passing, key=lambda id_: id_.partition("::")[0] not in files)


def _require_tests(run: SuiteRun, suite: Suite, project: Project) -> None:
    """Raise UsageError if a run of all tests has shown nothing to go by."""
    if run.ending not in ("ended", "timed_out"):
        raise UsageError(
            f"the tests were ended by a limit of the sandbox: {run.ending}",
            hint="name fewer tests with --test, or raise the memory with --test-memory-gb",
        )
    broken = [test for test in run.tests.values() if test.collecting and test.facts]
    if broken and len(broken) == len(run.tests):
        facts = broken[0].facts
        assert facts is not None
        own = [frame for frame in facts.frames if (name := suite.relative(frame.path)) and not is_test(name)]
        if facts.type == "SyntaxError" and own:
            raise UsageError(
                f"{suite.relative(own[-1].path)}:{own[-1].line}: SyntaxError: {facts.message.split(' (')[0]}",
                hint="only functions in files that parse can be repaired",
            )
    if run.tests:
        return
    last = [line for line in (run.broken or run.output).strip().splitlines() if line.strip()][-3:]
    raise UsageError(
        f"no tests were found in {project.root} with {suite.framework}" + "".join(f"\n  {line}" for line in last),
        hint='name the command that runs them: --test "pytest -q tests"',
    )
