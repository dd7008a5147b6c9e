"""The reference of the commands, from the help that click makes of them."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator

import click

from docs import settings
from docs.commonmark import relative
from mlx_selfdebug.cli.main import COMMANDS, cli
from mlx_selfdebug.config import SETTINGS

PROGRAM = "mlx-selfdebug"
FOLDER = "reference/commands"
OPTIONS = {setting.option: setting.key for setting in SETTINGS.values()}
"""The setting of each option that stands for one."""


def overview_page() -> str:
    """Return the page that lists the commands, under the help of the program."""
    rows = "\n".join(f"| [`{name}`]({name}.md) | {summary} |" for name, (_, summary) in COMMANDS.items())
    head = f"# Commands\n\n```text\n{PROGRAM} COMMAND [OPTIONS]\n```"
    about = _prose(inspect.cleandoc(cli.help or ""))
    common = "`-h` or `--help` after any command shows what is on these pages, and `--version` shows the version."
    return f"{head}\n\n{about}\n\n{common}\n\n| command | |\n|---|---|\n{rows}\n"


def command_page(name: str) -> str:
    """Return the page of a command and, if it is a group, of its subcommands."""
    context = click.Context(cli, info_name=PROGRAM, **cli.context_settings)
    command = cli.get_command(context, name)
    assert command is not None, name
    return "\n\n".join(_sections(command, context, 1)) + "\n"


def _sections(command: click.Command, parent: click.Context, level: int) -> Iterator[str]:
    """Yield the section of a command, and those of its subcommands one level below."""
    context = click.Context(command, parent, info_name=command.name, **command.context_settings)
    title = context.command_path.removeprefix(f"{PROGRAM} ")
    yield f"{'#' * level} `{title}` {{ #{title.replace(' ', '-')} }}"
    yield f"```text\n{' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n```"
    yield _prose(inspect.cleandoc(command.help or ""))
    yield from _options(command, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from _sections(child, context, level + 1)


def _prose(text: str) -> str:
    """Return a docstring of click as Markdown. A paragraph that click must not wrap becomes a code block under its first line."""
    parts = []
    for paragraph in text.partition("\f")[0].split("\n\n"):
        if paragraph.startswith("\b\n"):
            first, *rest = paragraph.removeprefix("\b\n").split("\n")
            title, block = (f"{first}\n\n", rest) if first.endswith(":") else ("", [first, *rest])
            parts.append(f"{title}```sh\n{textwrap.dedent(chr(10).join(block))}\n```")
        else:
            parts.append(_escaped(paragraph))
    return "\n\n".join(parts)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield the options of a command, each with its help below. An option that stands for a setting links to it."""
    page = f"{FOLDER}/{context.command_path.split()[1]}.md"
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if isinstance(parameter, click.Option) and record is not None:
            names, help_ = record
            key = next((OPTIONS[name] for name in parameter.opts if name in OPTIONS), None)
            term = f"[`{names}`]({relative(settings.anchors()[key], page)})" if key else f"`{names}`"
            yield f"{term}\n:   {_escaped(' '.join(help_.split()))}"


def _escaped(text: str) -> str:
    """Return text in which Markdown reads no tag, emphasis or link, but still reads code in backticks."""
    parts = text.split("`")
    for number in range(0, len(parts), 2):
        parts[number] = parts[number].replace("<", "&lt;").replace("*", r"\*").replace("[", r"\[")
    return "`".join(parts)
