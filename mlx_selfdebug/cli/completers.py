"""Complete option values in a shell: with known names, or with files if no known name matches."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    from mlx_selfdebug.models.catalog import ALIASES

    return _matching(list(ALIASES), incomplete) or [CompletionItem(incomplete, type="file")]


def complete_set(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    from mlx_selfdebug.tasks.load import available_sets

    return _matching(list(available_sets()), incomplete) or [CompletionItem(incomplete, type="file")]


def complete_preset(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    from mlx_selfdebug.presets import PRESETS

    return _matching([*PRESETS, "auto"], incomplete)


def complete_arm(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    from mlx_selfdebug.stages.tryout import PLAYABLE

    return _matching(list(PLAYABLE), incomplete)


def complete_trackers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    from mlx_selfdebug.tracking import TRACKERS

    before, comma, last = incomplete.rpartition(",")
    return [CompletionItem(f"{before}{comma}{item.value}") for item in _matching(list(TRACKERS), last)]


def _matching(names: list[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
