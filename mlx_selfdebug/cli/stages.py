"""Define the commands ``run``, ``collect``, ``train`` and ``eval``. Each goes on from what the run has stored."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlx_selfdebug.cli import options
from mlx_selfdebug.cli.progress import progress
from mlx_selfdebug.cli.sandbox import require_sandbox
from mlx_selfdebug.cli.supervise import Death, end_with_parent, process_command, supervise
from mlx_selfdebug.config import Config, Resolved
from mlx_selfdebug.progress import Progress

if TYPE_CHECKING:
    from mlx_selfdebug.evaluation.result import Result
    from mlx_selfdebug.models.load import Model
    from mlx_selfdebug.store import Run
    from mlx_selfdebug.tasks import TaskSet
    from mlx_selfdebug.training.adapter import Adapter


STAGES: Mapping[str, str] = {"collect": "collect", "train": "train", "eval": "evaluate"}
"""The commands that are stages of a run, in their order, and the names under which runs keep the stages' records."""
Body = Callable[["Session"], int | None]
Decorator = Callable[[Any], Any]


def stage_command(name: str, *sections: str, more: Sequence[Decorator] = ()) -> Callable[[Body], click.Command]:
    """Return a decorator that makes a command of a function whose argument is a session.

    The command has the shared options, the settings of ``sections`` and the options in ``more``.
    """

    def decorate(body: Body) -> click.Command:
        def command(
            run_path: Path,
            config_file: Path | None,
            dry_run: bool,
            as_json: bool,
            quiet: bool,
            watched: bool,
            smaller: int,
            allow_weak_sandbox: bool = False,
            adapters: tuple[str, ...] = (),
            **values: Any,
        ) -> int:
            resolved = options.resolve_for(run_path, config_file, values, watched=watched)
            if dry_run:
                click.echo(options.show_settings(resolved))
                return 0
            flags = _Flags(as_json, quiet, allow_weak_sandbox, watched, smaller, adapters)
            return body(Session(run_path, resolved, flags)) or 0

        command.__doc__ = body.__doc__
        sandboxed = [options.weak_sandbox_option] if "sandbox" in sections else []
        for option in (options.debug_option, options.quiet_option, options.json_option, options.dry_run_option,
                       options.watched_option, options.smaller_option, *sandboxed, *more,
                       options.setting_options(*sections), options.config_option, options.run_option):  # fmt: skip
            command = option(command)
        return click.command(name)(command)

    return decorate


@dataclass(frozen=True)
class _Flags:
    """The options of a stage command that are not settings."""

    as_json: bool
    quiet: bool
    allow_weak_sandbox: bool
    watched: bool
    """Whether this process is a stage that another process of this package supervises. That one makes all announcements."""
    smaller: int
    """How often the stage has died before."""
    adapters: Sequence[str] = ()
    """Other adapters to evaluate, each as NAME=FOLDER."""


class Session:
    """One call of a stage command: its settings and options, and the steps that several stages share."""

    def __init__(self, run_path: Path, resolved: Resolved, flags: _Flags) -> None:
        self.run_path = run_path
        self.resolved = resolved
        self.flags = flags
        self.as_json = flags.as_json
        self.progress: Progress = progress(quiet=flags.quiet)
        self.allow_weak_sandbox = flags.allow_weak_sandbox
        if flags.watched:
            from mlx_selfdebug.memory import set_watcher

            end_with_parent()
            set_watcher(os.getppid())

    @property
    def config(self) -> Config:
        return self.resolved.config

    def say(self, text: str) -> None:
        """Print a text for a person: to stdout, or to stderr if stdout carries JSON."""
        click.echo(text, err=self.as_json)

    def announce(self) -> None:
        """Print the run, model, preset and seed, unless the supervising process has done so."""
        if self.flags.watched:
            return
        self.say(
            f"run {self.run_path} · model {self.config.model} · preset {self.config.preset} · seed {self.config.seed}"
        )
        if self.resolved.origins["preset"] == "default" and self.config.preset == "cpu":
            self.say("MLX runs on the CPU here, so the smaller preset `cpu` was chosen. --preset full runs everything.")

    def require_sandbox(self) -> None:
        if not self.flags.watched:
            require_sandbox(self.say, allow_weak=self.allow_weak_sandbox)

    def stage(self, name: str) -> int:
        """Run a stage in a process of its own, start it again if it dies, and return its exit code."""
        arguments = [*(["--quiet"] if self.flags.quiet else []), *(["--json"] if self.as_json else [])]
        arguments += ["--debug"] if "--debug" in sys.argv else []
        if self.allow_weak_sandbox:
            arguments.append("--allow-weak-sandbox")
        return supervise(
            lambda starts: process_command(name, self.run_path, starts, arguments),
            self.run_path,
            died=lambda n, death: self._died(STAGES[name], n, death),
        )

    def _died(self, stage: str, n: int, death: Death) -> None:
        from mlx_selfdebug.store import Family, Run

        with Run(self.run_path) as run:
            run.remember(Family.DEATH.key(f"{stage}.{n}.{int(time.time())}"), vars(death))
        click.echo(f"{stage}: its process {death}; the stage goes on from what is stored", err=True)

    def tasks(self, name: str, limit: int) -> TaskSet:
        from mlx_selfdebug.tasks import load_tasks

        return load_tasks(name).spread(limit)

    def check_evaluation(self) -> None:
        """Check the arms and the source of bugs before any work is done.

        Raises ConfigError for an unknown arm or source, and TaskError if the bugs cannot be obtained.
        """
        from mlx_selfdebug.evaluation.arms import arms_named
        from mlx_selfdebug.evaluation.bugs import require_bug_source

        arms_named(self.config.eval.arms)
        require_bug_source(self.config.eval.bugs)

    def open(self) -> Run:
        """Open the run, or create it."""
        from mlx_selfdebug.models.resolve import resolve_model
        from mlx_selfdebug.store import Run

        # The model is looked up first, so that a wrong name does not leave a run folder behind.
        resolve_model(self.config.model, progress=self.progress)
        return Run(self.run_path, self.config)

    def open_existing(self) -> Run:
        """Open the run for a stage that needs an earlier one. Raises StoreError if there is no run."""
        from mlx_selfdebug.errors import StoreError

        if not (self.run_path / "config.toml").exists():
            raise StoreError(f"there is no run in {self.run_path}", hint="start one with: mlx-selfdebug collect")
        return self.open()

    def model(self) -> Model:
        from mlx_selfdebug.models.load import load_model

        return load_model(self.config.model, progress=self.progress)


def _collect(session: Session, run: Run, model: Model) -> None:
    from mlx_selfdebug.stages.collect import collect
    from mlx_selfdebug.values.pair import KINDS

    tasks = session.tasks(session.config.collect.tasks, session.config.collect.limit)
    attempts = collect(run, model, tasks, progress=session.progress, allow_weak_sandbox=session.allow_weak_sandbox)
    solved = len({a.task_id for a in attempts if a.passed})
    kinds = [pair.kind for pair in run.pairs()]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in KINDS)
    passed = sum(a.passed for a in attempts)
    session.say(
        f"collect: {len(attempts)} attempts on {len(tasks)} tasks, {passed} passed; {solved} tasks solved; pairs: {counts}"
    )


def _train(session: Session, run: Run, model: Model) -> Adapter:
    from mlx_selfdebug.stages.train import train
    from mlx_selfdebug.store import Key

    adapter = train(
        run,
        model,
        progress=session.progress,
        allow_weak_sandbox=session.allow_weak_sandbox,
        smaller=session.flags.smaller,
    )
    if steps := run.steps():
        session.say(
            f"train: {len(steps)} steps, loss {steps[0].loss:.3f} -> {steps[-1].loss:.3f}, adapter in {adapter.path}"
        )
    if ending := run.facts().stored.get(Key.REWARD_ENDING):
        made = run.reward_steps()
        session.say(
            f"rewards: {ending['steps']} steps, mean reward {made[0].reward:.2f} -> {made[-1].reward:.2f}; ended because "
            f"{ending['reason']}; kept the adapter after {ending['kept']} steps"
        )
    return adapter


def _evaluate(session: Session, run: Run, model: Model, adapter: Adapter, others: Mapping[str, Adapter]) -> Result:
    from mlx_selfdebug.stages.evaluate import evaluate

    tasks = session.tasks(session.config.eval.tasks, session.config.eval.limit)
    result = evaluate(
        run,
        model,
        adapter,
        tasks,
        others=others,
        progress=session.progress,
        allow_weak_sandbox=session.allow_weak_sandbox,
    )
    bugs = f" and {result.bugs.n} bugs ({session.config.eval.bugs})" if result.bugs else ""
    session.say(
        f"eval: {len(tasks)} tasks of {session.config.eval.tasks}{bugs}; repairs see the public checks, "
        "and the hidden checks score them\n"
    )
    session.say(str(result))
    return result


def _adapters(named: Sequence[str]) -> dict[str, Adapter]:
    """Open the adapters given as NAME=FOLDER, where the folder is a run's or an adapter's, and return them by name.

    Raises UsageError for a text of another form, and ModelError for a folder without an adapter.
    """
    from mlx_selfdebug.errors import UsageError
    from mlx_selfdebug.training.adapter import open_adapter

    adapters = {}
    for text in named:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise UsageError(f"--adapter {text}: the form must be NAME=FOLDER, as in seed-1=runs/seed-1")
        # A shell expands a ~ at the beginning of a word alone.
        path = Path(os.path.expanduser(folder))
        adapters[name] = open_adapter(path / "adapter" if (path / "adapter").is_dir() else path)
    return adapters


def _show(session: Session, run: Run) -> None:
    """Print the summary of a finished run."""
    from mlx_selfdebug.evaluation.result import read_result
    from mlx_selfdebug.reporting.summary import read_summary, summary_text

    summary = read_summary(run.path)
    text = summary_text(summary, read_result(run))
    session.say(f"This run is finished. To start another, give its folder with --run.\n\n{text}")
    if session.as_json:
        click.echo(json.dumps(summary))


def _finish(session: Session, run: Run, result: Result | None) -> None:
    from mlx_selfdebug.reporting.model_card import write_model_card
    from mlx_selfdebug.reporting.report import write_report
    from mlx_selfdebug.reporting.summary import stage_table, write_summary

    write_model_card(run)
    report = write_report(run)
    summary = write_summary(run, result)
    session.say("\n" + stage_table(summary["stages"]))
    session.say(f"\nreport:  {report}\nsummary: {run.summary_path}")
    if session.as_json:
        click.echo(json.dumps(summary))


@stage_command("run", "collect", "train", "eval", "sandbox", "budget")
def run_command(session: Session) -> int:
    """Collect, train and evaluate: the whole loop. `make train` runs this.

    It goes on from where an earlier call stopped. A finished run is shown, not computed again.

    \b
    Examples:
      mlx-selfdebug run
      mlx-selfdebug run --run runs/small --preset demo
      mlx-selfdebug run --run runs/mine --collect-tasks my_tasks.jsonl
    """
    session.announce()
    session.tasks(session.config.collect.tasks, session.config.collect.limit)
    session.tasks(session.config.eval.tasks, session.config.eval.limit)
    session.check_evaluation()
    session.require_sandbox()
    with session.open() as run:
        if run.summary_path.exists():
            _show(session, run)
            return 0
    for command in STAGES:
        if code := session.stage(command):
            return code
    return 0


@stage_command("collect", "collect", "train", "sandbox", "budget")
def collect_command(session: Session) -> None:
    """Draft, test and repair on the training tasks, and make the training pairs.

    The train options are accepted here because they decide the mix of pairs, and a run keeps the settings it was begun with.

    \b
    Example:
      mlx-selfdebug collect --run runs/mine --collect-tasks my_tasks.jsonl
      mlx-selfdebug runs pairs runs/mine --output pairs.jsonl
    """
    session.announce()
    session.tasks(session.config.collect.tasks, session.config.collect.limit)
    session.require_sandbox()
    with session.open() as run:
        _collect(session, run, session.model())


@stage_command("train", "train", "sandbox", "budget")
def train_command(session: Session) -> int:
    """Train a LoRA adapter on a run's pairs, and then by rewards if --train-reward-steps says so.

    Rewards: completions are drawn from the model as it is and tested; what passes becomes more likely, and the rest less. The
    training has a process of its own. If that dies, it is started again from its last checkpoint.

    \b
    Example:
      mlx-selfdebug train --run runs/mine
      mlx-selfdebug train --run runs/by-rewards --train-reward-steps 100
    """
    session.announce()
    session.require_sandbox()
    with session.open_existing() as run:
        if session.flags.watched:
            _train(session, run, session.model())
    return 0 if session.flags.watched else session.stage("train")


@stage_command(
    "eval",
    "eval",
    "sandbox",
    "budget",
    more=[
        click.option(
            "--adapter",
            "adapters",
            multiple=True,
            metavar="NAME=FOLDER",
            help="another adapter of the same base, under a name; the folder is a run's or an adapter's (repeatable)",
        )
    ],
)
def eval_command(session: Session) -> None:
    """Compare the base model and the adapter on held-out tasks, and write the report.

    Adapters given with --adapter run the same arms, for example those of other training seeds or one trained on direct pairs
    alone (see `runs branch`).

    \b
    Examples:
      mlx-selfdebug eval --run runs/mine
      mlx-selfdebug eval --run runs/mine --adapter seed-1=runs/seed-1
    """
    from mlx_selfdebug.training.adapter import open_adapter

    others = _adapters(session.flags.adapters)
    session.announce()
    session.require_sandbox()
    with session.open_existing() as run:
        _finish(session, run, _evaluate(session, run, session.model(), open_adapter(run.adapter_path), others))
