"""Read the figures of a run as points, in the form in which trackers plot them.

    Point("train", step=12, figures={"loss": 0.41, "learning_rate": 0.0001, ...})
    Point("eval/own_failures/adapter/facts", step=0, figures={"problems_solved": 12, "checks_passed": 41})

Points are read from the run's records, so they can be read again at any time, from a run under way and from a finished one. A
series and a step identify a point. If a training step is made again after its process was killed, the result is the same point,
apart from the seconds that it took.

| series | a point is | step |
|---|---|---|
| ``stages/NAME`` | the begin of a stage, then the end of each session with seconds and peak memory | milliseconds so far |
| ``collect``, ``pairs`` | what has been collected at one moment, and the pairs made of it | number of attempts and bugs |
| ``train``, ``rewards`` | an optimizer step | its number |
| ``train/held_back``, ``rewards/held_back`` | a validation on the held-back tasks | number of steps before it |
| ``eval/HALF``, ``eval/HALF/MODEL/ARM``, ``eval/gate`` | sizes, scores and the gate of a finished evaluation | 0 |
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_selfdebug.evaluation.result import Result, read_result
from mlx_selfdebug.repair import planting
from mlx_selfdebug.store import StoredRun, open_stored, reading
from mlx_selfdebug.store.rows import StageTime
from mlx_selfdebug.training.selection import REWARDS, Validation, stored_validations
from mlx_selfdebug.values.pair import KINDS
from mlx_selfdebug.values.step import RewardStep, Step

COLLECT = "collect"
"""The name of the stage that collects, and of the arm of its attempts."""
EVALUATE = "evaluate"
"""The name of the stage that evaluates."""
_COUNT_ATTEMPTS = (
    "SELECT task_id, arm, kind, outcome = 'passed' AS passed, count(*) AS n FROM attempts "
    "WHERE arm IN (?, ?) GROUP BY 1, 2, 3, 4"
)
_COUNT_PAIRS = "SELECT kind, count(*) AS n FROM pairs GROUP BY kind"


@dataclass(frozen=True)
class Point:
    """The figures of one step of a series."""

    series: str
    """What the figures are about, such as "train" or "eval/bugs/adapter/facts"."""
    step: int
    """The place of the point in its series, from 0."""
    figures: Mapping[str, float]
    """The figures by name, such as "loss"."""

    @property
    def named(self) -> dict[str, float]:
        """The figures by the names under which a tracker keeps them, such as "train/loss"."""
        return {f"{self.series}/{name}": figure for name, figure in self.figures.items()}


def series_of(name: str) -> str:
    """Return the series of a figure by its name in a tracker: "train" for "train/loss"."""
    return name.rpartition("/")[0]


class PointReader:
    """A reader of the points of the run at ``path``. It keeps the points of finished stages, which take longest to read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._finished: dict[str, tuple[StageTime, list[Point]]] = {}
        """By finished stage: its record when its points were read, and the points."""
        self._first_stages: Mapping[str, StageTime] | None = None
        """The records of the stages at the first call of ``read``."""

    def read(self, *, under_way: bool = False) -> list[Point]:
        """Return all points that follow from what is stored now, in the order in which a run makes them.

        If the run is ``under_way``, the scores of an evaluation that was finished before the first call are left out. A new session
        may just be adding another adapter to it, and the scores of that adapter would come from only some of its attempts. Raises
        StoreError if the run cannot be read.
        """
        with open_stored(self._path) as run:
            stages, begun = run.stages(), run.facts().machines
            if self._first_stages is None:
                self._first_stages = stages
            collected = self._once_finished(stages.get(COLLECT), self._collected)
            evaluation: Sequence[Point] = ()
            if not (under_way and stages.get(EVALUATE) == self._first_stages.get(EVALUATE)):
                evaluation = self._once_finished(stages.get(EVALUATE), lambda: _evaluation(run))
            return [
                *_begin_and_end(COLLECT, begun, stages, collected),
                *_begin_and_end("train", begun, stages, _training(run)),
                *_begin_and_end("rewards", begun, stages, _rewards(run)),
                *_begin_and_end(EVALUATE, begun, stages, evaluation),
            ]

    def _once_finished(self, stage: StageTime | None, read: Callable[[], list[Point]]) -> list[Point]:
        """Return what ``read`` returns. It is called only once for a finished stage, unless the stage has another session."""
        if stage is None or not stage.done:
            return read()
        if stage.name not in self._finished or self._finished[stage.name][0] != stage:
            self._finished[stage.name] = stage, read()
        return self._finished[stage.name][1]

    def _collected(self) -> list[Point]:
        """Return a point for what has been collected so far, and one for the pairs. There is none before the first attempt."""
        with reading(self._path) as db:
            rows = db.execute(_COUNT_ATTEMPTS, (COLLECT, planting.ARM)).fetchall()
            pairs = {row["kind"]: row["n"] for row in db.execute(_COUNT_PAIRS)}
        own = [row for row in rows if row["arm"] == COLLECT]
        kinds: Counter[str] = Counter()
        for row in own:
            kinds[row["kind"]] += row["n"]
        figures = {
            "attempts": sum(row["n"] for row in own),
            "passed": sum(row["n"] for row in own if row["passed"]),
            "tasks_solved": len({row["task_id"] for row in own if row["passed"]}),
            "drafts": kinds["draft"],
            "edits": kinds["edits"],
            "forks": kinds["fork"],
            "repairs": kinds["repair"],
            "bugs": sum(row["n"] for row in rows if row["arm"] == planting.ARM),
        }
        step = figures["attempts"] + figures["bugs"]
        points = [Point("collect", step, figures)] if step else []
        if pairs:
            counts: dict[str, float] = {kind: pairs.get(kind, 0) for kind in KINDS}
            points.append(Point("pairs", step, {**counts, "total": sum(counts.values())}))
        return points


def _begin_and_end(
    name: str, begun: Mapping[str, object], stages: Mapping[str, StageTime], points: Sequence[Point]
) -> Iterator[Point]:
    """Yield a point for the begin of the stage ``name``, then ``points``, then a point for the end of its last session.

    A stage that has not begun has neither of the two.
    """
    stage = stages.get(name)
    if stage or name in begun:
        yield Point(f"stages/{name}", 0, {"done": 0})
    yield from points
    if stage:
        # The seconds grow with every session, so each session's end is another point.
        figures = {"done": int(stage.done), "wall_s": stage.wall_s, "peak_bytes": stage.peak_bytes}
        yield Point(f"stages/{name}", max(1, math.ceil(1000 * stage.wall_s)), figures)


def _training(run: StoredRun) -> list[Point]:
    """Return the points of training on pairs: the steps, then the validations on held-back tasks."""
    return [*map(_step, run.steps()), *_validations("train", stored_validations(run))]


def _step(step: Step) -> Point:
    """Return the point of one optimizer step of training on pairs."""
    figures = {
        "loss": step.loss,
        "learning_rate": step.learning_rate,
        "grad_norm": step.grad_norm,
        "n_tokens": step.n_tokens,
        "wall_s": step.wall_s,
    }
    if step.wall_s:
        figures["tokens_per_s"] = step.n_tokens / step.wall_s
    return Point("train", step.step, figures)


def _rewards(run: StoredRun) -> list[Point]:
    """Return the points of training by rewards: the steps, then the validations on held-back tasks."""
    return [*map(_reward_step, run.reward_steps()), *_validations("rewards", stored_validations(run, REWARDS))]


def _reward_step(step: RewardStep) -> Point:
    """Return the point of one optimizer step of training by rewards."""
    figures = {name: figure for name, figure in step.to_record().items() if name != "step"}
    return Point("rewards", step.step, {**figures, "varied_share": step.varied_share})


def _validations(training: str, validations: Sequence[Validation]) -> Iterator[Point]:
    for validation in validations:
        yield Point(
            f"{training}/held_back", validation.step, {"repaired": validation.repaired, "attempts": validation.attempts}
        )


def _evaluation(run: StoredRun) -> list[Point]:
    """Return the sizes of both halves, the scores of every model and arm, and the decision of the gate.

    There are none before the evaluation is finished.
    """
    result = read_result(run)
    return [] if result is None else [*_sizes(result), *_scores(result), *_gate(result)]


def _sizes(result: Result) -> Iterator[Point]:
    for half, played in result.halves.items():
        first = played.base.first_pass
        yield Point(_half(half), 0, {"problems": first.problems[1], "checks": first.checks[1]})


def _scores(result: Result) -> Iterator[Point]:
    for row in result.to_records():
        figures = {name: row[name] for name in ("problems_solved", "checks_passed")}
        yield Point(f"{_half(row['half'])}/{row['model']}/{row['arm']}", 0, figures)


def _gate(result: Result) -> Iterator[Point]:
    if result.gate:
        yield Point("eval/gate", 0, {"adapter_recommended": int(result.gate.passed), "held_back": result.gate.n})


def _half(name: str) -> str:
    """Return the series of a half of the evaluation: "eval/own_failures" for "own failures"."""
    return f"eval/{name.replace(' ', '_')}"
