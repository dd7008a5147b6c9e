"""The reference of the settings, from the package's own description of them."""

from __future__ import annotations

from itertools import groupby

from mlx_selfdebug.config import ADJUSTABLE, SETTINGS, Config, Setting
from mlx_selfdebug.presets import PRESETS

PAGE = "reference/settings.md"
INTRODUCTION = """\
# Settings

A setting can be given on the command line, as an environment variable, in a TOML file (`--config`), or by a preset. The order of
precedence is command line > environment > file > preset > default. `mlx-selfdebug config init` writes a file of all settings, and
`mlx-selfdebug config show` shows where each value comes from. A run keeps the settings that it was begun with; only those that are
marked as adjustable may change from one call to the next.
"""


def settings_page() -> str:
    """Return the page with every setting: its meaning, default, presets, allowed values, option and environment variable."""
    parts = [INTRODUCTION]
    for section, settings in groupby(SETTINGS.values(), key=lambda setting: setting.key.rpartition(".")[0]):
        parts.append(f"## {section or 'Of the whole run'}\n\n{_about(section)}")
        parts += map(_entry, settings)
    return "\n\n".join(parts) + "\n"


def anchors() -> dict[str, str]:
    """Return the page and anchor of each setting, by its dotted key."""
    return {key: f"{PAGE}#{key}" for key in SETTINGS}


def _about(section: str) -> str:
    """Return what a section holds, which is the first sentence of its class's docstring."""
    about = type(getattr(Config(), section)) if section else Config
    return (about.__doc__ or "").partition("\n")[0]


def _entry(setting: Setting) -> str:
    """Return the heading, the meaning and the facts of a setting."""
    presets = "; ".join(
        f"{preset[setting.key]} in `{name}`" for name, preset in PRESETS.items() if setting.key in preset
    )
    default = f"`{setting.default}`" if setting.default != "" else "none"
    allowed = setting.explained.removeprefix(setting.help).strip(" ()")
    rows = [
        ("default", f"{default}; {presets}" if presets else default),
        ("allowed", allowed or {int: "a whole number", float: "a number", str: "a text"}[setting.type]),
        ("option", f"`{setting.option}`"),
        ("environment", f"`{setting.env}`"),
    ]
    if setting.key in ADJUSTABLE:
        rows.append(("adjustable", "may change from one call of a run to the next"))
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    meaning = f"{setting.help[:1].upper()}{setting.help[1:]}."
    return f"### `{setting.key}` {{ #{setting.key} }}\n\n{meaning}\n\n| | |\n|---|---|\n{table}"
