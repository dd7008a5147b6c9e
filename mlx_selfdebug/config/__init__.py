"""Hold every setting of a run, and put a configuration together from all sources.

    sections.py    the settings and their defaults, one dataclass per section
    setting.py     each setting by its dotted key: type, default, range, option and environment variable
    resolving.py   command line > environment > file > preset > default
    writing.py     a configuration as TOML

>>> load_config(overrides={"collect.samples": 4}, environment={}).collect.samples
4
"""

from mlx_selfdebug.config.resolving import Resolved, load_config, read_toml, resolve
from mlx_selfdebug.config.sections import (
    ADJUSTABLE,
    BudgetConfig,
    CollectConfig,
    Config,
    DecodingConfig,
    EvalConfig,
    SandboxConfig,
    TrainConfig,
)
from mlx_selfdebug.config.setting import ENV_PREFIX, SETTINGS, Setting, differences, flatten, get, setting_for
from mlx_selfdebug.config.writing import to_commented_toml, to_toml

__all__ = [
    "ADJUSTABLE",
    "ENV_PREFIX",
    "SETTINGS",
    "BudgetConfig",
    "CollectConfig",
    "Config",
    "DecodingConfig",
    "EvalConfig",
    "Resolved",
    "SandboxConfig",
    "Setting",
    "TrainConfig",
    "differences",
    "flatten",
    "get",
    "load_config",
    "read_toml",
    "resolve",
    "setting_for",
    "to_commented_toml",
    "to_toml",
]
