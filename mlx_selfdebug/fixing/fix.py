"""Fix a project: run its tests, find the suspicious functions, propose changes, and prove one of them.

    from mlx_selfdebug.fixing import apply_change, fix_project

    result = fix_project("project", test="pytest -q tests/test_parser.py")
    print(result)                       # the diff, the tests before and after, what was tried
    if result.fixed:
        apply_change(result.change, result.project)

``fix_project`` writes nothing to the project. Its tests run confined, in a scratch copy.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.fixing.baseline import Baseline, flaky_tests, hung, passing_nearest_first, require_tests
from mlx_selfdebug.fixing.case import Case, Cost, Effort, Tell
from mlx_selfdebug.fixing.change import Change
from mlx_selfdebug.fixing.explaining import Explanation
from mlx_selfdebug.fixing.judging import Judge
from mlx_selfdebug.fixing.locating import Suspect, lines_of_tests, suspects_of
from mlx_selfdebug.fixing.proposing import Proposing
from mlx_selfdebug.fixing.proving import Prover
from mlx_selfdebug.fixing.result import Counts, FixResult
from mlx_selfdebug.fixing.statement import shown_tests, task_of, verdict_of
from mlx_selfdebug.projects.project import Project
from mlx_selfdebug.projects.source import SourceFile, read_source
from mlx_selfdebug.projects.suite import Suite, SuiteLimits, open_suite
from mlx_selfdebug.projects.suite_run import SuiteRun
from mlx_selfdebug.sandbox.isolation import Level

if TYPE_CHECKING:
    from mlx_selfdebug.sampling.language_model import LanguageModel

MAX_JUDGED = 20
"""The largest number of failing tests that judge each try. The whole suite judges only what passes them."""
MAX_TRACED = 200
"""The largest number of passing tests whose lines are recorded. The lines of all failing tests are recorded too."""
MAX_SUSPECTS_NAMED = 10
"""The largest number of suspects that a result names."""
_MAX_FLAKY_NAMED = 5
"""The largest number of flaky tests that a note names."""
_MIN_TRY_S = 2.0
"""The smallest limit on the time of one try, in seconds."""
_HUNG_S = 5.0
"""Seconds after which a test is ended in the run that records lines, if some failing test is already known not to end."""
_SLOWDOWN = 5.0
"""How many times longer a try may take than the same tests took on the unchanged project."""
_TRACED_SLOWDOWN, _TRACED_EXTRA_S = 20, 30.0
"""How many times longer the tests may take while their lines are recorded, and the seconds that are added to that."""


@dataclass(frozen=True)
class FixSettings:
    """The limits and efforts of ``fix_project``."""

    seconds: float = 120.0
    """Seconds from the start after which nothing new is tried."""
    effort: Effort = field(default_factory=Effort)
    """How much is tried."""
    limits: SuiteLimits = field(default_factory=SuiteLimits)
    """The time and memory that a run of the tests may take."""
    level: Level = "full"
    """The isolation of the tests that is required."""
    allow_network: bool = False
    """Whether the tests may use the network."""
    readable: tuple[str, ...] = ()
    """Files and folders outside the project that the tests may read."""
    patience_s: float = 1.0
    """Seconds that the tests first run alone. If they then still run, the model is loaded beside them.

    A quick suite that passes needs no model, so none is loaded for it.
    """
    budget_bytes: int = 6 * 10**9
    """The memory that the model and all tests may take together."""
    reserved_bytes: int = 10**9
    """The part of the budget that is reserved for the tests."""
    seed: int = 0
    """The seed of the completions that the model samples."""


def fix_project(
    folder: str | os.PathLike[str] | Project,
    model: str | LanguageModel | Callable[[], LanguageModel] = "qwen2.5-coder-0.5b",
    *,
    test: str = "",
    python: str | os.PathLike[str] = "",
    settings: FixSettings | None = None,
    tell: Tell = lambda _: None,
) -> FixResult:
    """Try to make the failing tests of a project pass with a small change of one function, and return the result.

    Args:
        folder: The folder of the project, or the project itself.
        model: The model, its name, or a function that loads it. The model is loaded only when it is needed.
        test: The command that tests the project, such as "pytest -q tests"; by default pytest, or unittest if pytest is missing.
        python: The interpreter of the project; by default that of its virtual environment.
        settings: Limits and efforts.
        tell: A function that is told in a few words what is going on.

    Raises UsageError if there are no tests or they cannot be run, SandboxError if tests cannot be isolated as well as required, and
    ModelError if the model cannot be loaded. Nothing is written to the project.
    """
    project = folder if isinstance(folder, Project) else Project.find([folder], test=test, python=python)
    return _Fix(project, model, settings or FixSettings(), tell).result()


class _Fix:
    """One fix of a project, from the first run of the tests to the proof of a change."""

    def __init__(
        self,
        project: Project,
        model: str | LanguageModel | Callable[[], LanguageModel],
        settings: FixSettings,
        tell: Tell,
    ) -> None:
        self._project, self._settings, self._tell = project, settings, tell
        self._given_model = model
        self._loaded_model: LanguageModel | None = None
        self._begin = time.monotonic()
        self._cost = Cost()
        self._notes: list[str] = []

    def result(self) -> FixResult:
        """Run the fix and return its result."""
        with self._open_suite() as suite:
            first = self._run_first(suite)
            if not first.failed():
                return self._finish(FixResult("nothing_failed", self._project.root, Counts.of(first)))
            files = self._read_files()
            traced, baseline = self._trace(suite, first, files)
            if not baseline.failing:
                self._notes.append(
                    "the tests that failed passed when they were run again: they are flaky, and nothing can be judged by them"
                )
                return self._finish(
                    FixResult("not_fixed", self._project.root, Counts.of(first), flaky=tuple(sorted(baseline.flaky)))
                )
            suspects = self._find_suspects(suite, traced, baseline, files)
            try_s = self._warm_up(suite, baseline)
            return self._search(suite, baseline, suspects, try_s)

    def _open_suite(self, files: Mapping[str, bytes] | None = None) -> AbstractContextManager[Suite]:
        """Open the tests in a new scratch copy of the project, in which ``files`` replace files of the project."""
        settings = self._settings
        return open_suite(
            self._project,
            settings.limits,
            level=settings.level,
            allow_network=settings.allow_network,
            readable=settings.readable,
            files=files,
        )

    @contextmanager
    def _step(self, step: str, words: str = "") -> Iterator[None]:
        """Tell that a step begins, and add its time to the cost."""
        self._tell(words or step)
        begin = time.monotonic()
        try:
            yield
        finally:
            self._cost.add_seconds(step, time.monotonic() - begin)

    def _model(self) -> LanguageModel:
        """Return the model, and load it if that has not happened yet."""
        if self._loaded_model is None:
            begin = time.monotonic()
            self._loaded_model = _load(self._given_model)
            self._cost.add_seconds("loading the model", time.monotonic() - begin)
        return self._loaded_model

    def _finish(self, result: FixResult) -> FixResult:
        """Return a result with the notes and the times of this fix."""
        self._cost.seconds["total"] = time.monotonic() - self._begin
        return replace(result, notes=tuple(self._notes), seconds=dict(self._cost.seconds))

    def _run_first(self, suite: Suite) -> SuiteRun:
        """Run all tests on the unchanged project. If they take long, the model is loaded beside them."""
        with self._step("running the tests"):
            future = suite.run(facts=True)
            wait([future], timeout=self._settings.patience_s)
        if not future.done():
            self._model()
            with self._step("running the tests"):
                wait([future])
        run = future.result()
        require_tests(run, suite, self._project)
        if run.ending == "timed_out":
            self._notes.append(
                f"the tests were ended after {run.wall_s:.0f} s because one of them did not end; those after it are left out"
            )
        if run.spawning.intersection(run.failed()):
            # A program that a test starts sees only what is on the disk, not what the tests' own process has been given.
            suite.on_disk = True
            self._notes.append(
                "failing tests start other programs, so every try is written to the scratch copy and tries run one at a time"
            )
        return run

    def _read_files(self) -> list[SourceFile]:
        """Read the files that may be changed. A file that cannot be read becomes a note."""
        files = []
        for name in self._project.sources():
            try:
                files.append(read_source(self._project.root, name))
            except UsageError as error:
                self._notes.append(str(error))
        return files

    def _trace(self, suite: Suite, first: SuiteRun, files: Sequence[SourceFile]) -> tuple[SuiteRun, Baseline]:
        """Run the tests again, and record which lines each of them runs. Tests that now end otherwise are flaky."""
        failed = first.failed()
        all_are_traced = len(first.tests) <= MAX_TRACED
        with self._step("finding suspects", "finding out which lines the failing tests run"):
            run = suite.run(
                [] if all_are_traced else [*failed, *passing_nearest_first(first)[:MAX_TRACED]],
                facts=True,
                trace=[file.name for file in files],
                wall_s=_TRACED_EXTRA_S + _TRACED_SLOWDOWN * first.wall_s,
                stall_s=_HUNG_S if any(hung(first, id_) for id_ in failed) else None,
            ).result()
        flaky = flaky_tests(first, run)
        if flaky:
            self._notes.append(f"flaky, so left out: {', '.join(sorted(flaky)[:_MAX_FLAKY_NAMED])}")
        failing = tuple(id_ for id_ in failed if id_ not in flaky)
        return run, Baseline(first, failing, flaky)

    def _find_suspects(
        self, suite: Suite, traced: SuiteRun, baseline: Baseline, files: Sequence[SourceFile]
    ) -> list[Suspect]:
        """Return the suspicious functions, by the lines that tests ran and by the tracebacks of the failing tests."""
        names = {str(suite.seen / file.name): file.name for file in files}
        results = [baseline.run.tests[id_] for id_ in baseline.failing]
        tracebacks = [
            [(names[frame.path], frame.line) for frame in test.facts.frames if frame.path in names]
            for test in results
            if test.facts
        ]
        failing = lines_of_tests(traced, baseline.failing, names)
        passing = lines_of_tests(traced, baseline.passing, names)
        return suspects_of(files, failing, passing, tracebacks)

    def _warm_up(self, suite: Suite, baseline: Baseline) -> float:
        """Have other packages imported and the project loaded before the tries, and return how many seconds a try may take.

        If the failing tests do not fail when they are run in this way, nothing is imported or loaded before the tries.
        """
        modules = [name for name, path in baseline.run.modules.items() if suite.relative(path) is None]
        judging = baseline.failing[:MAX_JUDGED]
        ending = [id_ for id_ in judging if not hung(baseline.run, id_)]
        try_s = _MIN_TRY_S
        with self._step("warming up"):
            suite.warm(modules, judging)
            if ending:
                run = suite.run(ending).result()
                if set(run.failed()) != set(ending):
                    suite.warm([])
                    run = suite.run(ending).result()  # Without the imports, the tests may take longer.
                try_s = max(_MIN_TRY_S, _SLOWDOWN * run.wall_s)
        return try_s

    def _search(self, suite: Suite, baseline: Baseline, suspects: Sequence[Suspect], try_s: float) -> FixResult:
        """Search for changes of the suspects, test the best from the start, and return the result of the fix."""
        results = [baseline.run.tests[id_] for id_ in baseline.failing]
        judge = Judge(suite, baseline.failing[:MAX_JUDGED], try_s)
        prover = Prover(suite, baseline, judge, results)
        tests_text = shown_tests(results, suite.seen)
        cases = [
            Case(suspect, task_of(suspect.function, tests_text), verdict_of(results, suspect.function, suite.seen))
            for suspect in suspects[: sum(self._settings.effort.waves)]
        ]
        changes = self._proven_changes(cases, judge, prover) if cases else []
        if judge.first_verdict is not None:
            self._cost.seconds["until the first verdict"] = judge.first_verdict - self._begin
            self._cost.seconds["a try (median)"] = median(judge.seconds)
        change, after = self._confirm(changes, baseline)
        if changes and change is None:
            self._notes.append("a change passed the whole suite, but not when all tests were run from the start")
        # Changes before the one that holds failed when they were tested from the start.
        others = tuple(changes[changes.index(change) + 1 :]) if change else ()
        best_change = prover.partial_change(judge.partial) if change is None and judge.partial else change
        return self._finish(
            FixResult(
                outcome="fixed" if change else "not_fixed",
                project=self._project.root,
                before=Counts.of(baseline.run),
                failing=baseline.failing,
                flaky=tuple(sorted(baseline.flaky)),
                change=best_change,
                after=Counts.of(after) if after else None,
                others=others,
                suspects=tuple((s.function.id, s.suspicion) for s in suspects[:MAX_SUSPECTS_NAMED]),
                tried=dict(self._cost.tried),
                decoded_tokens=self._cost.decoded_tokens,
                read_tokens=self._cost.read_tokens,
                explained=tuple(
                    Explanation(case.function.id, case.suspect.suspicion, case.reading, case.suspect.shares)
                    for case in cases
                    if case.reading is not None
                ),
            )
        )

    def _proven_changes(self, cases: Sequence[Case], judge: Judge, prover: Prover) -> list[Change]:
        """Prove what the search proposes, step by step, and return the changes of the first step that proves any."""
        settings = self._settings
        proposing = Proposing(
            self._model(), cases, judge, settings.effort,
            budget_bytes=settings.budget_bytes, reserved_bytes=settings.reserved_bytes,
            deadline=self._begin + settings.seconds, tell=self._tell, cost=self._cost, seed=settings.seed,
        )  # fmt: skip
        for proposals in proposing.proposals():
            if proposals:
                with self._step("running the whole suite"):
                    changes = prover.prove(proposals)
                if changes:
                    return changes
        return []

    def _confirm(self, changes: Sequence[Change], baseline: Baseline) -> tuple[Change | None, SuiteRun | None]:
        """Test changes from the start, each in a new scratch copy. Return the first that holds, with its run, or (None, None)."""
        for change in changes:
            with (
                self._step("testing from the start", "testing the change from the start"),
                self._open_suite({change.file.name: change.data}) as suite,
            ):
                run = suite.run().result()
            if baseline.accepts(run):
                return change, run
        return None, None


def _load(model: str | LanguageModel | Callable[[], LanguageModel]) -> LanguageModel:
    """Return a model that is given by its name, as it is, or as a function that loads it."""
    if isinstance(model, str):
        from mlx_selfdebug.models.load import load_model

        return load_model(model)
    return model() if callable(model) else model
