"""Provide groups of commands that answer a mistyped command with the nearest known command."""

from __future__ import annotations

from collections.abc import Iterable

import click

from mlx_selfdebug.errors import did_you_mean


class Group(click.Group):
    """A group of commands that suggests a known command for an unknown one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            raise click.UsageError(unknown_command(args[0], known), ctx)
        return super().resolve_command(ctx, args)


def unknown_command(name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown command: the nearest known command, or all of them if none is near."""
    names = list(known)
    meant = did_you_mean(name, names) or f"Known: {', '.join(names)}"
    return f"no such command {name!r}. {meant}"
