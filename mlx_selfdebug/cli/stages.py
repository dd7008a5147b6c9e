"""Define the commands ``run``, ``collect``, ``train`` and ``eval``. Each goes on from what the run has stored."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlx_selfdebug.cli.paths import adapter_folder
from mlx_selfdebug.cli.session import Session, stage_command
from mlx_selfdebug.distributed import launched_rank

if TYPE_CHECKING:
    from mlx_selfdebug.evaluation.result import Result
    from mlx_selfdebug.models.load import Model
    from mlx_selfdebug.store import Run
    from mlx_selfdebug.training.adapter import Adapter


def _collect(session: Session, run: Run, model: Model) -> None:
    """Collect the attempts and the pairs of a run, and print their numbers."""
    from mlx_selfdebug.stages.collect import collect
    from mlx_selfdebug.values.pair import KINDS

    tasks = session.tasks(session.config.collect.tasks, session.config.collect.limit)
    attempts = collect(run, model, tasks, progress=session.progress, allow_weak_sandbox=session.allow_weak_sandbox)
    n_solved = len({attempt.task_id for attempt in attempts if attempt.passed})
    kinds = [pair.kind for pair in run.pairs()]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in KINDS)
    n_passed = sum(attempt.passed for attempt in attempts)
    session.say(
        f"collect: {len(attempts)} attempts on {len(tasks)} tasks, {n_passed} passed; {n_solved} tasks solved; pairs: {counts}"
    )


def _train(session: Session, run: Run, model: Model) -> Adapter:
    """Train the adapter of a run, print how the training went, and return the adapter."""
    from mlx_selfdebug.stages.train import train
    from mlx_selfdebug.store import Key

    adapter = train(
        run,
        model,
        progress=session.progress,
        allow_weak_sandbox=session.allow_weak_sandbox,
        skip_shapes=session.flags.n_deaths,
    )
    if steps := run.steps():
        session.say(
            f"train: {len(steps)} steps, loss {steps[0].loss:.3f} -> {steps[-1].loss:.3f}, adapter in {adapter.path}"
        )
    if ending := run.facts().stored.get(Key.REWARD_ENDING):
        reward_steps = run.reward_steps()
        session.say(
            f"rewards: {ending['steps']} steps, mean reward {reward_steps[0].reward:.2f} -> {reward_steps[-1].reward:.2f}; "
            f"ended because {ending['reason']}; kept the adapter after {ending['kept']} steps"
        )
    return adapter


def _evaluate(session: Session, run: Run, model: Model, adapter: Adapter, others: Mapping[str, Adapter]) -> Result:
    """Evaluate the base, the adapter of a run and ``others``, print the result and return it."""
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


def _require_trainable(run: Run) -> None:
    """Raise TrainingError if a run can never be trained, as one without pairs. The error says what to do instead."""
    from mlx_selfdebug.errors import TrainingError
    from mlx_selfdebug.training.dead_end import dead_end

    if end := dead_end(run):
        raise TrainingError(f"{run.path} {end.what}", hint=end.instead)


def _adapters(named: Sequence[str]) -> dict[str, Adapter]:
    """Open adapters that are given as NAME=FOLDER, and return them by name. The folder is that of a run or of an adapter.

    Raises UsageError for a text of another form, and ModelError for a folder without an adapter.
    """
    from mlx_selfdebug.errors import UsageError
    from mlx_selfdebug.training.adapter import open_adapter

    adapters = {}
    for text in named:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise UsageError(f"--adapter {text}: the form must be NAME=FOLDER, as in seed-1=runs/seed-1")
        # A shell expands ~ only at the beginning of a word, and here it stands behind the =.
        adapters[name] = open_adapter(adapter_folder(Path(os.path.expanduser(folder))))
    return adapters


def _show(session: Session, run: Run) -> None:
    """Print the summary of a finished run."""
    from mlx_selfdebug.evaluation.result import read_result
    from mlx_selfdebug.reporting.summary import read_summary, summary_text

    summary = read_summary(run)
    text = summary_text(summary, read_result(run))
    session.say(f"This run is finished. To start another, give its folder with --run.\n\n{text}")
    if session.as_json:
        click.echo(json.dumps(summary))


def _finish(session: Session, run: Run, result: Result | None) -> None:
    """Write the model card, the report and the summary of a run, and print where they are."""
    from mlx_selfdebug.reporting.model_card import write_model_card
    from mlx_selfdebug.reporting.report import write_report
    from mlx_selfdebug.reporting.summary import stage_table, write_summary

    if not session.is_first:
        return
    write_model_card(run)
    report = write_report(run)
    summary = write_summary(run, result)
    session.say("\n" + stage_table(summary["stages"]))
    session.say(f"\nreport:  {report}\nsummary: {run.summary_path}")
    if session.as_json:
        click.echo(json.dumps(summary))


@stage_command("run", "collect", "train", "eval", "sandbox", "budget", "track")
def run_command(session: Session) -> int:
    """Collect, train and evaluate: the whole loop. `make train` runs this.

    The run goes on from where an earlier call stopped. A finished run is shown, and not computed again. A run without pairs to
    train on cannot go on, and the error says what to change. `mlx-selfdebug runs watch` shows a run under way as a page in a
    browser.

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
    if not session.is_first:
        return session.stages()
    with session.open() as run:
        # Several machines go through the stages in any case, since only rank 0 has the summary.
        if run.summary_path.exists() and launched_rank() is None:
            _show(session, run)
            return 0
        _require_trainable(run)
    with session.tracking():
        return session.stages()


@stage_command("collect", "collect", "train", "sandbox", "budget", "track")
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
    session.join()
    with session.open() as run, session.tracking():
        _collect(session, run, session.model())


@stage_command("train", "train", "sandbox", "budget", "track")
def train_command(session: Session) -> int:
    """Train a LoRA adapter on a run's pairs, and then by rewards if --train-reward-steps says so.

    In training by rewards, completions are drawn from the current model and tested. Those that pass become more likely, and the
    others less likely. The training has a process of its own. If the process dies, it is started again from its last checkpoint.

    \b
    Example:
      mlx-selfdebug train --run runs/mine
      mlx-selfdebug train --run runs/by-rewards --train-reward-steps 100
    """
    session.announce()
    session.require_sandbox()
    if not session.flags.watched:
        if session.is_first:
            session.open_existing().close()
        with session.tracking():
            return session.stage("train")
    session.join()
    with session.open_existing() as run:
        _train(session, run, session.model())
    return 0


@stage_command(
    "eval",
    "eval",
    "sandbox",
    "budget",
    "track",
    more=[
        click.option(
            "--adapter",
            "adapters",
            multiple=True,
            metavar="NAME=FOLDER",
            help="another adapter of the same base, with a name; the folder is that of a run, or of an adapter of mlx-lm or PEFT "
            "(repeatable)",
        )
    ],
)
def eval_command(session: Session) -> None:
    """Compare the base model and the adapter on held-out tasks, and write the report.

    Adapters that are given with --adapter run the same arms. They may come from other training seeds, or from training on direct
    pairs alone (see `runs branch`).

    \b
    Examples:
      mlx-selfdebug eval --run runs/mine
      mlx-selfdebug eval --run runs/mine --adapter seed-1=runs/seed-1
    """
    from mlx_selfdebug.distributed.files import share_folder
    from mlx_selfdebug.training.adapter import open_adapter

    others = _adapters(session.flags.adapters)
    session.announce()
    session.require_sandbox()
    session.join()
    with session.open_existing() as run, session.tracking():
        _require_trainable(run)
        share_folder(run.group, run.adapter_path)
        _finish(session, run, _evaluate(session, run, session.model(), open_adapter(run.adapter_path), others))
