from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.config import (
    SETTINGS,
    Config,
    Setting,
    differences,
    flatten,
    load_config,
    resolve,
    to_commented_toml,
    to_toml,
)
from mlx_selfdebug.errors import ConfigError
from mlx_selfdebug.presets import PRESETS


def values_for(setting: Setting) -> st.SearchStrategy[Any]:
    if setting.key == "preset":
        return st.sampled_from(list(PRESETS))
    if setting.type is str:
        if setting.choices:
            return st.sampled_from(setting.choices)
        return st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=20)
    low, high = setting.low or 0, 1000 if setting.high is None else setting.high
    return st.integers(int(low), int(high)) if setting.type is int else st.floats(float(low), float(high))


@given(st.fixed_dictionaries({key: values_for(setting) for key, setting in SETTINGS.items()}))
def test_a_configuration_written_as_toml_reads_back_the_same(values: dict[str, Any]) -> None:
    import tempfile

    config = load_config(overrides=values, environment={})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.toml"
        file.write_text(to_toml(config), encoding="utf-8")
        assert load_config(file=file, environment={}) == config


def test_the_command_line_wins_over_environment_over_file_over_preset_over_default(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('preset = "cpu"\n[collect]\nsamples = 3\nrounds = 2\nrepairs = 5\n')
    environment = {"MLX_SELFDEBUG_COLLECT_SAMPLES": "4", "MLX_SELFDEBUG_COLLECT_ROUNDS": "3"}
    resolved = resolve(overrides={"collect.samples": 5}, environment=environment, file=file)
    collect = resolved.config.collect
    assert (collect.samples, collect.rounds, collect.repairs) == (5, 3, 5)
    assert collect.max_tokens == PRESETS["cpu"]["collect.max_tokens"]
    assert [resolved.origins[f"collect.{key}"] for key in ("samples", "rounds", "repairs", "max_tokens", "min_p")] == [
        "command line",
        "environment",
        "file",
        "preset cpu",
        "default",
    ]


def test_an_unknown_key_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[collect]\nsample = 3\n")
    with pytest.raises(ConfigError, match=r"c\.toml: unknown key 'collect\.sample'\. Did you mean 'collect\.samples'"):
        resolve(file=file, environment={})


def test_a_mistyped_variable_of_the_environment_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(
        ConfigError, match=r"MLX_SELFDEBUG_COLECT_SAMPLES.*Did you mean 'MLX_SELFDEBUG_COLLECT_SAMPLES'"
    ):
        resolve(environment={"MLX_SELFDEBUG_COLECT_SAMPLES": "4"})


def test_variables_that_are_no_settings_are_left_alone() -> None:
    others = dict.fromkeys(
        ["MLX_SELFDEBUG_CACHE", "MLX_SELFDEBUG_BLAS", "MLX_SELFDEBUG_ALLOW_WEAK_SANDBOX", "PATH"], "x"
    )
    assert load_config(environment=others) == load_config(environment={})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("collect.samples", 0, "out of range: it must be at least 1 and at most 256"),
        ("collect.temperature", float("nan"), "out of range"),
        ("collect.samples", "many", "must be a whole number, not 'many'"),
        ("collect.samples", 2.5, "must be a whole number"),
        ("collect.samples", True, "must be a whole number"),
        ("model", 3, "must be a text"),
        ("preset", "huge", "unknown preset 'huge'"),
        ("train.method", "lore", "'lore' is unknown: it must be lora or dora"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(overrides={key: value}, environment={})


def test_broken_toml_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[collect\n")
    with pytest.raises(ConfigError, match=r"c\.toml: not valid TOML"):
        resolve(file=file, environment={})


def test_a_byte_order_mark_before_toml_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(b"\xef\xbb\xbf[collect]\r\nsamples = 7\r\n")
    assert load_config(file=file, environment={}).collect.samples == 7


def test_toml_in_utf_16_is_refused_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes("seed = 7\n".encode("utf-16"))
    with pytest.raises(ConfigError, match=r"c\.toml: not UTF-8 at byte 1") as caught:
        load_config(file=file, environment={})
    assert caught.value.hint == "save the file as UTF-8"


def test_a_folder_given_as_configuration_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(file=tmp_path, environment={})


def test_a_run_keeps_its_settings_unless_told_otherwise() -> None:
    stored = load_config(overrides={"collect.samples": 3}, environment={}, default_preset="cpu")
    again = load_config(base=stored, environment={})
    assert again == stored
    other = load_config(base=stored, overrides={"collect.samples": 4}, environment={})
    assert differences(stored, other) == ["collect.samples: the run has 3, asked for 4"]


def test_every_preset_names_existing_settings() -> None:
    for preset in PRESETS.values():
        assert set(preset) <= set(SETTINGS)


def test_flatten_lists_every_setting() -> None:
    assert list(flatten(Config())) == list(SETTINGS)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_written_file_gives_the_same_configuration_as_it_is_and_with_every_value_taken_in(
    preset: str, tmp_path: Path
):
    resolved = resolve(overrides={"preset": preset, "collect.samples": 3}, environment={})
    text = to_commented_toml(resolved)
    for content in (text, text.replace("#: ", "")):
        file = tmp_path / "mlx-selfdebug.toml"
        file.write_text(content, encoding="utf-8")
        assert load_config(file=file, environment={}) == resolved.config
    assert "\nsamples = 3\n" in text
    assert "\n#: repairs = 2\n" in text


def test_a_written_file_explains_every_setting():
    text = to_commented_toml(resolve(environment={}))
    assert [key for key, setting in SETTINGS.items() if f"# {setting.explained}\n" not in text] == []


@pytest.mark.parametrize(("preset", "bugs"), [("cpu", 8), ("demo", 2)])
def test_on_two_cores_few_arms_and_few_bugs_are_evaluated(preset: str, bugs: int) -> None:
    settings = load_config(overrides={"preset": preset}, environment={}).eval
    assert set(settings.arms.split(",")) <= {"blind", "facts", "edits+forks+blind"}
    assert (settings.bugs_limit, settings.hard_drafts) == (bugs, 0)


def test_the_full_preset_plays_every_arm_and_looks_for_hard_tasks() -> None:
    from mlx_selfdebug.evaluation.arms import ARMS

    settings = load_config(overrides={"preset": "full"}, environment={}).eval
    assert settings.arms.split(",") == list(ARMS)
    assert (settings.bugs, settings.bugs_limit, settings.hard_drafts) == ("operators", 0, 8)
