"""Put a configuration together from all of its sources: command line, environment, file, preset and defaults.

>>> load_config(overrides={"collect.samples": 4}, environment={}).collect.samples
4
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mlx_selfdebug.config.sections import Config
from mlx_selfdebug.config.setting import ENV_PREFIX, SETTINGS, flatten, setting_for
from mlx_selfdebug.errors import ConfigError, did_you_mean
from mlx_selfdebug.presets import PRESETS

OTHER_VARIABLES = frozenset(
    ENV_PREFIX + name for name in ("ALLOW_WEAK_SANDBOX", "BLAS", "CACHE", "TEST_DATA", "BENCH_PROBES")
)
"""Environment variables of this package that are not settings."""


@dataclass(frozen=True)
class Resolved:
    """A configuration with the origin of each value."""

    config: Config
    origins: Mapping[str, str]
    """Where the value of each dotted key came from: "command line", "environment", "file", "run", "preset NAME" or "default"."""


def resolve(
    *,
    overrides: Mapping[str, Any] | None = None,
    file: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    base: Config | None = None,
    default_preset: str = "air",
) -> Resolved:
    """Return the configuration that results from all sources, with the origin of each value.

    Args:
        overrides: Values from the command line, by dotted key.
        file: A TOML file with settings.
        environment: The environment variables; by default those of this process.
        base: The configuration of an existing run, which replaces presets and defaults.
        default_preset: The preset that ``auto`` stands for.

    Raises ConfigError for an unknown key, preset or variable, and for a value that is not allowed.
    """
    environment = os.environ if environment is None else environment
    layers = [
        ("file", _flat(read_toml(file), str(file)) if file else {}),
        ("environment", _from_environment(environment)),
        ("command line", dict(overrides or {})),
    ]
    values: dict[str, Any] = {}
    origins = dict.fromkeys(SETTINGS, "default")
    for origin, layer in layers:
        for key, value in layer.items():
            values[key] = setting_for(key, origin).parse(value, str(file) if origin == "file" else origin)
            origins[key] = origin
    if base:
        kept = {key: "run" if origin == "default" else origin for key, origin in origins.items()}
        return Resolved(_build({**flatten(base), **values}), MappingProxyType(kept))
    preset = _preset_name(values.get("preset", "auto"), default_preset)
    for key, value in PRESETS[preset].items():
        if key not in values:
            values[key], origins[key] = value, f"preset {preset}"
    values["preset"] = preset
    return Resolved(_build(values), MappingProxyType(origins))


def load_config(
    *,
    overrides: Mapping[str, Any] | None = None,
    file: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    base: Config | None = None,
    default_preset: str = "air",
) -> Config:
    """Return the configuration that results from all sources. Arguments and errors are as in :func:`resolve`."""
    resolved = resolve(
        overrides=overrides, file=file, environment=environment, base=base, default_preset=default_preset
    )
    return resolved.config


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file into a dictionary. A byte order mark at its beginning is ignored, and ``~`` in the path is the home folder.

    Raises ConfigError if the file is missing, cannot be read or is not valid.
    """
    try:
        return tomllib.loads(Path(os.path.expanduser(path)).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file {path}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start + 1}", hint="save the file as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def _flat(tree: Mapping[str, Any], where: str, prefix: str = "") -> dict[str, Any]:
    """Return the values of a TOML file by dotted key. Raises ConfigError for an unknown key."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and not prefix:
            flat |= _flat(value, where, f"{key}.")
        else:
            setting_for(prefix + key, where)
            flat[prefix + key] = value
    return flat


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that are environment variables, by dotted key.

    Raises ConfigError for an unknown variable that begins with ``ENV_PREFIX``, because it is most likely a mistyped setting.
    """
    known = {setting.env: key for key, setting in SETTINGS.items()}
    for name in environment:
        if name.startswith(ENV_PREFIX) and name not in known and name not in OTHER_VARIABLES:
            meant = did_you_mean(name, known) or "`mlx-selfdebug config show` lists the settings"
            raise ConfigError(f"environment: unknown variable {name}. {meant}")
    return {key: environment[name] for name, key in known.items() if name in environment}


def _preset_name(name: str, default: str) -> str:
    """Return the name of a known preset, in which ``auto`` stands for ``default``."""
    name = default if name == "auto" else name
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}. Known: auto, {', '.join(PRESETS)}")
    return name


def _build(values: Mapping[str, Any]) -> Config:
    """Return the configuration with ``values``, by dotted key, and defaults for all other settings."""
    config = Config()
    by_section: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        by_section.setdefault(section, {})[name] = value
    top_level = by_section.pop("", {})
    sections = {section: replace(getattr(config, section), **changes) for section, changes in by_section.items()}
    return replace(config, **top_level, **sections)
