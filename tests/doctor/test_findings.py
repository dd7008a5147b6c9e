from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from mlx_selfdebug.models.backend import mx

import pytest

from mlx_selfdebug.config import BudgetConfig, Config
from mlx_selfdebug.doctor import Finding, examine
from mlx_selfdebug.doctor.finding import judged, worst
from mlx_selfdebug.doctor.hardware import examine_hardware
from mlx_selfdebug.doctor.software import training_attention, working_set
from mlx_selfdebug.doctor.surroundings import examine_folders, examine_hub, examine_sandbox
from mlx_selfdebug.errors import SandboxError, UsageError
from mlx_selfdebug.machine.this_machine import Machine, State
from mlx_selfdebug.sandbox.isolation import Isolation, Level
from mlx_selfdebug.sandbox.probes import Probe
from mlx_selfdebug.training.fused_attention import Shape
from tests.models.tiny import write_gguf

AIR = Machine("macOS 26.1 (25B78)", "arm64", "Apple M4", 10, 16 * 2**30, 4, 6, 10)
RESTED = State(0, "mains", False, "nominal")


def found(machine: Machine = AIR, state: State = RESTED, training_gb: float = 10.0) -> dict[str, Finding]:
    budget = BudgetConfig(training_gb=training_gb)
    return {finding.name: finding for finding in examine_hardware(machine, state, budget)}


def test_a_macbook_air_of_16_gb_on_mains_is_in_order() -> None:
    findings = found()
    assert {finding.state for finding in findings.values()} == {"ok"}
    assert findings["cores"].value == "10 (4 performance, 6 efficiency), GPU 10"
    assert findings["wired limit"].value == "the system's own"


@pytest.mark.parametrize(
    ("name", "state", "machine", "now"),
    [
        ("power", "warning", AIR, replace(RESTED, power="battery")),
        ("low power mode", "warning", AIR, replace(RESTED, low_power=True)),
        ("thermal pressure", "warning", AIR, replace(RESTED, thermal="heavy")),
        ("swap", "warning", AIR, replace(RESTED, swap_used_bytes=9 * 10**9)),
        ("system", "problem", replace(AIR, system="macOS 13.6"), RESTED),
        ("chip", "problem", replace(AIR, architecture="x86_64"), RESTED),
        ("chip", "problem", replace(AIR, architecture="x86_64", chip="Intel(R) Core(TM) i7"), RESTED),
        ("memory", "warning", replace(AIR, memory_bytes=8 * 2**30), RESTED),
        ("memory", "problem", replace(AIR, memory_bytes=2 * 2**30), RESTED),
        ("wired limit", "warning", replace(AIR, wired_limit_bytes=6 * 2**30), RESTED),
    ],
)
def test_what_stands_in_the_way_is_named_with_its_remedy(name: str, state: str, machine: Machine, now: State) -> None:
    finding = found(machine, now)[name]
    assert finding.state == state
    assert finding.remedy


def test_a_smaller_budget_fits_a_smaller_memory() -> None:
    assert found(replace(AIR, memory_bytes=8 * 2**30), training_gb=4)["memory"].state == "ok"


def test_lines_of_macs_alone_are_left_out_elsewhere() -> None:
    names = found(Machine("Debian GNU/Linux 12, Linux 6.1", "x86_64", "AMD EPYC", 2, 25 * 10**9), State(0))
    assert set(names) == {"system", "chip", "cores", "memory", "swap"}


def test_what_is_not_known_is_a_dash_and_no_warning() -> None:
    findings = found(Machine("macOS 26.1", "arm64", None, None, 16 * 2**30), State(None))
    assert [findings[name].value for name in ("swap", "power", "low power mode", "cores")] == ["-"] * 4
    assert worst(list(findings.values())) == "ok"


def test_the_gpus_memory_is_held_against_the_budget() -> None:
    size = {"max_recommended_working_set_size": 12_713_115_648}
    assert working_set(size, 10).value == "12.7 GB"
    assert working_set(size, 10).state == "ok"
    assert "iogpu.wired_limit_mb=" in working_set(size, 20).remedy
    assert working_set({}, 10) == Finding("GPU memory", "ok", "-")


def test_the_first_case_that_holds_decides() -> None:
    assert judged("x", "1", (False, "problem", "a"), (True, "warning", "b"), (True, "problem", "c")) == Finding(
        "x", "warning", "1", "b"
    )


def test_a_hub_that_does_not_answer_is_a_warning_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    finding = examine_hub()
    assert finding.state == "warning"
    assert "127.0.0.1:9" in finding.value


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE"),
        ({"TRANSFORMERS_OFFLINE": "yes"}, "TRANSFORMERS_OFFLINE"),
        ({"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1"}, None),
    ],
)
def test_the_variable_that_keeps_the_hub_from_being_asked_is_named(
    environment: dict[str, str], variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, environment.get(name, ""))
    finding = examine_hub()
    assert finding.state == "warning"
    assert (finding.value == f"offline by {variable}") == (variable is not None)
    assert variable is None or f"unset {variable}" in finding.remedy


@pytest.mark.parametrize("endpoint", ["http://my host:1", "http://127.0.0.1:80a"])
def test_a_hub_whose_address_is_invalid_is_named_with_the_reason(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    finding = examine_hub()
    assert finding.state == "warning"
    assert "no answer" not in finding.value


def isolation(level: Level, escapes: list[bool], limits: list[bool]) -> Isolation:
    probes = [Probe(f"escape {i}", "files", held) for i, held in enumerate(escapes)]
    probes += [Probe(f"pass limit {i}", "limits", held) for i, held in enumerate(limits)]
    return Isolation(level, {}, frozenset(), tuple(probes))


@pytest.mark.parametrize(
    ("measured", "value"),
    [
        (isolation("full", [True, True], [True]), "full: 3 of 3 escapes stopped"),
        (isolation("none", [False, False], [True]), "none: 0 of 2 escapes stopped"),
    ],
)
def test_a_limit_that_holds_is_no_escape_that_was_stopped(
    measured: Isolation, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlx_selfdebug.sandbox.isolation.describe_isolation", lambda **_: measured)
    assert next(examine_sandbox()).value == value


def test_a_sandbox_that_cannot_start_is_told_with_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> Isolation:
        raise SandboxError("no process can be started", hint="raise the limit of processes")

    monkeypatch.setattr("mlx_selfdebug.sandbox.isolation.describe_isolation", refuse)
    (finding,) = examine_sandbox()
    assert finding.remedy == "no process can be started; raise the limit of processes"


def model_finding(name: str) -> Finding:
    return next(finding for finding in examine_folders(name) if finding.name == "model")


def test_a_mistyped_or_damaged_model_is_a_problem_with_its_own_message(tmp_path: Path) -> None:
    mistyped = model_finding("qwen2.5-coder-0.5c")
    assert mistyped.state == "problem"
    assert "Did you mean" in mistyped.remedy
    (tmp_path / "config.json").write_text("{")
    damaged = model_finding(str(tmp_path))
    assert damaged.state == "problem"
    assert "config.json" in damaged.remedy
    assert "None" not in damaged.remedy


def test_a_gguf_file_is_checked_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_SELFDEBUG_CACHE", str(tmp_path / "cache"))
    write_gguf(tmp_path / "tiny.gguf")
    finding = model_finding(str(tmp_path / "tiny.gguf"))
    assert finding.state == "ok"
    assert "repacked when it is first loaded" in finding.value
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.gguf"]
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    damaged = model_finding(str(tmp_path / "tiny.gguf"))
    assert damaged.state == "problem"
    assert "tiny.gguf" in damaged.remedy


def test_a_cache_error_without_a_hint_is_shown_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Path:
        raise UsageError("there is no home directory")

    monkeypatch.setattr("mlx_selfdebug.machine.cache_folder.default_cache_dir", refuse)
    (finding,) = examine_folders("nobody/no-such-model")
    assert finding.remedy == "there is no home directory"


def test_a_cache_that_cannot_be_made_and_a_model_that_is_not_here_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLX_SELFDEBUG_CACHE", str(tmp_path / "deep" / "cache"))
    findings = {finding.name: finding for finding in examine_folders("nobody/no-such-model")}
    assert findings["cache"].state == "ok"
    assert "not made yet" in findings["cache"].value
    assert findings["model"].remedy == "mlx-selfdebug models show nobody/no-such-model"
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize("cache", ["file", "file/deep/cache"])
def test_a_file_in_the_place_of_the_cache_is_a_problem(
    cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLX_SELFDEBUG_CACHE", str(tmp_path / cache))
    finding = next(finding for finding in examine_folders("nobody/no-such-model") if finding.name == "cache")
    assert finding.state == "problem"
    assert finding.value.endswith("file is not a folder")
    assert "MLX_SELFDEBUG_CACHE" in finding.remedy


def test_the_disk_of_the_hub_is_named_if_it_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_SELFDEBUG_CACHE", str(tmp_path / "cache"))
    for hub in (tmp_path, Path("/dev")):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub / "hub"))
        names = [finding.name for finding in examine_folders("nobody/no-such-model")]
        assert ("disk of the hub" in names) == (os.stat(hub).st_dev != os.stat(tmp_path).st_dev)


def test_this_machine_is_examined_and_no_problem_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    findings = {finding.name: finding for finding in examine(Config())}
    assert {"Python", "mlx", "backend", "sandbox", "hub", "disk"} <= set(findings)
    assert [finding for finding in findings.values() if finding.state != "ok" and not finding.remedy] == []


def test_the_attention_of_a_training_is_said_with_what_was_tried() -> None:
    """On the CPU, where doctor does not ask, MLX's own attention keeps the scores."""
    finding = training_attention(Shape(heads=4, key_heads=2, size=16, value_size=16, dtype=mx.float32))
    assert (finding.name, finding.state) == ("training attention", "ok")
    assert finding.value.startswith("ours (MLX's own has ")
    assert "times our peak, error " in finding.value
