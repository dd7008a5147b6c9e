"""Write a configuration as TOML: the values alone for a run folder, or with explanations for a person to edit."""

from __future__ import annotations

from typing import Any

import tomli_w

from mlx_selfdebug.config.resolving import Resolved
from mlx_selfdebug.config.sections import Config
from mlx_selfdebug.config.setting import SETTINGS, flatten, get


def to_toml(config: Config) -> str:
    """Return the configuration as TOML, which ``resolve`` reads back to the same values."""
    tree: dict[str, Any] = {}
    for key, value in flatten(config).items():
        section, _, name = key.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[name] = value
    return tomli_w.dumps(tree)


def to_commented_toml(resolved: Resolved) -> str:
    """Return TOML for a person to edit: every setting with its meaning and range.

    A value that the user did not choose is commented out. The text gives the same configuration if it is uncommented.
    """
    lines = [
        "# Settings of mlx-selfdebug, for use with --config. The line above each setting explains it and what is allowed.",
        "# A line that begins with #: shows the value that applies anyway. To change it, remove the #: and edit the value.",
    ]
    current = ""
    for key, setting in SETTINGS.items():
        section, _, name = key.rpartition(".")
        if section != current:
            current = section
            lines += ["", f"[{section}]"]
        # The preset is always written, because it decides the values that are commented out.
        is_chosen = resolved.origins[key] not in ("default", f"preset {resolved.config.preset}") or key == "preset"
        value = tomli_w.dumps({name: get(resolved.config, key)}).strip()
        lines += ["", f"# {setting.explained}", value if is_chosen else f"#: {value}"]
    return "\n".join(lines) + "\n"
