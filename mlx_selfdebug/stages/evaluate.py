"""Run the stage ``evaluate``: compare base and adapter, arm by arm and at equal tokens, on the same held-out tasks and on bugs.

An arm is one way of going on after a failed program, such as fresh drafts or repairs (``evaluation/arms.py``). Models are shown the
results of public checks only, and hidden checks score. The gate is a smaller comparison of the same kind, on training tasks that
were held back. It decides whether the adapter is recommended. What the figures mean is left to ``evaluation/result.py``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from mlx_selfdebug.domains.running import open_runner
from mlx_selfdebug.errors import TaskError, TrainingError, UsageError
from mlx_selfdebug.evaluation.arms import REPAIR, Arm, arms_named, first_drafts, play_of
from mlx_selfdebug.evaluation.bugs import (
    EVALUATION,
    GATE,
    NONE,
    OPERATORS,
    BugStore,
    bugs_of,
    given_attempts,
    origin_id,
    require_bug_source,
)
from mlx_selfdebug.evaluation.figures import figures_of
from mlx_selfdebug.evaluation.hard import hardness_drafts, store_known_rates
from mlx_selfdebug.evaluation.overlap import ABOVE, nearest_pairs
from mlx_selfdebug.evaluation.played import (
    ADAPTER,
    BASE,
    HELD_BACK_PREFIX,
    remember_figures,
    remember_model,
)
from mlx_selfdebug.evaluation.readings import remember_readings
from mlx_selfdebug.evaluation.result import Result, read_result
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.progress import Progress, Spent, Stage
from mlx_selfdebug.repair.stream import Play, Stream
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.stages.common import decoding_of, measured, remember_isolation
from mlx_selfdebug.store import Key, ProgressFile, Run
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.training.adapter import Adapter, mark_adapter
from mlx_selfdebug.training.selection import held_back_tasks
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.feedback import Feedback
from mlx_selfdebug.values.task import Task

logger = logging.getLogger(__name__)

NEAREST = 5
"""The number of pairs of a training task and a test task that are recorded if no pair is nearly the same."""
_ADAPTER_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*", re.IGNORECASE)
"""The names that an adapter may have. They become parts of the names of arms, in which "/" separates the parts."""


@dataclass(frozen=True)
class StartingPoints:
    """What the models begin with: tasks to draft and bugs, for the evaluation and for the gate.

    A bug is given as the task that it was put into, under an id of its own.
    """

    tasks: Sequence[Task]
    """The tasks to draft in the first half of the evaluation."""
    bugs: Sequence[Task] = ()
    """The bugs of the second half."""
    held_back: Sequence[Task] = ()
    """The tasks to draft for the gate."""
    gate_bugs: Sequence[Task] = ()
    """The bugs of the gate."""

    def count_plays(self, n_arms: int, n_adapters: int, *, rates_tasks: bool) -> int:
        """Return the number of tasks to play, counted once for each model and arm, for the progress display.

        ``rates_tasks`` says whether tasks are also drafted to find out which of them are hard.
        """
        # Each model drafts the tasks once, and then every arm plays them; on bugs there are only the arms.
        evaluation = ((1 + n_arms) * len(self.tasks) + n_arms * len(self.bugs)) * (1 + n_adapters)
        # The gate compares two models, the base and the adapter, and has a single arm.
        gate = 2 * (2 * len(self.held_back) + len(self.gate_bugs))
        n_rated = sum(task.pass_rate is None for task in self.tasks_to_rate) if rates_tasks else 0
        return evaluation + gate + n_rated

    @property
    def tasks_to_rate(self) -> list[Task]:
        """The tasks that may be rated as hard or not: those to draft and those that bugs were put into, each once."""
        return [*self.tasks, *_origins(self.bugs, {task.id for task in self.tasks})]


def evaluate(
    run: Run,
    model: Model,
    adapter: Adapter,
    tasks: Sequence[Task],
    *,
    others: Mapping[str, Adapter] | None = None,
    trained_on: Sequence[Task] | None = None,
    progress: Progress | None = None,
    allow_weak_sandbox: bool = False,
) -> Result:
    """Evaluate ``model`` with and without ``adapter`` on ``tasks`` and on bugs, and return the result.

    In the first half, both models draft every task once, greedily, and every arm of ``eval.arms`` goes on from these drafts with
    ``eval.tokens`` tokens per task. In the second half, the arms begin with bugs from the source that ``eval.bugs`` names. The bugs
    are the same for every model. Finished attempts are not decoded again.

    ``others`` are further adapters of the same base by name, for example from other training seeds, or one that was trained only on
    direct pairs. They play the same arms on the same tasks. The result also has the adapters of earlier calls.
    ``trained_on`` are the tasks that the run collected on; if they are None, ``collect.tasks`` is loaded. The gate is decided on
    the tasks among them that were held back.

    Raises TaskError if a reference fails its own hidden checks or a task was trained on; UsageError if an adapter has a name that
    cannot be used; and ConfigError for an unknown arm, or if the run was evaluated before on other tasks or with another adapter of
    the same name.
    """
    _require_valid_names(others or {})
    adapters = {ADAPTER: adapter, **(others or {})}
    arms = arms_named(run.config.eval.arms)
    source = run.config.eval.bugs if arms else NONE
    require_bug_source(source)
    _require_same_subjects(run, model, adapters, tasks)
    held_back = _held_back(run, trained_on)
    with (
        measured(run, "evaluate", run.config.budget.inference_gb) as spent,
        open_runner(run.config.sandbox, [*tasks, *held_back], allow_weak_sandbox=allow_weak_sandbox) as runner,
    ):
        remember_isolation(run, runner)
        with spent.on("looking for overlap"):
            _remember_overlap(run, tasks, trained_on)
        starts = _starting_points(run, source, tasks, held_back, runner, spent)
        total = starts.count_plays(len(arms), len(adapters), rates_tasks=run.config.eval.hard_drafts > 0)
        with ProgressFile(run.path, progress).stage("evaluate", total, "tasks") as stage:
            player = Player(run, model, runner, stage, spent)
            player.rate(starts.tasks_to_rate)
            player.play(BASE, starts, arms)
            if run.group.is_first:
                remember_readings(run, model, [*starts.tasks, *starts.bugs])
            for name, named_adapter in adapters.items():
                with named_adapter.applied(model):
                    player.play(name, starts, arms)
    result = read_result(run)
    assert result is not None  # the stage is recorded as finished
    if result.gate:
        mark_adapter(adapter.path, {"gate": result.gate.to_dict()})
    return result


def _require_valid_names(adapters: Mapping[str, Adapter]) -> None:
    """Raise UsageError if an adapter has a name that cannot be used."""
    for name in adapters:
        if not _ADAPTER_NAME.fullmatch(name) or name.lower() in (BASE, ADAPTER):
            raise UsageError(
                f"an adapter cannot be named {name!r}: a name begins with a letter or digit, consists of letters, digits, '-', "
                f"'_' and '.', and is neither {BASE} nor {ADAPTER}"
            )


def _require_same_subjects(run: Run, model: Model, adapters: Mapping[str, Adapter], tasks: Sequence[Task]) -> None:
    """Record with the run what is evaluated and on which tasks, or check that it is what was recorded.

    Raises ConfigError if it is not, and TaskError if one of ``tasks`` is a training task.
    """
    run.require(Key.MODEL, model.origin, "model")
    run.require(Key.EVALUATION_TASKS, [task.id for task in tasks], "set of evaluation tasks")
    seen = set(run.facts().training_tasks) & {task.id for task in tasks}
    if seen:
        raise TaskError(
            f"{len(seen)} of the evaluation tasks were trained on, {min(seen)} among them",
            hint="evaluate on tasks the run has not seen: --eval-tasks",
        )
    for name, adapter in adapters.items():
        remember_model(run, name, adapter.digest())


def _held_back(run: Run, trained_on: Sequence[Task] | None) -> list[Task]:
    """Return the held-back tasks, on which the gate is decided.

    There are none if the run held nothing back. If they are not in ``trained_on`` or, without it, in ``collect.tasks``, there are
    none either, and a warning says so.
    """
    try:
        return held_back_tasks(run, trained_on)
    except (TrainingError, UsageError) as error:
        logger.warning("the gate cannot be decided: %s (evaluate() takes the training tasks as trained_on)", error)
        return []


def _remember_overlap(run: Run, tasks: Sequence[Task], trained_on: Sequence[Task] | None) -> None:
    """Record which training tasks are nearly the same as a test task or, if none is, the nearest few pairs of two such tasks.

    Nothing is recorded if the training tasks cannot be found.
    """
    collect, ids = run.config.collect, run.facts().training_tasks
    if Key.OVERLAP in run.facts().stored or not ids:
        return
    try:
        training_set = load_tasks(collect.tasks).spread(collect.limit) if trained_on is None else trained_on
    except UsageError:
        return
    by_id = {task.id: task for task in training_set}
    if not set(ids) <= by_id.keys():
        return
    pairs = nearest_pairs([by_id[id_] for id_ in ids], tasks, above=0.0)
    nearly_same = [pair for pair in pairs if pair.nearness >= ABOVE]
    run.remember(Key.OVERLAP, [asdict(pair) for pair in nearly_same or pairs[:NEAREST]])


def _starting_points(
    run: Run, source: str, tasks: Sequence[Task], held_back: Sequence[Task], runner: TestRunner, spent: Spent
) -> StartingPoints:
    """Return what the models begin with. Draw and store the bugs if the run has none yet.

    The figures of all tasks and bugs, which are the number of hidden checks and the length of the reference, are stored too. Raises
    TaskError if a reference fails its own hidden checks.
    """
    with spent.on("running references"):
        figures = figures_of([*tasks, *held_back], runner)
        remember_figures(run, Key.FIGURES, {task.id: figures[task.id] for task in tasks})
        if held_back:
            remember_figures(run, Key.GATE_FIGURES, {task.id: figures[task.id] for task in held_back})
    with spent.on("looking for bugs"):
        bugs = bugs_of(run, EVALUATION, source, tasks, runner)
        gate_bugs = bugs_of(run, GATE, NONE if source == NONE else OPERATORS, held_back, runner)
        figures |= figures_of(_origins([*bugs, *gate_bugs], figures), runner)
        remember_figures(run, Key.BUG_FIGURES, {bug.id: figures[origin_id(bug)] for bug in bugs})
        remember_figures(run, Key.GATE_BUG_FIGURES, {bug.id: figures[origin_id(bug)] for bug in gate_bugs})
    return StartingPoints(tasks, bugs, held_back, gate_bugs)


def _origins(bugs: Sequence[Task], left_out: Container[str]) -> list[Task]:
    """Return the tasks that ``bugs`` were put into, each once, except those whose ids are in ``left_out``."""
    origins = {origin_id(bug): replace(bug, id=origin_id(bug)) for bug in bugs}
    return [task for id_, task in origins.items() if id_ not in left_out]


@dataclass(frozen=True)
class _Drafting:
    """Tasks that a model drafts, and the arms that go on from its drafts."""

    player: str
    """The model's name, with a prefix if its attempts belong to the gate."""
    tasks: Sequence[Task]
    arms: Sequence[Arm]


class Player:
    """The player of an evaluation's arms. It plays with the model as it is, so the caller applies and removes adapters."""

    def __init__(self, run: Run, model: Model, runner: TestRunner, stage: Stage, spent: Spent) -> None:
        self._run, self._model, self._runner, self._stage, self._spent = run, model, runner, stage, spent
        feedback = Feedback(public_checks=run.config.eval.public_checks == "shown")
        self._decoding = replace(decoding_of(run.config.eval, run.config), feedback=feedback)

    def rate(self, tasks: Sequence[Task]) -> None:
        """Draft the tasks whose pass rates are not known yet, to find out which of them are hard."""
        store_known_rates(self._run, tasks)
        if drafts := hardness_drafts(self._run, tasks, self._decoding):
            self._stream().play(drafts)

    def play(self, name: str, starts: StartingPoints, arms: Sequence[Arm]) -> None:
        """Play both halves for the model called ``name``. If it is the base or the adapter, also play the halves of the gate.

        A batch is slow while only its last rows are left, so as much as possible is decoded in one batch. The arms on bugs share
        the batch of the first drafts, since they can begin at once. The arms that go on from the drafts share a second batch.
        """
        draftings = [_Drafting(name, starts.tasks, arms)]
        plays = self._plays_on_bugs(EVALUATION, name, starts.bugs, arms)
        if name in (BASE, ADAPTER):
            if starts.held_back:
                draftings.append(_Drafting(f"{HELD_BACK_PREFIX}{name}", starts.held_back, arms_named(REPAIR)))
            plays += self._plays_on_bugs(GATE, name, starts.gate_bugs, arms_named(REPAIR))
        greedy = replace(self._decoding, temperature=0.0)
        drafts = [first_drafts(drafting.player, drafting.tasks, greedy) for drafting in draftings]
        attempts = self._stream().play(*drafts, *plays)
        following: list[Play] = []
        for drafting, draft in zip(draftings, drafts, strict=True):
            drafted = {attempt.task_id: attempt for attempt in attempts[draft.arm]}
            following += self._plays(drafting.player, drafting.tasks, drafting.arms, drafted)
        if following:
            self._stream().play(*following)

    def _plays_on_bugs(self, store: BugStore, name: str, bugs: Sequence[Task], arms: Sequence[Arm]) -> list[Play]:
        """Return the play of each arm on ``bugs``, which begins with the programs that are kept in ``store``."""
        if not bugs:
            return []
        return self._plays(f"{store.prefix}{name}", bugs, arms, given_attempts(self._run, store))

    def _plays(
        self, player: str, tasks: Sequence[Task], arms: Sequence[Arm], first_attempts: Mapping[str, Attempt]
    ) -> list[Play]:
        """Return the play of each arm on ``tasks``. Every arm begins with the ``first_attempts``, given by the task's id."""
        config = self._run.config.eval
        return [
            play_of(arm, player, tasks, self._decoding, first_attempts, tokens=config.tokens, forks=config.forks)
            for arm in arms
        ]

    def _stream(self) -> Stream:
        """Return a new stream, since a stream plays only once."""
        return Stream(self._run, self._model, self._runner, self._stage, self._spent)
