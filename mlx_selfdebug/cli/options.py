"""Define the options that several commands share, and derive an option from each setting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from mlx_selfdebug.cli.completers import complete_model, complete_preset, complete_set, complete_trackers
from mlx_selfdebug.cli.paths import PathType
from mlx_selfdebug.config import ENV_PREFIX, SETTINGS, Config, Resolved, Setting, resolve
from mlx_selfdebug.presets import PRESETS
from mlx_selfdebug.store import stored_config

COMPLETERS = {
    "model": complete_model,
    "preset": complete_preset,
    "collect.tasks": complete_set,
    "eval.tasks": complete_set,
    "track": complete_trackers,
}
"""The settings whose values a shell can complete, by dotted key."""
EVERYWHERE = ("model", "seed", "preset")
"""The settings that are options of every command with settings."""
F = TypeVar("F", bound=Callable[..., Any])
"""The type of a command's function. The decorators below return a function of the same type."""
DEFAULT_RUN = "runs/default"

run_option = click.option(
    "--run",
    "run_path",
    type=PathType(file_okay=False),
    default=DEFAULT_RUN,
    show_default=True,
    help="run folder",
)
config_option = click.option("--config", "config_file", type=PathType(dir_okay=False), help="TOML file with settings")
json_option = click.option("--json", "as_json", is_flag=True, help="print JSON on stdout")
quiet_option = click.option("--quiet", is_flag=True, help="show no progress bars")
debug_option = click.option("--debug", is_flag=True, expose_value=False, help="show the traceback of an error")
weak_sandbox_option = click.option(
    "--allow-weak-sandbox",
    is_flag=True,
    envvar=f"{ENV_PREFIX}ALLOW_WEAK_SANDBOX",
    help="run model-written code even where it cannot be fully confined",
)
# These two options are for the processes of stages (``supervise.py``), so ``--help`` does not show them.
watched_option = click.option("--watched", is_flag=True, hidden=True)
deaths_option = click.option("--deaths", "n_deaths", type=click.IntRange(min=0), default=0, hidden=True)
dry_run_option = click.option("--dry-run", is_flag=True, help="show the settings and stop")


def setting_options(*sections: str) -> Callable[[F], F]:
    """Return a decorator that adds an option for each setting in ``EVERYWHERE`` and for each setting of ``sections``.

    A top-level setting counts as a section of its own.
    """
    chosen = [setting for key, setting in SETTINGS.items() if key.partition(".")[0] in (*EVERYWHERE, *sections)]

    def decorate(function: F) -> F:
        for setting in reversed(chosen):
            function = _option(setting)(function)
        return function

    return decorate


def overrides_of(values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that the user gave on the command line, by dotted key.

    ``values`` are the keyword arguments of the options that ``setting_options`` adds, such as ``collect__samples``. An option
    that the user did not give is None.
    """
    return {name.replace("__", "."): value for name, value in values.items() if value is not None}


def _option(setting: Setting) -> Callable[[F], F]:
    """Return the option of a setting. Its help names the default and the presets that have another value."""
    by_preset = [f"{name}: {preset[setting.key]}" for name, preset in PRESETS.items() if setting.key in preset]
    default = "; ".join([str(setting.default) if setting.default != "" else "none", *by_preset])
    return click.option(
        setting.option,
        setting.key.replace(".", "__"),  # the keyword argument, since a dot is not allowed in it
        type=setting.type,
        default=None,
        shell_complete=COMPLETERS.get(setting.key),
        metavar={int: "N", float: "X", str: "TEXT"}[setting.type],
        help=f"{setting.help}  [default: {default}]",
    )


def resolve_for(run_path: Path, config_file: Path | None, values: dict[str, Any], *, watched: bool = False) -> Resolved:
    """Return the settings of a command on a run. A run that exists supplies its settings in place of presets and defaults.

    A ``watched`` stage ignores the environment, because the process that started it has already applied that to the run.
    """
    base: Config | None = stored_config(run_path)
    return resolve(
        overrides=overrides_of(values),
        file=config_file,
        environment={} if watched else None,
        base=base,
        # With a base, no preset is applied, and asking for this machine's preset would only import mlx.
        default_preset="air" if base else _default_preset(),
    )


def resolve_new(values: dict[str, Any]) -> Resolved:
    """Return the settings of a command that has neither a run nor a configuration file."""
    return resolve(overrides=overrides_of(values), default_preset=_default_preset())


def _default_preset() -> str:
    """Return the preset that is the default on this machine: "cpu" where MLX has no GPU, and otherwise "air"."""
    from mlx_selfdebug.models.backend import device_name

    return "cpu" if device_name() == "cpu" else "air"


def show_settings(resolved: Resolved, keys: Sequence[str] = tuple(SETTINGS)) -> str:
    """Return the settings ``keys``, by default all, as lines of the form ``key = value  # origin``."""
    from mlx_selfdebug.columns import columns
    from mlx_selfdebug.config import get

    rows = [[key, "=", repr(get(resolved.config, key)), f"# {resolved.origins[key]}"] for key in keys]
    return columns(rows)
