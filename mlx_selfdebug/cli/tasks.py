"""Define the command group ``tasks``, which lists, shows, checks, audits and compares task sets."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import click

from mlx_selfdebug.cli import options
from mlx_selfdebug.cli.completers import complete_set
from mlx_selfdebug.cli.groups import Group
from mlx_selfdebug.cli.progress import progress
from mlx_selfdebug.cli.sandbox import require_sandbox
from mlx_selfdebug.columns import columns
from mlx_selfdebug.config import CollectConfig, SandboxConfig
from mlx_selfdebug.errors import UnknownNameError, UsageError
from mlx_selfdebug.tasks import Task, load_tasks

if TYPE_CHECKING:
    from mlx_selfdebug.auditing.audit import TaskAudit
    from mlx_selfdebug.evaluation.overlap import Overlap

set_argument = click.argument("name", metavar="SET", shell_complete=complete_set)


@click.group("tasks", cls=Group)
def tasks_command() -> None:
    """List, show, check, audit and compare task sets.

    SET is a name, NAME:PATH for a published set's file or your own package, a .jsonl file, or a folder of tasks.
    """


@tasks_command.command("list")
@options.json_option
@options.debug_option
def list_sets(as_json: bool) -> None:
    """List the task sets that are known by name.

    \b
    Example:
      mlx-selfdebug tasks list
    """
    from mlx_selfdebug.tasks.load import available_sets

    sets = available_sets()
    if as_json:
        click.echo(json.dumps(sets))
    else:
        click.echo(columns([[name, text] for name, text in sets.items()]))


@tasks_command.command("show")
@set_argument
@click.argument("task_id", metavar="[TASK]", required=False)
@options.json_option
@options.debug_option
def show(name: str, task_id: str | None, as_json: bool) -> None:
    """Show the tasks of a set, or a single task in full.

    \b
    Examples:
      mlx-selfdebug tasks show starter
      mlx-selfdebug tasks show humaneval HumanEval/0
      mlx-selfdebug tasks show functions:my_project
    """
    tasks = load_tasks(name)
    if task_id is None:
        if as_json:
            click.echo(json.dumps([task.id for task in tasks]))
        else:
            click.echo(columns([[task.id, task.entry_point, task.difficulty] for task in tasks]))
        return
    if task_id not in tasks.by_id:
        raise UnknownNameError("task", task_id, tasks.by_id)
    task = tasks.by_id[task_id]
    click.echo(json.dumps(asdict(task)) if as_json else _text(task))


def _text(task: Task) -> str:
    """Return a task in full, for a person to read."""
    parts = [
        ("statement", task.statement),
        ("starter code", task.starter_code),
        ("public checks", task.public.source or "none"),
        ("hidden checks", task.hidden.source),
        ("reference", task.reference or "none"),
        *((f"wrong answer {number}", answer) for number, answer in enumerate(task.wrong, 1)),
    ]
    measured = "" if task.pass_rate is None else f"; {task.difficulty}, {task.pass_rate:.0%} of drafts passed"
    return f"{task.id} ({task.domain}, from {task.source}{measured})\n" + "\n".join(
        f"\n## {name}\n{text.strip()}" for name, text in parts
    )


@tasks_command.command("check")
@click.argument("names", metavar="[SET]...", nargs=-1)
@options.weak_sandbox_option
@options.quiet_option
@options.json_option
@options.debug_option
@click.pass_context
def check(ctx: click.Context, names: tuple[str, ...], allow_weak_sandbox: bool, quiet: bool, as_json: bool) -> None:
    """Check that references pass and that wrong answers fail.

    The reference of each task has to pass the task's own checks. An empty answer and the answers listed as wrong have to fail them.
    Without SET, all sets that come with the package are checked. The exit code is 1 if a task is broken.

    \b
    Examples:
      mlx-selfdebug tasks check
      mlx-selfdebug tasks check my_tasks.jsonl folder_of_tasks/
    """
    from mlx_selfdebug.tasks.load import shipped_sets

    require_sandbox(lambda text: click.echo(text, err=True), allow_weak=allow_weak_sandbox)
    problems: list[dict[str, Any]] = []
    for name in names or shipped_sets():
        try:
            problems += _check_set(name, allow_weak_sandbox=allow_weak_sandbox, quiet=quiet, as_json=as_json)
        except UsageError as error:
            if names:
                raise
            click.echo(f"{name} was not checked: {error} ({error.hint})", err=True)
    if as_json:
        click.echo(json.dumps(problems))
    ctx.exit(1 if any(problem["severity"] == "error" for problem in problems) else 0)


def _check_set(name: str, *, allow_weak_sandbox: bool, quiet: bool, as_json: bool) -> list[dict[str, Any]]:
    """Check one task set, print the problems unless JSON is wanted, and return them as plain data."""
    from mlx_selfdebug.auditing.verify import check_tasks
    from mlx_selfdebug.domains.running import open_runner

    started = time.monotonic()
    tasks = load_tasks(name)
    with open_runner(SandboxConfig(), tasks, allow_weak_sandbox=allow_weak_sandbox) as runner:
        problems = check_tasks(tasks, runner, progress=progress(quiet=quiet))
    errors = sum(problem.severity == "error" for problem in problems)
    if not as_json:
        for problem in problems:
            click.echo(f"{problem.severity}: {problem.task_id}: {problem.what}")
        seconds = time.monotonic() - started
        click.echo(f"{name}: {len(tasks)} tasks, {errors} broken, {len(problems) - errors} warnings, {seconds:.1f} s")
    return [{"set": name, **vars(problem)} for problem in problems]


@tasks_command.command("audit")
@set_argument
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="audit only this many tasks, spread evenly over the set; 0 = all",
)
@click.option(
    "--mutants", type=click.IntRange(min=0), metavar="N", help="maximum mutants per task; 0 = all  [default: 20]"
)
@click.option(
    "--weak-share",
    type=click.FloatRange(0, 1),
    default=CollectConfig().weak_share,
    show_default=True,
    metavar="X",
    help="a task is weak if its checks catch less than this share of the mutants",
)
@options.weak_sandbox_option
@options.quiet_option
@options.json_option
@options.debug_option
@click.pass_context
def audit(
    ctx: click.Context,
    name: str,
    limit: int,
    mutants: int | None,
    weak_share: float,
    allow_weak_sandbox: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Measure how many wrong programs the checks catch.

    Mutants of the references are run against the checks. A mutant that behaves just like the reference cannot be caught, but it
    counts, so the shares are lower bounds. `collect` leaves weak tasks out (see collect.weak_share). The exit code is 1 if a
    reference fails its own checks.

    \b
    Examples:
      mlx-selfdebug tasks audit starter
      mlx-selfdebug tasks audit my_tasks.jsonl --mutants 0 --json
    """
    from mlx_selfdebug.auditing.audit import MUTANTS, audit_tasks, open_audit_runner

    max_mutants = MUTANTS if mutants is None else mutants
    tasks = load_tasks(name).spread(limit)
    require_sandbox(lambda text: click.echo(text, err=True), allow_weak=allow_weak_sandbox)
    with open_audit_runner(SandboxConfig(), allow_weak_sandbox=allow_weak_sandbox) as runner:
        audits = audit_tasks(tasks, runner, mutants=max_mutants, progress=progress(quiet=quiet))
    if as_json:
        click.echo(json.dumps([{**audit.to_dict(), "weak": audit.is_weak(weak_share)} for audit in audits]))
    else:
        click.echo(_audit_text(audits, weak_share))
    ctx.exit(1 if any(audit.problem for audit in audits) else 0)


_CatchField = Literal["caught", "by_hidden", "by_public"]
"""The fields of an audit that say how many mutants were caught: by any checks, by the hidden ones, by the public ones."""


def _audit_text(audits: Sequence[TaskAudit], weak_share: float) -> str:
    """Return a table of the audits, then the problems, then the mutants that pass weak checks, then the totals."""
    weak = [audit for audit in audits if audit.is_weak(weak_share)]
    rows = [["task", "mutants", "caught by hidden", "by public", ""]]
    rows += [_audit_row(audit, "weak" if audit in weak else "") for audit in audits if audit.runs]
    lines = [f"error: {audit.task_id}: {audit.problem}" for audit in audits if audit.problem]
    lines += [f"not audited: {audit.task_id}: {audit.unknown}" for audit in audits if audit.unknown]
    lines += [
        f"passes {audit.task_id}: line {mutant.line}: `{mutant.after}` for `{mutant.before}`"
        for audit in weak
        for mutant in audit.survivors
    ]
    n_mutants = sum(len(audit.runs) for audit in audits)
    lines.append(
        f"{len(audits)} tasks, {n_mutants} mutants: at least {_total_share(audits, 'caught')} caught, "
        f"{_total_share(audits, 'by_hidden')} by hidden checks, {_total_share(audits, 'by_public')} by public ones; "
        f"{len(weak)} tasks weak (below {weak_share:.0%})"
    )
    return "\n".join([columns(rows, right=(1, 2, 3)), *lines])


def _audit_row(audit: TaskAudit, flag: str) -> list[str]:
    """Return the row of a task in the table of audits. ``flag`` is its last cell: "weak" or ""."""
    n = len(audit.runs)
    return [audit.task_id, str(n), _percent(audit.by_hidden, n), _percent(audit.by_public, n), flag]


def _total_share(audits: Sequence[TaskAudit], field: _CatchField) -> str:
    """Return the share of the mutants of all tasks that were caught, such as "87.5%".

    ``field`` says by which checks. A task that has no such checks does not count; its field is None.
    """
    counted = [audit for audit in audits if audit.runs and getattr(audit, field) is not None]
    return _percent(sum(getattr(audit, field) for audit in counted), sum(len(audit.runs) for audit in counted))


def _percent(part: int | None, whole: int) -> str:
    return "-" if part is None or not whole else f"{part / whole:.1%}"


@tasks_command.command("overlap")
@click.argument("train", metavar="SET_A")
@click.argument("test", metavar="SET_B")
@click.option(
    "--above",
    type=click.FloatRange(0, 1),
    metavar="X",
    help="list pairs that are at least this similar  [default: 0.5]",
)
@options.json_option
@options.debug_option
def overlap(train: str, test: str, above: float | None, as_json: bool) -> None:
    """Find tasks of SET_A that resemble tasks of SET_B.

    SET_A is meant for training and SET_B for testing. Two things are compared: the runs of five words or code tokens in the tasks,
    and the subtrees of their references, in which the names that a program defines are ignored. In the output, "text" is the share
    of the smaller task's runs that both tasks have, "jaccard" the share of all runs of either task, and "code" the share of the
    subtrees. The similarity of a pair is the larger of text and code.

    \b
    Example:
      mlx-selfdebug tasks overlap my_tasks.jsonl humaneval
    """
    from mlx_selfdebug.evaluation.overlap import ABOVE, nearest_pair, nearest_pairs

    above = ABOVE if above is None else above
    tasks, others = load_tasks(train), load_tasks(test)
    near = nearest_pairs(tasks, others, above=above)
    if as_json:
        click.echo(json.dumps([vars(pair) for pair in near]))
        return
    nearest = None if near else nearest_pair(tasks, others)
    if shown := near or ([nearest] if nearest else []):
        click.echo(_overlap_text(shown))
    note = "" if near else "; the nearest is shown"
    click.echo(f"{len(tasks)} x {len(others)} tasks: {len(near)} pairs at or above {above:g}{note}")


def _overlap_text(pairs: Sequence[Overlap]) -> str:
    """Return pairs of similar tasks as a table, one row per pair."""
    rows = [["trained on", "tested on", "text", "jaccard", "code"]]
    for pair in pairs:
        shares = (pair.containment, pair.jaccard, pair.code)
        rows.append([pair.train_id, pair.test_id, *(f"{share:.2f}" for share in shares)])
    return columns(rows, right=(2, 3, 4))
