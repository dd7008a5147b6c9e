"""Define the command ``try``: a prompt at which one types a task with examples, and watches how the model fares with it."""

from __future__ import annotations

from pathlib import Path

import click

from mlx_selfdebug.cli import options
from mlx_selfdebug.cli.completers import complete_arm, complete_model
from mlx_selfdebug.cli.paths import PathType
from mlx_selfdebug.cli.progress import progress
from mlx_selfdebug.cli.prompting import Prompt
from mlx_selfdebug.cli.sandbox import require_sandbox
from mlx_selfdebug.config import EvalConfig
from mlx_selfdebug.errors import UsageError

GREETING = """\
Type a task in words, then examples, one per line, such as  double(2) == 4
An empty line starts. /help shows more, Ctrl-D ends."""


@click.command("try")
@click.argument("run_path", metavar="[RUN]", required=False, type=PathType(file_okay=False))
@click.option(
    "--model",
    metavar="NAME",
    shell_complete=complete_model,
    help="base model  [default: that of the run, or qwen2.5-coder-0.5b]",
)
@click.option("--adapter", type=PathType(file_okay=False), metavar="FOLDER", help="adapter to try, in place of RUN")
@click.option(
    "--arm",
    metavar="NAME",
    default="edits+forks+facts",
    show_default=True,
    shell_complete=complete_arm,
    help="what follows a draft that failed; `facts` only repairs, `blind` only drafts again",
)
@click.option(
    "--tokens",
    type=click.IntRange(1),
    default=EvalConfig().tokens,
    show_default=True,
    metavar="N",
    help="tokens per task after which nothing new is decoded",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), metavar="N", help="seed of all random choices  [default: 0]")
@options.weak_sandbox_option
@options.json_option
@options.quiet_option
@options.debug_option
def try_command(
    run_path: Path | None,
    model: str | None,
    adapter: Path | None,
    arm: str,
    tokens: int,
    seed: int | None,
    allow_weak_sandbox: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Type a task with examples; watch the draft, its failure and the repair.

    RUN is a run that was trained, or the folder of an adapter. Its adapter is tried, and /base switches to the base model for the
    same task. Without RUN, the base model is tried alone. Nothing is stored in the run.

    Tasks and commands may also come from a pipe or a file. With --json, each task becomes one line of JSON on stdout, and
    everything else goes to stderr.

    \b
    Examples:
      mlx-selfdebug try runs/mine
      mlx-selfdebug try --model qwen2.5-coder-0.5b --arm facts
      printf 'Return twice x.\\ndouble(2) == 4\\n' | mlx-selfdebug try --json

    Exit codes: 0, or 1 if input from a pipe holds a task that was not solved.
    """
    from mlx_selfdebug.cli.dialogue import Dialogue
    from mlx_selfdebug.cli.transcript import Transcript
    from mlx_selfdebug.exporting.run_adapter import open_run_adapter
    from mlx_selfdebug.models.load import load_model
    from mlx_selfdebug.stages.tryout import Tryout
    from mlx_selfdebug.translating.typed import has_example

    if run_path and adapter:
        raise UsageError("give either RUN or --adapter")
    transcript = Transcript(err=as_json)
    require_sandbox(transcript.say, allow_weak=allow_weak_sandbox)
    path = run_path or adapter
    opened = open_run_adapter(path, model or "") if path else None
    values = {"model": opened.model_name if opened else model, "seed": seed, "eval__tokens": tokens}
    config = (options.resolve_for(path, None, values) if path else options.resolve_new(values)).config
    with Tryout(
        load_model(config.model, progress=progress(quiet=quiet)),
        config,
        adapter=opened.adapter if opened else None,
        arm=arm,
        allow_weak_sandbox=allow_weak_sandbox,
    ) as tryout:
        prompt = Prompt(has_example)
        with_adapter = f" with the adapter of {path}; /base switches to the base" if path else ""
        transcript.say(f"{config.model}{with_adapter}")
        if prompt.is_interactive:
            transcript.say(GREETING)
        return Dialogue(tryout, transcript, prompt, config.seed, as_json=as_json).hold()
