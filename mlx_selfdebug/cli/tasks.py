"""``tasks``: what can be learned from and measured on."""

from __future__ import annotations

import json
from typing import Any

import click

from mlx_selfdebug.cli import options
from mlx_selfdebug.cli.sandbox import require_sandbox
from mlx_selfdebug.config import SandboxConfig
from mlx_selfdebug.errors import UnknownNameError
from mlx_selfdebug.reporting.columns import columns
from mlx_selfdebug.tasks import Task, load_tasks

SET = click.argument("name", metavar="SET")


@click.group("tasks")
def tasks_command() -> None:
    """List, show and check task sets. SET is a name or a .jsonl file."""


@tasks_command.command("list")
@options.json_option
@options.debug_option
def list_sets(as_json: bool) -> None:
    """The task sets known by name."""
    from mlx_selfdebug.tasks.load import available_sets

    sets = available_sets()
    if as_json:
        click.echo(json.dumps(sets))
    else:
        click.echo(columns([[name, text] for name, text in sets.items()]))


@tasks_command.command("show")
@SET
@click.argument("task_id", metavar="[TASK]", required=False)
@options.json_option
@options.debug_option
def show(name: str, task_id: str | None, as_json: bool) -> None:
    """The tasks of a set, or one task whole.

    \b
    Examples:
      mlx-selfdebug tasks show starter
      mlx-selfdebug tasks show humaneval HumanEval/0
    """
    tasks = load_tasks(name)
    if task_id is None:
        if as_json:
            click.echo(json.dumps([task.id for task in tasks]))
        else:
            click.echo(columns([[task.id, task.entry_point] for task in tasks]))
        return
    if task_id not in tasks.by_id:
        raise UnknownNameError("task", task_id, tasks.by_id)
    task = tasks.by_id[task_id]
    click.echo(json.dumps(_fields(task)) if as_json else _text(task))


def _fields(task: Task) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(task)


def _text(task: Task) -> str:
    parts = [
        ("statement", task.statement),
        ("starter code", task.starter_code),
        ("public checks", task.public.source or "none"),
        ("hidden checks", task.hidden.source),
        ("reference", task.reference or "none"),
    ]
    return f"{task.id} ({task.domain}, from {task.source})\n" + "\n".join(
        f"\n## {name}\n{text.strip()}" for name, text in parts
    )


@tasks_command.command("check")
@SET
@options.weak_sandbox_option
@options.json_option
@options.debug_option
@click.pass_context
def check(ctx: click.Context, name: str, allow_weak_sandbox: bool, as_json: bool) -> None:
    """Do the references pass their own checks, and does a program that does nothing fail?

    Exit code 1 if a task is broken.

    \b
    Example:
      mlx-selfdebug tasks check my_tasks.jsonl
    """
    from mlx_selfdebug.stage import open_runner
    from mlx_selfdebug.tasks.verify import check_tasks

    tasks = load_tasks(name)
    require_sandbox(lambda text: click.echo(text, err=True), allow_weak=allow_weak_sandbox)
    with open_runner(SandboxConfig(), allow_weak_sandbox=allow_weak_sandbox) as runner:
        problems = check_tasks(tasks, runner)
    errors = sum(problem.severity == "error" for problem in problems)
    if as_json:
        click.echo(json.dumps([vars(problem) for problem in problems]))
    else:
        for problem in problems:
            click.echo(f"{problem.severity}: {problem.task_id}: {problem.what}")
        click.echo(f"{len(tasks)} tasks, {errors} broken, {len(problems) - errors} warnings")
    ctx.exit(1 if errors else 0)
