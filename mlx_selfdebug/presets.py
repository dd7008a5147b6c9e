"""Define the presets: groups of settings that are chosen together for a kind of machine or a purpose (``--preset NAME``).

A preset names only the settings in which it differs from the defaults of ``config/``.

- demo: runs every stage once, in minutes. It is too small to show anything.
- air: meant for a MacBook Air M4.
- full: every task and every arm, and 8 drafts per task to find the hard tasks.
- cpu: meant for two cores of a CPU, on which a run takes about half an hour.
- seed: the size that this project began with, at most 13 pairs of the model's own code.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

Preset = Mapping[str, int | float | str]
"""Some settings by dotted key."""

# Sized so that a run takes about half an hour on two cores: few tasks, short programs, no rounds of repair prompts while attempts
# are collected, and only the arms of the evaluation that the verdicts need.
_CPU: Preset = {
    "collect.tasks": "starter-mixed",
    "collect.limit": 32,
    "collect.samples": 6,
    "collect.max_tokens": 200,
    "collect.edits": 2,
    "collect.rounds": 0,
    "train.max_pairs": 48,
    "eval.limit": 16,
    "eval.arms": "blind,facts,edits+forks+blind",
    "eval.bugs_limit": 8,
    "eval.tokens": 240,
    "eval.max_tokens": 256,
}
_DEMO: Preset = {
    "collect.limit": 8,
    "collect.samples": 4,
    "collect.max_tokens": 120,
    "train.max_pairs": 8,
    "eval.limit": 4,
    "eval.bugs_limit": 2,
    "eval.max_tokens": 160,
}
_AIR: Preset = {
    "collect.tasks": "starter-mixed",
    "collect.rounds": 0,
    "eval.limit": 50,
    "eval.arms": "blind,facts,edits+forks+blind",
    "eval.bugs_limit": 16,
}
_FULL: Preset = {"eval.hard_drafts": 8}
_SEED: Preset = {
    **_AIR,
    "collect.bugs": 0,
    "train.targets": "own",
    "train.repair_share": 0.5,
    "train.bug_share": 0.0,
    "train.direct_share": 0.3,
    "train.keep_share": 0.2,
    "train.minimal_share": 1.0,
    "train.max_pairs": 13,
    "train.epochs": 3,
}
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "demo": MappingProxyType({**_CPU, **_DEMO}),
        "air": MappingProxyType(_AIR),
        "full": MappingProxyType(_FULL),
        "cpu": MappingProxyType(_CPU),
        "seed": MappingProxyType(_SEED),
    }
)
"""The settings of each preset, by dotted key. All other settings keep their defaults."""
