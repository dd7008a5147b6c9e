"""Run the command line: find the command, run it, and turn every error into one clear line and an exit code.

Exit codes: 0 done, 1 failed, 2 usage, 3 over the memory budget, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

from mlx_selfdebug.cli.groups import Group
from mlx_selfdebug.distributed import launched_rank
from mlx_selfdebug.errors import DistributedError, SelfDebugError

COMMANDS = {
    "run": ("stages", "Collect, train and evaluate: what `make train` runs."),
    "collect": ("stages", "Draft, test and repair on the training tasks; make the pairs."),
    "train": ("stages", "Train a LoRA adapter on a run's pairs."),
    "eval": ("stages", "Compare the base model and the adapter on held-out tasks."),
    "fix": ("fix", "Make failing tests of a project pass with a small, proven change."),
    "try": ("try_", "Type a task with examples; watch the draft, its failure and the repair."),
    "push": ("push", "Upload an adapter or an exported model to the Hugging Face hub."),
    "serve": ("serve", "Serve an adapter over HTTP, with OpenAI's API."),
    "report": ("report", "Write what a run did and found as HTML, Markdown or JSON."),
    "export": ("export", "Export an adapter for mlx-lm, PEFT or llama.cpp, or fused."),
    "estimate": ("estimate", "Estimate memory and time of each stage before it begins."),
    "tasks": ("tasks", "List, show, check, audit and compare task sets."),
    "runs": ("runs", "List, show, watch and compare runs; branch, export and import them."),
    "models": ("models", "List the models; fetch and show one."),
    "bench": ("bench", "Measure this machine stage by stage; compare machines."),
    "doctor": ("doctor", "Check this machine and explain how to fix what is missing."),
    "config": ("config", "Show the settings; write them to a file."),
    "completion": ("completion", "Make the shell complete commands, options and names."),
}
"""For each command, its module in this package and its summary. The summaries stand here so that ``--help`` imports no module."""


class _Commands(Group):
    """The group of all commands. It imports a command's module only when the command is called, so that ``--help`` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"mlx_selfdebug.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="mlx-selfdebug", prog_name="mlx-selfdebug")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """A small code model learns to debug its own code from its own test failures.

    \b
    Examples:
      mlx-selfdebug run                          run the loop in runs/default
      mlx-selfdebug run --run runs/mine --collect-tasks my_tasks.jsonl
      mlx-selfdebug tasks check my_tasks.jsonl   check that the references pass
      mlx-selfdebug runs show runs/default       show what a run found

    Exit codes: 0 done, 1 failed, 2 usage, 3 over the memory budget, 130 interrupted.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line with ``args``, by default those of the process, and exit."""
    arguments = list(sys.argv[1:] if args is None else args)
    # Of several machines, rank 0 speaks for all.
    level = logging.ERROR if launched_rank() else logging.WARNING
    logging.basicConfig(format="%(message)s", level=level, stream=sys.stderr)
    logging.captureWarnings(True)
    sys.exit(_run(arguments, debug="--debug" in arguments))


def _run(arguments: list[str], *, debug: bool) -> int:
    """Run a command and return the exit code. With ``debug``, errors are raised, so that their traceback is shown."""
    try:
        # Outside of its standalone mode, click returns the code that ctx.exit() was given, and raises no SystemExit.
        code = cli.main(arguments, prog_name="mlx-selfdebug", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _say("\nInterrupted. What is finished is stored, and the same command goes on from there.")
        return 130
    except BrokenPipeError:
        # The reader of the pipe has ended, as `head` does. Without stderr, the interpreter cannot complain about it at exit.
        sys.stderr.close()
        return 1
    except SelfDebugError as error:
        if debug:
            raise
        if isinstance(error, DistributedError) and error.on_all_ranks and launched_rank():
            return error.exit_code  # rank 0 prints it
        _say(f"Error: {error.text}")
        return error.exit_code
    except Exception as error:
        if debug:
            raise
        _say(
            f"Error: unexpected {type(error).__name__}: {error}\n  help: add --debug to see where it happened, and please report it"
        )
        return 1
    return code if isinstance(code, int) else 0


def _say(text: str) -> None:
    click.echo(text, err=True)
