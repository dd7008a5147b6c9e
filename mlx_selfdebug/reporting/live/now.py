"""Put into words and figures what a run is doing now: the head of its page."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from mlx_selfdebug.errors import SelfDebugError
from mlx_selfdebug.reporting.live.attempts import Totals
from mlx_selfdebug.reporting.live.meters import MemoryMeter
from mlx_selfdebug.reporting.live.state import State
from mlx_selfdebug.reporting.records import Records, budget_bytes
from mlx_selfdebug.reporting.report.headline import Tone
from mlx_selfdebug.reporting.words import UNKNOWN, gigabytes, number, seconds
from mlx_selfdebug.store.under_way import Work

STAGE_SENTENCES = {
    "collect": "Collecting attempts.",
    "train": "Training on pairs.",
    "rewards": "Training by rewards.",
    "evaluate": "Evaluating the base and the adapter.",
}
"""What is said while a stage is under way."""
LAST_STEPS = 5
"""The number of training steps over which their speed is taken."""


@dataclass(frozen=True)
class Bar:
    """How far a piece of work has come."""

    label: str
    done: int
    total: int | None
    """None if it is not known."""
    text: str
    """The same in words, with the rate and the time that is left."""


@dataclass(frozen=True)
class Figure:
    """A number with what it means."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True)
class Now:
    """What a run is doing now."""

    sentence: str
    tone: Tone = "open"
    lines: tuple[str, ...] = ()
    command: str = ""
    """A command to type next; "" if there is none."""
    bars: tuple[Bar, ...] = ()
    figures: tuple[Figure, ...] = ()
    has_report: bool = False
    """Whether there is a finished report to link."""

    @property
    def title(self) -> str:
        """A few words for the tab of a browser: how far the innermost work has come, and the sentence."""
        shares = [f"{100 * bar.done // bar.total} % · " for bar in self.bars if bar.total]
        return f"{shares[-1] if shares else ''}{self.sentence.rstrip('.')}"


@dataclass(frozen=True)
class Sight:
    """What is seen of a run at one moment."""

    path: Path
    state: State
    stage: str | None
    """The stage that is under way, or was when the run stopped."""
    records: Records
    """The run's records, at least in outline."""
    totals: Totals
    tokens_per_s: float | None
    """The rate of generated tokens; None if it is not known yet."""
    done_per_s: float | None
    """The rate of the innermost work; None if it is not known yet."""
    memory: MemoryMeter | None
    """The memory of the process that has the run open; None if there is none."""


def waiting(path: Path) -> Now:
    """Return what is shown of a run that has not begun."""
    return Now(
        "Waiting for the run to begin.",
        lines=(f"There is no run in {path} yet. It is shown here as soon as it begins, for example with:",),
        command=_command("run", path),
    )


def unreadable(error: SelfDebugError) -> Now:
    """Return what is shown of a run that cannot be read."""
    return Now("The run cannot be read.", "bad", (f"{error}", *([f"What helps: {error.hint}"] if error.hint else [])))


def describe(sight: Sight) -> Now:
    """Return what is shown of a run that has begun."""
    state, path = sight.state, sight.path
    figures = tuple(_figures(sight))
    if state.phase == "finished":
        has_report = (path / "report.html").exists()
        return Now("This run is finished.", figures=figures, has_report=has_report)
    bars = tuple(
        _bar(work, sight.done_per_s if work is state.work[-1] and state.is_active else None) for work in state.work
    )
    if state.phase == "stopped":
        how = "Stopped: the process that ran it is gone." if state.holder else "Stopped: no process has the run open."
        kept = "What it had finished is stored. Resume with:"
        return Now(how, "bad", (kept,), _command("run", path), bars, figures)
    sentence = STAGE_SENTENCES.get(sight.stage or "", "Under way: the next stage is starting.")
    return Now(sentence, lines=tuple(_process_lines(state)), bars=bars, figures=figures)


def _command(name: str, path: Path) -> str:
    return f"mlx-selfdebug {name} --run {shlex.quote(str(path))}"


def _process_lines(state: State) -> list[str]:
    holder = state.holder
    if holder is None:
        return []
    line = f"{holder.command}, process {holder.pid}, since {holder.since:%H:%M:%S}"
    if holder.is_alive is None:
        return [f"{line}, on {holder.host}. Whether it still runs cannot be seen from here."]
    return [line]


def _bar(work: Work, per_s: float | None) -> Bar:
    total = f" of {work.total:,}" if work.total else ""
    parts = [f"{work.done:,}{total} {work.unit}".rstrip()]
    if per_s and work.total and work.done < work.total:
        parts.append(f"{_rate(per_s)} per second, {seconds((work.total - work.done) / per_s)} left")
    parts += [work.note] if work.note else []
    return Bar(work.name, work.done, work.total, " · ".join(parts))


def _figures(sight: Sight) -> list[Figure]:
    records, counts = sight.records, sight.totals.all
    figures = []
    if sight.state.is_active:
        figures += [_speed(sight), _memory(sight)]
    if records.steps:
        last = records.steps[-1]
        figures.append(Figure("loss", f"{last.loss:.3f}", f"nats per token, after step {last.step + 1}"))
    if records.reward_steps:
        step = records.reward_steps[-1]
        figures.append(Figure("mean reward", f"{step.reward:.2f}", f"after reward step {step.step + 1}"))
    return [
        *figures,
        Figure("attempts", f"{counts.attempts:,}", f"{counts.passed:,} passed"),
        Figure("repairs", f"{counts.repaired:,}", f"right, of {counts.repairs:,} that were made"),
        Figure("pairs", f"{len(records.pairs):,}" if records.pairs else UNKNOWN, _about_pairs(records)),
    ]


def _about_pairs(records: Records) -> str:
    return "to train on" if records.pairs else "made at the end of collect"


def _speed(sight: Sight) -> Figure:
    steps = sight.records.steps[-LAST_STEPS:]
    if sight.stage == "train" and steps:
        per_s = sum(step.n_tokens for step in steps) / (sum(step.wall_s for step in steps) or 1.0)
        return Figure("tokens/s", _rate(per_s), f"supervised, in the last {len(steps)} steps")
    return Figure("tokens/s", _rate(sight.tokens_per_s), "generated, over the last minute")


def _rate(per_s: float | None) -> str:
    return number(per_s) if per_s is None or per_s < 100 else f"{per_s:,.0f}"


def _memory(sight: Sight) -> Figure:
    if sight.memory is None or sight.stage is None:
        return Figure("memory", UNKNOWN, "of all its processes")
    budget = gigabytes(budget_bytes(sight.records.config, sight.stage))
    return Figure("memory", f"{gigabytes(sight.memory.n_bytes)} GB", f"of {budget} GB allowed")
