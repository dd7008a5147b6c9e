"""Provide what the commands ``run``, ``collect``, ``train``, ``eval`` and ``estimate`` share: their options, and a session.

A session is one call of such a command. It holds the settings and options of the call, and has a method for each step that
several of these commands take, such as opening the run or checking the sandbox.

    @stage_command("collect", "collect", "train", "sandbox", "budget")  # the command's name, then sections of the settings
    def collect_command(session: Session) -> None:
        ...  # its docstring is the help of the command
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlx_selfdebug.cli import options
from mlx_selfdebug.cli.progress import progress
from mlx_selfdebug.cli.sandbox import require_sandbox
from mlx_selfdebug.cli.supervise import MAX_RESTARTS, Death, end_with_parent, process_command, supervise
from mlx_selfdebug.config import Config, Resolved, flatten, load_config
from mlx_selfdebug.distributed import ALONE, Group, join, launched_rank
from mlx_selfdebug.progress import Progress
from mlx_selfdebug.store.run import folder_of_rank

if TYPE_CHECKING:
    from mlx_selfdebug.models.load import Model
    from mlx_selfdebug.models.resolve import ResolvedModel
    from mlx_selfdebug.store import Run
    from mlx_selfdebug.tasks import TaskSet

STAGES: Mapping[str, str] = {"collect": "collect", "train": "train", "eval": "evaluate"}
"""The commands that are stages of a run, in their order, and the name under which a run stores each stage."""
Body = Callable[["Session"], int | None]
"""A function that does what a command does, and returns the exit code or None."""
Decorator = Callable[[Any], Any]
"""A decorator of click, such as an option."""


def stage_command(name: str, *sections: str, more: Sequence[Decorator] = ()) -> Callable[[Body], click.Command]:
    """Return a decorator that turns a function of a session into the command ``name``.

    The command has the options that all stages share, an option for each setting of ``sections``, and the options in ``more``.
    The docstring of the function is the help of the command.
    """

    def decorate(body: Body) -> click.Command:
        def command(
            run_path: Path,
            config_file: Path | None,
            dry_run: bool,
            as_json: bool,
            quiet: bool,
            watched: bool,
            n_deaths: int,
            allow_weak_sandbox: bool = False,
            adapters: tuple[str, ...] = (),
            **values: Any,
        ) -> int:
            if not watched:  # A watched process is given the folder of its rank.
                run_path = folder_of_rank(run_path, launched_rank() or 0)
            resolved = options.resolve_for(run_path, config_file, values, watched=watched)
            if dry_run:
                click.echo(options.show_settings(resolved))
                return 0
            flags = _Flags(
                as_json=as_json,
                quiet=quiet,
                allow_weak_sandbox=allow_weak_sandbox,
                watched=watched,
                n_deaths=n_deaths,
                adapters=adapters,
            )
            session = Session(run_path, resolved, flags)
            if "track" in sections:
                session.require_trackers()
            return body(session) or 0

        command.__doc__ = body.__doc__
        # As with decorators that are stacked, the option that is added last stands first in the help.
        sandboxed = [options.weak_sandbox_option] if "sandbox" in sections else []
        for option in (options.debug_option, options.quiet_option, options.json_option, options.dry_run_option,
                       options.watched_option, options.deaths_option, *sandboxed, *more,
                       options.setting_options(*sections), options.config_option, options.run_option):  # fmt: skip
            command = option(command)
        return click.command(name)(command)

    return decorate


@dataclass(frozen=True)
class _Flags:
    """The options of a stage command that are not settings."""

    as_json: bool
    """Whether stdout carries only JSON."""
    quiet: bool
    """Whether no progress is shown."""
    allow_weak_sandbox: bool
    """Whether programs of a model are run even where they cannot be fully confined."""
    watched: bool
    """Whether another process of this package supervises this one. The supervising process makes all announcements."""
    n_deaths: int
    """How often the process of this stage has died before. Training computes less at a time with each death."""
    adapters: Sequence[str] = ()
    """Further adapters to evaluate, each as NAME=FOLDER."""


class Session:
    """One call of a stage command: its settings and options, and the steps that several commands share."""

    def __init__(self, run_path: Path, resolved: Resolved, flags: _Flags) -> None:
        self.run_path = run_path
        self.resolved = resolved
        self.flags = flags
        self.as_json = flags.as_json
        self.group: Group = ALONE
        """The machines that compute this stage together. Before ``join``, it is this machine alone."""
        self.is_first = not launched_rank()
        """Whether this is the only process, or that of rank 0. The others print nothing but errors."""
        self.progress: Progress = progress(quiet=flags.quiet or not self.is_first)
        self.allow_weak_sandbox = flags.allow_weak_sandbox
        self._resolved_model: ResolvedModel | None = None
        if flags.watched:
            from mlx_selfdebug.memory import set_watcher

            end_with_parent()
            set_watcher(os.getppid())

    @property
    def config(self) -> Config:
        """The settings of this call."""
        return self.resolved.config

    def say(self, text: str) -> None:
        """Print a text for a person: to stdout, or to stderr if stdout carries JSON."""
        if self.is_first:
            click.echo(text, err=self.as_json)

    def announce(self) -> None:
        """Print the run, the model, the preset and the seed, unless the supervising process has done so."""
        if self.flags.watched:
            return
        self.say(
            f"run {self.run_path} · model {self.config.model} · preset {self.config.preset} · seed {self.config.seed}"
        )
        if self.resolved.origins["preset"] == "default" and self.config.preset == "cpu":
            self.say("MLX runs on the CPU here, so the smaller preset `cpu` was chosen. --preset full runs everything.")

    def require_sandbox(self) -> None:
        """Raise SandboxError if programs cannot be confined as required, unless the supervising process has checked this."""
        if not self.flags.watched:
            require_sandbox(self.say, allow_weak=self.allow_weak_sandbox)

    def require_trackers(self) -> None:
        """Raise UsageError if a tracker does not exist or is not installed, unless the supervising process has checked this."""
        if self.config.track and not self.flags.watched:
            from mlx_selfdebug.tracking import require_trackers

            require_trackers(self.config.track)

    def tracking(self) -> AbstractContextManager[None]:
        """Send the figures of the run to its trackers inside the block, unless the supervising process or rank 0 does so."""
        if not self.config.track or self.flags.watched or not self.is_first:
            return nullcontext()
        from mlx_selfdebug.tracking import track

        return track(self.run_path, self.config.track)

    def stage(self, name: str) -> int:
        """Run a stage in a process of its own, start it again if it dies, and return its exit code."""
        flags = {
            "--quiet": self.flags.quiet,
            "--json": self.as_json,
            "--debug": "--debug" in sys.argv,
            "--allow-weak-sandbox": self.allow_weak_sandbox,
        }
        arguments = [flag for flag, is_set in flags.items() if is_set]
        return supervise(
            lambda n_deaths: process_command(name, self.run_path, n_deaths, arguments),
            self.run_path,
            on_death=lambda n, death: self._report_death(STAGES[name], n, death),
            # If a rank dies, mlx.launch ends the others. They are all started again together, by the user.
            restarts=MAX_RESTARTS if launched_rank() is None else 0,
        )

    def stages(self) -> int:
        """Run all stages, one after the other, and return the exit code of the first that fails, or 0."""
        for name in STAGES:
            if code := self.stage(name):
                return code
        return 0

    def _report_death(self, stage: str, n: int, death: Death) -> None:
        """Store and print the n-th death of the process of ``stage``. Only deaths in this call of the command are counted."""
        from mlx_selfdebug.store import Family, Run

        with Run(self.run_path) as run:
            run.remember(Family.DEATH.key(f"{stage}.{n}.{int(time.time())}"), vars(death))
        # After the last death, the error of ``supervise`` tells what to do.
        outlook = "; the stage goes on from what is stored" if n <= MAX_RESTARTS else ""
        click.echo(f"{stage}: its process {death}{outlook}", err=True)

    def tasks(self, name: str, limit: int) -> TaskSet:
        """Load a task set, and return ``limit`` tasks of it, evenly spread, or all if ``limit`` is 0."""
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

    def join(self) -> None:
        """Wait for the other machines, if ``mlx.launch`` started this process as one of several.

        Raises DistributedError if they run other versions.
        """
        from mlx_selfdebug.machine.versions import versions

        self.group = join()
        if self.group.size > 1:
            self.group.require_same({f"version of {name}": version for name, version in versions().items()})
            # A machine that joins later does not have the settings of the run yet, so all take the settings of rank 0.
            settings = self.group.agree(lambda: flatten(self.config))
            self.resolved = replace(self.resolved, config=load_config(overrides=settings, environment={}))

    def open(self) -> Run:
        """Open the run, or create it. Raises ModelError or UsageError if there is no such model."""
        from mlx_selfdebug.store import Run

        # The model is looked up first, so that a wrong name leaves no run folder behind.
        self._resolve_model()
        run = self.group.together(lambda: Run(self.run_path, self.config))
        try:
            run.work_with(self.group)
        except BaseException:
            run.close()
            raise
        return run

    def _resolve_model(self) -> ResolvedModel:
        """Return the model of the run, which is looked up once."""
        if self._resolved_model is None:
            from mlx_selfdebug.distributed.model import resolve_for_group

            self._resolved_model = resolve_for_group(self.group, self.config.model, self.progress)
        return self._resolved_model

    def open_existing(self) -> Run:
        """Open the run for a stage that needs an earlier one. Raises StoreError if there is no run."""
        from mlx_selfdebug.errors import StoreError

        # Of several machines, some may be new to the run.
        if self.is_first and not (self.run_path / "config.toml").exists():
            raise StoreError(f"there is no run in {self.run_path}", hint="start one with: mlx-selfdebug collect")
        return self.open()

    def model(self) -> Model:
        """Load the model of the run. Raises ModelError if it cannot be loaded."""
        from mlx_selfdebug.models.load import load_model

        return load_model(self._resolve_model(), progress=self.progress)
