"""Define the command ``fix``, which repairs a function of a real project until its tests pass."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlx_selfdebug.cli import options
from mlx_selfdebug.cli.completers import complete_model
from mlx_selfdebug.cli.paths import PathType, adapter_folder
from mlx_selfdebug.config import ENV_PREFIX
from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.models.peft_settings import PEFT_PICKLE, PEFT_WEIGHTS

if TYPE_CHECKING:
    from mlx_selfdebug.fixing import FixResult, FixSettings, Project
    from mlx_selfdebug.models.load import Model

ADAPTER_WEIGHTS = ("adapters.safetensors", PEFT_WEIGHTS, PEFT_PICKLE)
"""The names that an adapter's file of weights has in mlx-lm's format and in PEFT's. The last one is refused where it is opened."""
MAX_SAVED_NAMES = 5
"""The largest number of saved files that --watch names."""
STATUS_WIDTH = 78
"""The width of the status line in characters. A shorter text is padded, so that nothing of the one before stays visible."""


@click.command("fix")
@click.argument("paths", nargs=-1, type=PathType())
@click.option("--test", metavar="COMMAND", default="", help='command that tests the project, such as "pytest -q tests"')
@click.option(
    "--python",
    metavar="PATH",
    default="",
    help="interpreter of the project  [default: that of its virtual environment]",
)
@click.option(
    "--model",
    metavar="NAME",
    envvar=f"{ENV_PREFIX}MODEL",
    default="qwen2.5-coder-0.5b",
    show_default=True,
    shell_complete=complete_model,
    help="model that reads and writes",
)
@click.option(
    "--adapter", type=PathType(file_okay=False), metavar="FOLDER", help="run or adapter to use with the model"
)
@click.option(
    "--attempts", type=click.IntRange(0), default=4, show_default=True, help="repairs and drafts of each function"
)
@click.option(
    "--seconds",
    type=click.FloatRange(1),
    default=120.0,
    show_default=True,
    help="time after which nothing new is tried",
)
@click.option(
    "--test-seconds", type=click.FloatRange(1), default=30.0, show_default=True, help="time for a single test"
)
@click.option(
    "--test-memory-gb", type=click.FloatRange(0.1), default=4.0, show_default=True, help="memory of the tests together"
)
@click.option("--diff", "as_diff", is_flag=True, help="print the diff alone, as git apply reads it")
@click.option(
    "--apply", "apply", is_flag=True, help="write the change into the file, and keep a copy of what was there"
)
@click.option("--force", is_flag=True, help="with --apply: also if the file has changes that are not committed")
@click.option("--explain", is_flag=True, help="show the suspicious functions as the model reads them")
@click.option("--watch", is_flag=True, help="keep the model loaded, and begin again whenever a file is saved")
@click.option(
    "--read", "readable", multiple=True, type=PathType(), help="further file or folder that the tests may read"
)
@click.option("--allow-network", is_flag=True, help="let the tests use the network of this machine")
@options.weak_sandbox_option
@options.json_option
@options.quiet_option
@options.debug_option
def fix_command(
    paths: tuple[Path, ...],
    test: str,
    python: str,
    model: str,
    adapter: Path | None,
    attempts: int,
    seconds: float,
    test_seconds: float,
    test_memory_gb: float,
    as_diff: bool,
    apply: bool,
    force: bool,
    explain: bool,
    watch: bool,
    readable: tuple[Path, ...],
    allow_network: bool,
    allow_weak_sandbox: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Make failing tests pass with a small, proven change of one function.

    PATHS are the files or folders that may be changed. Without PATHS, any file of the project around the working folder may be. The
    tests run confined in a scratch copy of the project, and nothing is written to the project without --apply. A change counts as a
    fix only if all failing tests pass with it, and all tests that passed before still pass.

    \b
    Examples:
      mlx-selfdebug fix
      mlx-selfdebug fix src/parser.py --test "pytest -q tests/test_parser.py"
      mlx-selfdebug fix --diff | git apply
      mlx-selfdebug fix --apply
      mlx-selfdebug fix --explain --seconds 30
      mlx-selfdebug fix --watch --adapter runs/default

    Exit codes: 0 fixed or nothing to fix, 1 not fixed, 2 usage.
    """
    if sum((as_diff, as_json, watch)) > 1:
        raise UsageError("give only one of --diff, --json and --watch")
    if force and not apply:
        raise UsageError("--force goes with --apply")
    from mlx_selfdebug.fixing import Project

    project = Project.find(paths, test=test, python=python)
    settings = replace(
        _settings(attempts, seconds, test_seconds, test_memory_gb),
        level="none" if allow_weak_sandbox else "full",
        allow_network=allow_network,
        readable=tuple(map(str, readable)),
    )
    output = _Output(as_diff=as_diff, as_json=as_json, explain=explain, apply=apply, force=force)
    with _status_line(quiet) as tell:
        lazy_model = _LazyModel(model, adapter)
        if watch:
            return _watch(project, lazy_model, settings, output, tell)
        result = _fix(project, lazy_model, settings, tell)
    return output.show(result)


def _settings(attempts: int, seconds: float, test_seconds: float, test_memory_gb: float) -> FixSettings:
    """Return the settings that follow from the options of the same names."""
    from mlx_selfdebug.fixing import Effort, FixSettings, SuiteLimits

    limits = SuiteLimits(stall_s=test_seconds, memory_bytes=int(test_memory_gb * 10**9))
    return FixSettings(seconds=seconds, effort=replace(Effort(), repairs=attempts, drafts=attempts), limits=limits)


class _LazyModel:
    """A function that loads a model, with an adapter if there is one, when it is first called. It then keeps the model."""

    def __init__(self, name: str, adapter: Path | None) -> None:
        self._name, self._adapter = name, _adapter_folder(adapter) if adapter else None
        self._loaded: Model | None = None

    def __call__(self) -> Model:
        if self._loaded is None:
            from mlx_selfdebug.models.load import load_model

            self._loaded = load_model(self._name, adapter=self._adapter)
        return self._loaded


def _adapter_folder(path: Path) -> Path:
    """Return the folder of the adapter that ``path`` names. Raises UsageError if it holds no adapter."""
    folder = adapter_folder(path)
    if not any((folder / name).exists() for name in ADAPTER_WEIGHTS):
        raise UsageError(
            f"{path} holds no adapter",
            hint=f"name a run that was trained, or the folder that holds {ADAPTER_WEIGHTS[0]}",
        )
    return folder


def _fix(project: Project, model: _LazyModel, settings: FixSettings, tell: Callable[[str], None]) -> FixResult:
    """Look for a change that fixes the project. ``tell`` is called with what is going on."""
    from mlx_selfdebug.fixing import fix_project

    return fix_project(project, model, settings=settings, tell=tell)


@dataclass(frozen=True)
class _Output:
    """What is printed of a result, and whether its change is applied. The fields are the options of the same names."""

    as_diff: bool
    as_json: bool
    explain: bool
    """Whether the suspicious functions are shown as the model read them."""
    apply: bool
    """Whether the change is written into the file of the project."""
    force: bool
    """Whether a change is applied to a file with uncommitted changes, too."""

    def show(self, result: FixResult) -> int:
        """Print the result, write the change if that is wanted, and return the exit code."""
        if self.as_json:
            click.echo(result.to_json())
        elif self.as_diff:
            click.echo(result.change.diff() if result.fixed and result.change else "", nl=False)
            if not result.fixed:
                click.echo(str(result), err=True)
        else:
            click.echo(str(result))
            if result.others:
                click.echo("--json shows the other changes, too")
        if self.explain:
            for explanation in result.explained:
                self._say(f"\n{explanation}")
        if self.apply and result.fixed and result.change:
            from mlx_selfdebug.fixing import apply_change

            backup = apply_change(result.change, result.project, force=self.force)
            self._say(f"written: {result.change.file.name}; the old file is kept as {backup.name}")
        return int(result.outcome == "not_fixed")

    def _say(self, text: str) -> None:
        """Print a text for a person: to stdout, or to stderr if stdout carries a diff or JSON."""
        click.echo(text, err=self.as_diff or self.as_json)


def _watch(
    project: Project, model: _LazyModel, settings: FixSettings, output: _Output, tell: Callable[[str], None]
) -> int:
    """Fix the project at once and again whenever a file of it is saved, until the user interrupts this."""
    from mlx_selfdebug.fixing.watching import saved_files

    for names in saved_files(project):
        if names:
            click.echo(f"\nsaved: {', '.join(names[:MAX_SAVED_NAMES])}")
        try:
            output.show(_fix(project, model, settings, tell))
        except UsageError as error:  # What was saved may not be ready to be tested.
            click.echo(f"Error: {error}", err=True)
        tell("waiting for a file to be saved; Ctrl-C ends")
    return 0


@contextmanager
def _status_line(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows on stderr what is going on. It is called with texts such as "trying edits: 150".

    In a terminal, each text overwrites the one before it in a single line. Elsewhere, only the part before the colon is printed,
    once per step and on a line of its own.
    """
    is_terminal, last_step = sys.stderr.isatty(), ""

    def tell(words: str) -> None:
        nonlocal last_step
        step = words.partition(":")[0]
        if quiet or (not is_terminal and step == last_step):
            return
        last_step = step
        text = words[:STATUS_WIDTH]
        click.echo(f"\r{text:<{STATUS_WIDTH}}" if is_terminal else step, err=True, nl=not is_terminal)

    try:
        yield tell
    finally:
        if is_terminal and not quiet and last_step:
            click.echo("\r" + " " * STATUS_WIDTH + "\r", err=True, nl=False)
