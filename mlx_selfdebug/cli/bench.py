"""Define the command group ``bench``, which measures this machine and compares machines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlx_selfdebug.cli import options
from mlx_selfdebug.cli.groups import Group
from mlx_selfdebug.cli.paths import PathType
from mlx_selfdebug.cli.progress import progress
from mlx_selfdebug.cli.sandbox import require_sandbox
from mlx_selfdebug.config import Config
from mlx_selfdebug.errors import UsageError

if TYPE_CHECKING:
    from mlx_selfdebug.bench.record import Record

RESULTS = "benchmarks/results"
"""The folder of records in a checkout of this repository."""

results_option = click.option(
    "--results",
    type=PathType(file_okay=False),
    default=RESULTS,
    show_default=True,
    help="folder of records, one JSON file per machine and model",
)


class _Bench(Group):
    """The group of bench commands. Without a subcommand it runs ``bench run``, whose options may then be given to ``bench``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        has_subcommand = bool(args) and not args[0].startswith("-")
        if not has_subcommand and args[:1] not in (["-h"], ["--help"]):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group("bench", cls=_Bench)
def bench_command() -> None:
    """Measure this machine stage by stage, and compare machines.

    \b
    Examples:
      mlx-selfdebug bench                     measure all stages, three times each
      mlx-selfdebug bench --submit            also print the row to contribute
      mlx-selfdebug bench --stages load,sample --repeats 5
      mlx-selfdebug bench table               print the tables of all records
      mlx-selfdebug bench sweep               more drafts, other temperatures
    """


@bench_command.command("run")
@click.option("--model", default=Config().model, envvar="MLX_SELFDEBUG_MODEL", show_default=True, help="as for `run`")
@click.option("--stages", default="all", show_default=True, help="stages to measure, separated by commas")
@click.option("--repeats", type=int, default=3, show_default=True, help="repetitions, after a warm-up")
@click.option("--seed", type=int, default=0, show_default=True, help="seed of the work")
@results_option
@click.option("--submit", is_flag=True, help="print the row for the table, and how to contribute it")
@options.weak_sandbox_option
@options.json_option
@options.quiet_option
@options.debug_option
def run(
    model: str,
    stages: str,
    repeats: int,
    seed: int,
    results: Path,
    submit: bool,
    allow_weak_sandbox: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure every stage a few times and keep every trial.

    Measured are time, tokens and test runs per second, the peak memory of the whole process tree and of MLX, the growth of
    swap and, if macmon is on the path, energy. The record is written to --results.

    \b
    Examples:
      mlx-selfdebug bench
      mlx-selfdebug bench --stages load,sample --repeats 5 --json
      mlx-selfdebug bench --submit
    """
    from mlx_selfdebug.bench import bench
    from mlx_selfdebug.bench.stages import STAGES
    from mlx_selfdebug.bench.table import sheet

    def say(text: str) -> None:
        click.echo(text, err=as_json)

    chosen = STAGES if stages == "all" else tuple(name.strip() for name in stages.split(","))
    require_sandbox(say, allow_weak=allow_weak_sandbox)
    record = bench(
        model,
        stages=chosen,
        repeats=repeats,
        seed=seed,
        progress=progress(quiet=quiet),
        allow_weak_sandbox=allow_weak_sandbox,
    )
    path = record.save(results)
    if as_json:
        click.echo(json.dumps(record.to_dict()))
    else:
        click.echo(sheet(record))
    say(f"\n{path}")
    if submit:
        say(_submission(record, path))


def _submission(record: Record, path: Path) -> str:
    """Return the row of a record in the table, and how to contribute it."""
    from mlx_selfdebug.bench.table import head, row
    from mlx_selfdebug.columns import markdown_table

    return (
        f"\n{markdown_table([head(), row(record)])}\n\n"
        f"To contribute this row, put {path.name} into {RESULTS}/ of a checkout, run\n"
        "  mlx-selfdebug bench table --write\n"
        "and open a pull request with both files."
    )


def _numbers(kind: type[float], low: float) -> Callable[[click.Context, click.Parameter, str], list[float]]:
    """Return a callback that reads an option's numbers, which are separated by commas and are ``low`` at least."""

    def read(ctx: click.Context, parameter: click.Parameter, value: str) -> list[float]:  # noqa: ARG001
        try:
            numbers = [kind(part) for part in value.split(",")]
        except ValueError:
            raise click.BadParameter(f"{value!r} is not a list of numbers such as 2,4,8") from None
        if any(not low <= number < float("inf") for number in numbers):
            raise click.BadParameter(f"{value!r}: every number must be {low:g} or more")
        return numbers

    return read


def _places(ctx: click.Context, parameter: click.Parameter, value: str) -> slice:  # noqa: ARG001
    """Read an option such as "40:48"."""
    start, colon, end = value.partition(":")
    if not colon or not all(part.isdigit() or not part for part in (start, end)):
        raise click.BadParameter(f"{value!r} is not a range of places such as 40:48, which are counted from 0")
    return slice(int(start or 0), int(end) if end else None)


@bench_command.command("sweep")
@click.option("--model", default=Config().model, envvar="MLX_SELFDEBUG_MODEL", show_default=True, help="as for `run`")
@click.option("--tasks", default="humaneval", show_default=True, help="task set: a name, NAME:PATH, a file or a folder")
@click.option(
    "--places", default=":", callback=_places, show_default="all", help="tasks by their places, such as 40:48"
)
@click.option("--populations", default="2,4,8,16", callback=_numbers(int, 1), show_default=True, help="drafts per task")
@click.option(
    "--temperatures",
    default="0.2,0.4,0.6,0.8,1.0,1.2",
    callback=_numbers(float, 0),
    show_default=True,
    help="sampling temperatures",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    default=Config().collect.max_tokens,
    show_default=True,
    help="tokens per completion",
)
@click.option("--seed", type=int, default=0, show_default=True, help="seed of the drafts")
@click.option(
    "--run", "run_path", type=PathType(file_okay=False), default="runs/sweep", show_default=True, help="run folder"
)
@options.weak_sandbox_option
@options.json_option
@options.quiet_option
@options.debug_option
def sweep_command(
    model: str,
    tasks: str,
    places: slice,
    populations: list[int],
    temperatures: list[float],
    max_tokens: int,
    seed: int,
    run_path: Path,
    allow_weak_sandbox: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure whether more drafts or another temperature solve more.

    Each task is drafted independently at each temperature, and each failed draft is repaired once. The table has a row for each
    population, which is a number of drafts per task. A sweep that was interrupted goes on when it is called again.

    \b
    Examples:
      mlx-selfdebug bench sweep --tasks humaneval --places 40:48
      mlx-selfdebug bench sweep --populations 4,8 --temperatures 0.4,0.8
    """
    from dataclasses import asdict

    from mlx_selfdebug.bench.sweep import sheet, sweep
    from mlx_selfdebug.config import load_config
    from mlx_selfdebug.models.load import load_model
    from mlx_selfdebug.store import Run
    from mlx_selfdebug.tasks import load_tasks

    require_sandbox(lambda text: click.echo(text, err=True), allow_weak=allow_weak_sandbox)
    task_set = load_tasks(tasks)
    chosen = task_set[places]
    if not chosen:
        raise UsageError(f"--places: {tasks} has {len(task_set)} tasks, and none at these places")
    settings = {"model": model, "seed": seed, "collect.tasks": tasks, "collect.max_tokens": max_tokens}
    with Run(run_path, load_config(overrides=settings)) as run:
        rows = sweep(
            run,
            load_model(model),
            chosen,
            populations=populations,
            temperatures=temperatures,
            progress=progress(quiet=quiet),
            allow_weak_sandbox=allow_weak_sandbox,
        )
    click.echo(json.dumps([asdict(row) for row in rows]) if as_json else sheet(rows))


@bench_command.command("table")
@results_option
@click.option("--write", is_flag=True, help="also write the tables into the folder's README.md")
@options.json_option
@options.debug_option
def table(results: Path, write: bool, as_json: bool) -> None:
    """Print the records of a folder as tables, Apple chips separately.

    \b
    Examples:
      mlx-selfdebug bench table
      mlx-selfdebug bench table --write    also write benchmarks/results/README.md
    """
    from mlx_selfdebug.bench import read_records
    from mlx_selfdebug.bench.table import rewrite, tables
    from mlx_selfdebug.store.files import write_atomically

    records = read_records(results)
    if not records:
        raise UsageError(f"there are no records in {results}", hint="make one with: mlx-selfdebug bench")
    if as_json:
        click.echo(json.dumps([record.to_dict() for record in records]))
        return
    click.echo(tables(records), nl=False)
    if write:
        page = results / "README.md"
        try:
            text = rewrite(page.read_text(encoding="utf-8"), records)
        except (OSError, ValueError) as error:
            raise UsageError(f"{page}: {error}", hint="take this page from a checkout of the repository") from error
        write_atomically(page, text)


@bench_command.command("predict")
@click.option("--model", default=Config().model, envvar="MLX_SELFDEBUG_MODEL", show_default=True, help="as for `run`")
@options.json_option
@options.debug_option
def predict(model: str, as_json: bool) -> None:
    """Compute the speed to expect at most of Apple's chips, M1 to M5.

    The figures follow by arithmetic from what is published about the chips. Nothing is measured. Decoding is bounded by
    bandwidth. Training is an estimate: it assumes the share of the GPU's rate that others measured on an M4.

    \b
    Example:
      mlx-selfdebug bench predict --model qwen3.5-0.8b
    """
    from mlx_selfdebug.bench.sizes import weights_size
    from mlx_selfdebug.bench.table import predictions
    from mlx_selfdebug.columns import columns
    from mlx_selfdebug.models.resolve import resolve_model

    size = weights_size(resolve_model(model).path)
    rows = predictions(size.parameters, size.weights_bytes)
    if as_json:
        click.echo(json.dumps([dict(zip(rows[0], line, strict=True)) for line in rows[1:]]))
        return
    click.echo(f"{model}: {size.parameters / 1e6:.0f} M parameters, {size.weights_bytes / 1e6:.0f} MB per token\n")
    click.echo(columns(rows, right=range(1, 5)))
    click.echo("\nPredictions: bandwidth / weights, and 65 % of the GPU's rate / 4 operations per parameter.")
