"""Define every setting and its default, in one frozen dataclass per stage. Defaults are defined nowhere else.

TOML keys, environment variables and command-line options are derived from these classes. The order of precedence is
command line > environment (``MLX_SELFDEBUG_COLLECT_SAMPLES``) > file > preset > default. ``load_config`` puts them together;
``resolve`` also reports where each value came from.

    >>> load_config(overrides={"collect.samples": 4}, environment={}).collect.samples
    4
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints

import tomli_w

from mlx_selfdebug.errors import ConfigError, did_you_mean
from mlx_selfdebug.presets import PRESETS

ENV_PREFIX = "MLX_SELFDEBUG_"
OTHER_VARIABLES = frozenset(
    ENV_PREFIX + name for name in ("ALLOW_WEAK_SANDBOX", "BLAS", "CACHE", "TEST_DATA", "BENCH_PROBES")
)
"""Environment variables of this package that are not settings."""


def _setting(
    default: Any, text: str, *, low: float | None = None, high: float | None = None, choices: tuple[str, ...] = ()
) -> Any:
    return field(default=default, metadata={"help": text, "low": low, "high": high, "choices": choices})


@dataclass(frozen=True)
class DecodingConfig:
    """Settings of decoding, which collecting and the evaluation have in common."""

    temperature: float = _setting(0.8, "sampling temperature of drafts and repairs; 0 = greedy", low=0, high=5)
    min_p: float = _setting(
        0.05, "drop tokens less likely than this share of the most likely token's probability", low=0, high=1
    )
    max_tokens: int = _setting(320, "maximum length of a completion, in tokens", low=1, high=32768)
    batch_size: int = _setting(
        64, "maximum number of completions decoded side by side; fewer if memory is short", low=1, high=512
    )


@dataclass(frozen=True)
class CollectConfig(DecodingConfig):
    """Settings of collecting: drafts and repairs on the training tasks."""

    tasks: str = _setting(
        "starter", "task set to learn from: a name (see `tasks list`), NAME:PATH, a .jsonl file or a folder"
    )
    limit: int = _setting(0, "use only this many tasks, spread evenly over the set; 0 = all", low=0)
    weak_share: float = _setting(
        0.5,
        "leave out tasks whose checks catch less than this share of wrong programs (see `tasks audit`); 0 = none",
        low=0,
        high=1,
    )
    samples: int = _setting(8, "drafts per task", low=1, high=256)
    edits: int = _setting(
        3, "failed drafts per task that are searched for a small edit that passes; 0 = none", low=0, high=64
    )
    forks: int = _setting(
        2, "surprising places from which a failed draft is completed anew if no edit passes; 0 = none", low=0, high=16
    )
    rounds: int = _setting(1, "rounds of repair prompts for a task that nothing else has solved", low=0, high=8)
    repairs: int = _setting(
        2, "different failed attempts per task that are forked, or repaired per round", low=1, high=64
    )
    bugs: int = _setting(
        4, "bugs put into correct programs of each task, to learn to fix them; 0 = none", low=0, high=256
    )
    bug_edits: int = _setting(2, "maximum number of small edits that make up one bug", low=1, high=8)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of training: the mix of pairs and the adapter."""

    targets: str = _setting(
        "reference",
        "what failed code is corrected to: only the model's own correct code (own), or else the reference (reference)",
        choices=("own", "reference"),
    )
    repair_share: float = _setting(
        0.3, "share of repair pairs (the model's own failed code + facts -> correct code)", low=0, high=1
    )
    bug_share: float = _setting(
        0.4, "share of bug pairs (correct code with a bug put in + facts -> correct code)", low=0, high=1
    )
    direct_share: float = _setting(0.15, "share of direct pairs (task -> correct code)", low=0, high=1)
    keep_share: float = _setting(0.15, "share of keep pairs (code that passes -> the same code)", low=0, high=1)
    minimal_share: float = _setting(
        0.0,
        "share of repair and bug pairs whose target is as near to the failed code as possible, not another correct draft",
        low=0,
        high=1,
    )
    max_pairs: int = _setting(
        200, "maximum number of pairs to train on; 0 = none, for a training by rewards alone", low=0
    )
    failed_per_task: int = _setting(
        3,
        "maximum number of failed attempts per task made into repair pairs, and of its bugs made into bug pairs",
        low=1,
        high=64,
    )
    facts: str = _setting(
        "own",
        "whose facts repair and bug prompts show: the failed code's own, those of another task (a control), or none (a control)",
        choices=("own", "other", "none"),
    )
    hide_facts_share: float = _setting(
        0.2, "share of repair and bug prompts that hide all facts but the first", low=0, high=1
    )
    blank_share: float = _setting(
        0.0, "share of repair and bug prompts in which some lines of the failed code are blanked", low=0, high=1
    )
    copied_weight: float = _setting(
        1.0, "weight of target tokens copied from the failed code; tokens that change it weigh 1", low=0, high=1
    )
    distilled_share: float = _setting(
        0.0,
        "share of each target token's weight that goes to imitating the base, which is shown the task alone (self-distillation)",
        low=0,
        high=1,
    )
    method: str = _setting(
        "lora", "lora, or dora (slower: it also learns the magnitudes of the weights)", choices=("lora", "dora")
    )
    rank: int = _setting(8, "LoRA rank", low=1, high=512)
    scale: float = _setting(2.0, "LoRA scale (alpha / rank)", low=0)
    layers: int = _setting(-1, "number of layers, from the top, that get an adapter; -1 = all", low=-1)
    learning_rate: float = _setting(
        1e-4, "peak learning rate of AdamW, with linear warm-up, then cosine", low=0, high=1
    )
    epochs: int = _setting(1, "passes over the pairs", low=1, high=100)
    batch_size: int = _setting(4, "pairs per optimizer step (gradients are accumulated)", low=1, high=512)
    held_back_share: float = _setting(
        0.2,
        "share of the tasks with both failed and passing attempts that is held back to choose the best checkpoint",
        low=0,
        high=0.9,
    )
    patience: int = _setting(3, "epochs without a better checkpoint after which training stops; 0 = never", low=0)
    cooldown_s: float = _setting(0.0, "seconds of rest every half minute, for machines without a fan", low=0, high=600)
    max_length: int = _setting(1024, "maximum length of a pair in tokens; longer ones are left out and counted", low=16)
    reward_steps: int = _setting(
        0, "steps of training by rewards, which follows the training on pairs; 0 = none", low=0, high=100_000
    )
    reward_prompts: int = _setting(8, "prompts per reward step, each completed as a group", low=1, high=512)
    reward_group_size: int = _setting(8, "completions per prompt, drawn at a temperature of 1", low=2, high=256)
    reward_max_tokens: int = _setting(
        256, "maximum length of a completion that is rewarded, in tokens", low=1, high=32768
    )
    reward_repair_share: float = _setting(
        0.4, "share of reward prompts that show the model's own failed code and its facts", low=0, high=1
    )
    reward_bug_share: float = _setting(
        0.4, "share of reward prompts that show correct code with a bug put in and its facts", low=0, high=1
    )
    reward_draft_share: float = _setting(0.2, "share of reward prompts that show the task alone", low=0, high=1)
    reward_by: str = _setting(
        "checks",
        "what is rewarded: programs that pass the public and hidden checks (checks), or chance (random, a control)",
        choices=("checks", "random"),
    )
    reward_of_copy: float = _setting(
        -0.1,
        "reward of a verbatim copy of the failed code; a program that passes gets 1, and any other gets 0",
        low=-10,
        high=0,
    )
    reward_learning_rate: float = _setting(
        2e-5, "learning rate of AdamW in training by rewards, constant after a linear warm-up", low=0, high=1
    )
    reward_kl: float = _setting(
        0.0, "weight of the divergence from the base, KL(base || model) per token, in training by rewards", low=0
    )
    reward_every: int = _setting(
        10, "reward steps from one try of the held-back tasks to the next, by which the best step is chosen", low=1
    )
    reward_barren: int = _setting(
        10, "reward steps in a row without two different rewards in any group, after which training ends", low=1
    )


@dataclass(frozen=True)
class EvalConfig(DecodingConfig):
    """Settings of the evaluation, which compares base and adapter on held-out tasks and bugs, at equal tokens per arm."""

    tasks: str = _setting("humaneval", "held-out task set: a name, NAME:PATH, a .jsonl file or a folder")
    limit: int = _setting(0, "use only this many tasks, spread evenly over the set; 0 = all", low=0)
    arms: str = _setting(
        "blind,notice,code,facts,other-facts,edits,forks,edits+blind,edits+forks+blind,edits+forks+facts",
        "arms to compare, separated by commas: what is tried after a program failed",
    )
    tokens: int = _setting(480, "tokens an arm may generate per task, including its first draft", low=1)
    forks: int = _setting(
        2,
        "places from which a failed program is completed anew after three of its lines were, in the arms that fork",
        low=1,
        high=32,
    )
    bugs: str = _setting(
        "operators",
        "what else to repair: bugs put into references (operators), humanevalfix, humanevalfix:FILE, or none",
    )
    bugs_per_task: int = _setting(1, "bugs put into each task's reference", low=1, high=64)
    bugs_limit: int = _setting(0, "use only this many bugs, spread evenly over the tasks; 0 = all", low=0)
    hard_drafts: int = _setting(
        0, "drafts per task to find the hard tasks, for which no draft is correct; 0 = do not look", low=0, high=256
    )
    temperature: float = _setting(0.8, "sampling temperature after the first draft, which is greedy", low=0, high=5)
    max_tokens: int = _setting(384, "maximum length of a completion, in tokens", low=1, high=32768)


@dataclass(frozen=True)
class SandboxConfig:
    """The limits of a test run, and how many run side by side."""

    workers: int = _setting(2, "number of test runs side by side", low=1, high=256)
    wall_s: float = _setting(5.0, "wall-clock limit of a test run, in seconds", low=0.05, high=3600)
    cpu_s: float = _setting(4.0, "CPU time limit of a test run, in seconds", low=0.05, high=3600)
    memory_mb: int = _setting(512, "memory limit of a test run, in MB (10^6 bytes; on Linux)", low=64)


@dataclass(frozen=True)
class BudgetConfig:
    """The memory budgets of the whole process tree, in GB (10^9 bytes)."""

    training_gb: float = _setting(10.0, "maximum memory for training, in GB", low=0.1, high=10_000)
    inference_gb: float = _setting(
        6.0, "maximum memory for drafting, repairing and evaluating, in GB", low=0.1, high=10_000
    )


@dataclass(frozen=True)
class Config:
    """All settings of a run. In TOML they are the top-level keys, then one table per stage."""

    model: str = _setting("qwen2.5-coder-0.5b", "alias (see `models list`), hub repository, folder or .gguf file")
    seed: int = _setting(0, "seed of all random choices", low=0, high=2**31 - 1)
    preset: str = _setting("auto", "demo, air, full, cpu, seed, or auto (cpu if MLX has no GPU, else air)")
    collect: CollectConfig = field(default_factory=CollectConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)


ADJUSTABLE = frozenset({"budget.inference_gb", "budget.training_gb", "sandbox.workers", "train.cooldown_s"})
"""The settings that may change from one session of a run to the next: they affect how fast results come, not the results."""


@dataclass(frozen=True)
class Resolved:
    """A configuration with the origin of each value."""

    config: Config
    origins: Mapping[str, str]
    """Where the value of each dotted key came from: "command line", "environment", "file", "run", "preset NAME" or "default"."""


@dataclass(frozen=True)
class Setting:
    """A single setting of the configuration."""

    key: str
    """The dotted key, such as ``collect.samples``."""
    type: type
    default: Any
    help: str
    low: float | None
    """The smallest allowed value, or None if there is no limit."""
    high: float | None
    """The largest allowed value, or None if there is no limit."""
    choices: tuple[str, ...] = ()
    """The allowed values of a string, or empty if any is allowed."""

    @property
    def option(self) -> str:
        return "--" + self.key.replace(".", "-").replace("_", "-")

    @property
    def env(self) -> str:
        return ENV_PREFIX + self.key.replace(".", "_").upper()

    @property
    def explained(self) -> str:
        """Return the help text, followed by the allowed values."""
        allowed = " or ".join(self.choices) or self._range()
        return f"{self.help} ({allowed})" if allowed else self.help

    def parse(self, value: Any, where: str) -> Any:
        """Convert ``value`` to this setting's type and check its range. Raises ConfigError, which begins with ``where``."""
        try:
            parsed = self._convert(value)
        except (TypeError, ValueError):
            kind = {int: "a whole number", float: "a number", str: "a text"}[self.type]
            raise ConfigError(f"{where}: {self.key} must be {kind}, not {value!r}") from None
        if (self.low is not None and not parsed >= self.low) or (self.high is not None and not parsed <= self.high):
            raise ConfigError(f"{where}: {self.key} = {parsed!r} is out of range: it must be {self._range()}")
        if self.choices and parsed not in self.choices:
            raise ConfigError(f"{where}: {self.key} = {parsed!r} is unknown: it must be {' or '.join(self.choices)}")
        return parsed

    def _convert(self, value: Any) -> Any:
        """Convert a string to a number if the setting is one, and an int to a float. Raises TypeError or ValueError otherwise."""
        wrong_kind = not isinstance(value, str) and self.type is str
        if wrong_kind or isinstance(value, bool) or (self.type is int and isinstance(value, float)):
            raise TypeError
        return self.type(value)

    def _range(self) -> str:
        low = "" if self.low is None else f"at least {_short(self.low)}"
        high = "" if self.high is None else f"at most {_short(self.high)}"
        return " and ".join(part for part in (low, high) if part)


def _short(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"


def settings(cls: Any = Config, prefix: str = "") -> Iterator[Setting]:
    """Yield every setting, in the order of the dataclasses; those of decoding come last in their stage."""
    hints = get_type_hints(cls)
    last = DecodingConfig.__dataclass_fields__ if issubclass(cls, DecodingConfig) else ()
    for item in sorted(fields(cls), key=lambda item: item.name in last):
        kind = hints[item.name]
        if is_dataclass(kind):
            yield from settings(kind, f"{item.name}.")
        else:
            yield _leaf(item, kind, prefix)


def _leaf(item: Field[Any], kind: type, prefix: str) -> Setting:
    meta = item.metadata
    return Setting(prefix + item.name, kind, item.default, meta["help"], meta["low"], meta["high"], meta["choices"])


SETTINGS: Mapping[str, Setting] = MappingProxyType({setting.key: setting for setting in settings()})


def resolve(
    *,
    overrides: Mapping[str, Any] | None = None,
    file: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    base: Config | None = None,
    default_preset: str = "air",
) -> Resolved:
    """Build the configuration from all its sources. ``overrides`` maps dotted keys to values from the command line.

    ``base`` is the configuration of an existing run, which replaces presets and defaults. ``default_preset`` is the preset that
    ``auto`` stands for. Raises ConfigError for an unknown key, a value of the wrong type or a value out of range.
    """
    environment = os.environ if environment is None else environment
    layers = [
        ("file", _flatten(read_toml(file), str(file)) if file else {}),
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
    preset = _preset(values.get("preset", "auto"), default_preset)
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
    """Return the configuration from all its sources; see :func:`resolve`, which also says where each value comes from."""
    resolved = resolve(
        overrides=overrides, file=file, environment=environment, base=base, default_preset=default_preset
    )
    return resolved.config


def setting_for(key: str, where: str) -> Setting:
    """Return the setting of a dotted key. Raises ConfigError, with a suggestion, if there is none."""
    if key not in SETTINGS:
        meant = did_you_mean(key, SETTINGS) or f"Known: {', '.join(SETTINGS)}"
        raise ConfigError(f"{where}: unknown key {key!r}. {meant}")
    return SETTINGS[key]


def _preset(name: str, default: str) -> str:
    name = default if name == "auto" else name
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}. Known: auto, {', '.join(PRESETS)}")
    return name


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file into a dictionary. A byte order mark at its beginning is passed over, and ``~`` is the home folder.

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


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    known = {setting.env: key for key, setting in SETTINGS.items()}
    for name in environment:
        if name.startswith(ENV_PREFIX) and name not in known and name not in OTHER_VARIABLES:
            meant = did_you_mean(name, known) or "`mlx-selfdebug config show` lists the settings"
            raise ConfigError(f"environment: unknown variable {name}. {meant}")
    return {key: environment[name] for name, key in known.items() if name in environment}


def _flatten(tree: Mapping[str, Any], where: str, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and not prefix:
            flat |= _flatten(value, where, f"{key}.")
        else:
            setting_for(prefix + key, where)
            flat[prefix + key] = value
    return flat


def _build(values: Mapping[str, Any]) -> Config:
    config = Config()
    tables: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        table, _, name = key.rpartition(".")
        tables.setdefault(table, {})[name] = value
    stages = {table: replace(getattr(config, table), **part) for table, part in tables.items() if table}
    return replace(config, **tables.get("", {}), **stages)


def get(config: Config, key: str) -> Any:
    """Return the value of a dotted key."""
    table, _, name = key.rpartition(".")
    return getattr(getattr(config, table) if table else config, name)


def flatten(config: Config) -> dict[str, Any]:
    """Return the value of every setting, by dotted key."""
    return {key: get(config, key) for key in SETTINGS}


def to_toml(config: Config) -> str:
    """Return the configuration as TOML, which ``resolve`` reads back to the same values."""
    tree: dict[str, Any] = {}
    for key, value in flatten(config).items():
        table, _, name = key.rpartition(".")
        (tree.setdefault(table, {}) if table else tree)[name] = value
    return tomli_w.dumps(tree)


def to_commented_toml(resolved: Resolved) -> str:
    """Return TOML for the user to edit: every setting with its meaning and range, commented out unless the user chose its value.

    The text gives the same configuration whether its values are commented out or not.
    """
    lines = [
        "# Settings of mlx-selfdebug, for use with --config. The line above each setting explains it and what is allowed.",
        "# A line that begins with #: shows the value that applies anyway. To change it, remove the #: and edit the value.",
    ]
    table = ""
    for key, setting in SETTINGS.items():
        section, _, name = key.rpartition(".")
        if section != table:
            table = section
            lines += ["", f"[{section}]"]
        chosen = resolved.origins[key] not in ("default", f"preset {resolved.config.preset}") or key == "preset"
        value = tomli_w.dumps({name: get(resolved.config, key)}).strip()
        lines += ["", f"# {setting.explained}", value if chosen else f"#: {value}"]
    return "\n".join(lines) + "\n"


def differences(stored: Config, asked: Config) -> list[str]:
    """Return one line per setting that differs and that results depend on: ``key: the run has X, asked for Y``."""
    old, new = flatten(stored), flatten(asked)
    changed = [key for key in SETTINGS if old[key] != new[key] and key not in ADJUSTABLE]
    return [f"{key}: the run has {old[key]!r}, asked for {new[key]!r}" for key in changed]
