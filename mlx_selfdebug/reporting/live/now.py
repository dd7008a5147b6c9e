"""Describe what a run is doing now, as the head of its page shows it: a sentence, progress bars and figures.

:func:`describe` turns a :class:`Sight` into a :class:`Now`. The first is what ``watcher.py`` has read and measured, and the
second is what ``page.py`` renders.
"""

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
"""The sentence that is shown while a stage is under way, by the stage."""
LAST_STEPS = 5
"""The number of training steps over which the speed of training is averaged."""


@dataclass(frozen=True)
class Bar:
    """A progress bar."""

    label: str
    """A word or two for the work, such as "collect"."""
    done: int
    """The number of units that are done."""
    total: int | None
    """The number of units of the whole work; None if it is not known."""
    text: str
    """The progress in words, such as "120 of 300 tasks · 4.1 per second, 44.0 s left"."""


@dataclass(frozen=True)
class Figure:
    """A figure with its label, such as "loss", "0.412", "nats per token, after step 30"."""

    label: str
    value: str
    """The number as text."""
    detail: str
    """The unit, or what the number counts."""


@dataclass(frozen=True)
class Now:
    """The head of the page: what a run is doing now."""

    sentence: str
    """What the run is doing, such as "Collecting attempts."."""
    tone: Tone = "open"
    """Whether that is good or bad news. It decides the colour of the sentence."""
    lines: tuple[str, ...] = ()
    """Further sentences, one per line."""
    command: str = ""
    """A command to type next; "" if there is none."""
    bars: tuple[Bar, ...] = ()
    """A bar for each piece of work that is under way. Each piece is within the one before it."""
    figures: tuple[Figure, ...] = ()
    has_report: bool = False
    """Whether there is a finished report to link."""

    @property
    def title(self) -> str:
        """A title for the tab of a browser: the share of the innermost work that is done, and the sentence."""
        shares = [f"{100 * bar.done // bar.total} % · " for bar in self.bars if bar.total]
        return f"{shares[-1] if shares else ''}{self.sentence.rstrip('.')}"


@dataclass(frozen=True)
class Sight:
    """What was read and measured of a run at one moment."""

    path: Path
    """The folder of the run."""
    state: State
    stage: str | None
    """The stage that is under way, or was when the run stopped."""
    records: Records
    """The run's records, without its attempts (``read_outline``)."""
    totals: Totals
    """The counts of the attempts."""
    tokens_per_s: float | None
    """The generated tokens per second; None if the rate is not known yet."""
    done_per_s: float | None
    """The units of the innermost work that are done per second; None if the rate is not known yet."""
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
    hints = (f"What helps: {error.hint}",) if error.hint else ()
    return Now("The run cannot be read.", tone="bad", lines=(str(error), *hints))


def describe(sight: Sight) -> Now:
    """Return what is shown of a run that has begun."""
    state, path = sight.state, sight.path
    figures = tuple(_figures(sight))
    if state.phase == "finished":
        has_report = (path / "report.html").exists()
        return Now("This run is finished.", figures=figures, has_report=has_report)
    innermost = state.work[-1] if state.work else None
    done_per_s = sight.done_per_s if state.is_active else None
    bars = tuple(_bar(work, done_per_s if work is innermost else None) for work in state.work)
    if state.phase == "stopped":
        return Now(
            "Stopped: the process that ran it is gone." if state.holder else "Stopped: no process has the run open.",
            tone="bad",
            lines=("What it had finished is stored. Resume with:",),
            command=_command("run", path),
            bars=bars,
            figures=figures,
        )
    sentence = STAGE_SENTENCES.get(sight.stage or "", "Under way: the next stage is starting.")
    return Now(sentence, lines=tuple(_process_lines(state)), bars=bars, figures=figures)


def _command(name: str, path: Path) -> str:
    return f"mlx-selfdebug {name} --run {shlex.quote(str(path))}"


def _process_lines(state: State) -> list[str]:
    """Return a line about the process that has the run open, or none if no process has."""
    holder = state.holder
    if holder is None:
        return []
    line = f"{holder.command}, process {holder.pid}, since {holder.since:%H:%M:%S}"
    if holder.is_alive is None:
        return [f"{line}, on {holder.host}. Whether it still runs cannot be seen from here."]
    return [line]


def _bar(work: Work, per_s: float | None) -> Bar:
    """Return the bar of a piece of work. ``per_s`` is the number of units that are done per second, if it is known."""
    total = f" of {work.total:,}" if work.total else ""
    parts = [f"{work.done:,}{total} {work.unit}".rstrip()]
    if per_s and work.total and work.done < work.total:
        parts.append(f"{_rate(per_s)} per second, {seconds((work.total - work.done) / per_s)} left")
    parts += [work.note] if work.note else []
    return Bar(work.name, work.done, work.total, " · ".join(parts))


def _figures(sight: Sight) -> list[Figure]:
    """Return the figures that exist so far. Speed and memory are shown only while a process works on the run."""
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
        _pairs(records),
    ]


def _pairs(records: Records) -> Figure:
    if not records.pairs:
        return Figure("pairs", UNKNOWN, "made at the end of collect")
    return Figure("pairs", f"{len(records.pairs):,}", "to train on")


def _speed(sight: Sight) -> Figure:
    """Return the tokens per second: those trained on while pairs are trained on, and otherwise those generated."""
    steps = sight.records.steps[-LAST_STEPS:]
    if sight.stage == "train" and steps:
        per_s = sum(step.n_tokens for step in steps) / (sum(step.wall_s for step in steps) or 1.0)
        return Figure("tokens/s", _rate(per_s), f"supervised, in the last {len(steps)} steps")
    return Figure("tokens/s", _rate(sight.tokens_per_s), "generated, over the last minute")


def _rate(per_s: float | None) -> str:
    """Return a rate with three significant digits, or as a whole number from 100 on."""
    return number(per_s) if per_s is None or per_s < 100 else f"{per_s:,.0f}"


def _memory(sight: Sight) -> Figure:
    """Return the memory that all processes of the run take now, beside the budget of the stage."""
    if sight.memory is None or sight.stage is None:
        return Figure("memory", UNKNOWN, "of all its processes")
    budget = gigabytes(budget_bytes(sight.records.config, sight.stage))
    return Figure("memory", f"{gigabytes(sight.memory.n_bytes)} GB", f"of {budget} GB allowed")
