"""Describe each setting by its dotted key, type, default and range, as derived from the fields of the sections.

``SETTINGS`` holds all of them. The values of a configuration can be read by their dotted keys:

    >>> get(Config(), "collect.samples")
    8
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, fields, is_dataclass
from types import MappingProxyType
from typing import Any, get_type_hints

from mlx_selfdebug.config.sections import ADJUSTABLE, Config, DecodingConfig
from mlx_selfdebug.errors import ConfigError, did_you_mean

ENV_PREFIX = "MLX_SELFDEBUG_"
"""How the environment variables of this package begin."""

Value = int | float | str
"""The value of a setting."""


@dataclass(frozen=True)
class Setting:
    """The description of one setting."""

    key: str
    """The dotted key, such as ``collect.samples``."""
    type: type[int] | type[float] | type[str]
    default: Value
    help: str
    """What the setting means, as a phrase without a full stop."""
    low: float | None
    """The smallest allowed value, or None if there is no limit."""
    high: float | None
    """The largest allowed value, or None if there is no limit."""
    choices: tuple[str, ...] = ()
    """The allowed values of a text, or empty if any text is allowed."""

    @property
    def option(self) -> str:
        """The command-line option, such as ``--collect-samples``."""
        return "--" + self.key.replace(".", "-").replace("_", "-")

    @property
    def env(self) -> str:
        """The environment variable, such as ``MLX_SELFDEBUG_COLLECT_SAMPLES``."""
        return ENV_PREFIX + self.key.replace(".", "_").upper()

    @property
    def explained(self) -> str:
        """The help text, followed by the allowed values in parentheses if there is a limit."""
        allowed = " or ".join(self.choices) or self._range()
        return f"{self.help} ({allowed})" if allowed else self.help

    def parse(self, value: Any, where: str) -> Value:
        """Convert ``value`` to the type of this setting, and check that it is allowed.

        Raises ConfigError. Its message begins with ``where``, which says where the value comes from.
        """
        try:
            parsed = self._convert(value)
        except (TypeError, ValueError):
            kind = {int: "a whole number", float: "a number", str: "a text"}[self.type]
            raise ConfigError(f"{where}: {self.key} must be {kind}, not {value!r}") from None
        # Written with "not", so that NaN, which compares as false with everything, is out of range.
        if isinstance(parsed, int | float) and (
            (self.low is not None and not parsed >= self.low) or (self.high is not None and not parsed <= self.high)
        ):
            raise ConfigError(f"{where}: {self.key} = {parsed!r} is out of range: it must be {self._range()}")
        if self.choices and parsed not in self.choices:
            raise ConfigError(f"{where}: {self.key} = {parsed!r} is unknown: it must be {' or '.join(self.choices)}")
        return parsed

    def _convert(self, value: Any) -> Value:
        """Convert text to a number if the setting is a number, and an int to a float. Raises TypeError or ValueError otherwise."""
        is_wrong_kind = not isinstance(value, str) and self.type is str
        loses_digits = self.type is int and isinstance(value, float)
        # A bool is an int in Python, but no setting is a bool.
        if is_wrong_kind or loses_digits or isinstance(value, bool):
            raise TypeError
        return self.type(value)

    def _range(self) -> str:
        """Return the allowed range in words, such as "at least 0 and at most 1", or an empty string if there is none."""
        low = "" if self.low is None else f"at least {_short(self.low)}"
        high = "" if self.high is None else f"at most {_short(self.high)}"
        return " and ".join(part for part in (low, high) if part)


def _short(number: float) -> str:
    """Return a number as text, a whole one without a decimal point."""
    return str(int(number)) if number == int(number) else f"{number:g}"


def _settings(section: type, prefix: str = "") -> Iterator[Setting]:
    """Yield the settings of a section and its subsections, in the order of the fields. ``prefix`` begins their keys.

    The fields that a section inherits from ``DecodingConfig`` come last.
    """
    types = get_type_hints(section)
    inherited = DecodingConfig.__dataclass_fields__ if issubclass(section, DecodingConfig) else ()
    for field in sorted(fields(section), key=lambda field: field.name in inherited):
        if is_dataclass(types[field.name]):
            yield from _settings(types[field.name], f"{field.name}.")
        else:
            yield _setting_of(field, types[field.name], prefix)


def _setting_of(field: Field[Any], kind: type, prefix: str) -> Setting:
    """Return the setting that a field of a section describes."""
    meta = field.metadata
    default: Any = field.default
    return Setting(prefix + field.name, kind, default, meta["help"], meta["low"], meta["high"], meta["choices"])


SETTINGS: Mapping[str, Setting] = MappingProxyType({setting.key: setting for setting in _settings(Config)})
"""Every setting by its dotted key, in the order in which settings are shown."""


def setting_for(key: str, where: str) -> Setting:
    """Return the setting of a dotted key. Raises ConfigError, with a suggestion, if there is none.

    ``where`` says where the key comes from; the message begins with it.
    """
    if key not in SETTINGS:
        meant = did_you_mean(key, SETTINGS) or f"Known: {', '.join(SETTINGS)}"
        raise ConfigError(f"{where}: unknown key {key!r}. {meant}")
    return SETTINGS[key]


def get(config: Config, key: str) -> Any:
    """Return the value of a dotted key."""
    section, _, name = key.rpartition(".")
    return getattr(getattr(config, section) if section else config, name)


def flatten(config: Config) -> dict[str, Any]:
    """Return the value of every setting, by dotted key."""
    return {key: get(config, key) for key in SETTINGS}


def differences(stored: Config, asked: Config) -> list[str]:
    """Return one line for each setting that differs and that results depend on: ``key: the run has X, asked for Y``."""
    old, new = flatten(stored), flatten(asked)
    changed = [key for key in SETTINGS if old[key] != new[key] and key not in ADJUSTABLE]
    return [f"{key}: the run has {old[key]!r}, asked for {new[key]!r}" for key in changed]
