"""Complete the values of options in a shell.

click calls each function with the beginning of a value that the user has typed (``incomplete``), and offers what it returns. All
imports are inside the functions, because the shell waits for the answer.
"""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Return the short names of models that begin with ``incomplete`` or, if there are none, have the shell complete a file."""
    from mlx_selfdebug.models.catalog import ALIASES

    return _matching(list(ALIASES), incomplete) or [CompletionItem(incomplete, type="file")]


def complete_set(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Return the names of task sets that begin with ``incomplete`` or, if there are none, have the shell complete a file."""
    from mlx_selfdebug.tasks.load import available_sets

    return _matching(list(available_sets()), incomplete) or [CompletionItem(incomplete, type="file")]


def complete_preset(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Return the names of presets that begin with ``incomplete``."""
    from mlx_selfdebug.presets import PRESETS

    return _matching([*PRESETS, "auto"], incomplete)


def complete_arm(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Return the names of the arms that ``try`` can play and that begin with ``incomplete``."""
    from mlx_selfdebug.stages.tryout import PLAYABLE

    return _matching(list(PLAYABLE), incomplete)


def complete_trackers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Complete the last name of a comma-separated list of trackers: "trackio,w" becomes "trackio,wandb"."""
    from mlx_selfdebug.tracking import TRACKERS

    before, comma, last = incomplete.rpartition(",")
    return [CompletionItem(f"{before}{comma}{item.value}") for item in _matching(list(TRACKERS), last)]


def _matching(names: list[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
