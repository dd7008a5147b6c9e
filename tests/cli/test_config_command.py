from __future__ import annotations

import json
from pathlib import Path

import pytest

from .test_cli import run_cli


def test_init_writes_a_file_that_show_reads_with_the_origin_of_each_value(tmp_path: Path) -> None:
    made = run_cli("config", "init", "my file.toml", "--preset", "demo", "--collect-samples", "3", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "--config 'my file.toml'" in made.stdout
    shown = run_cli("config", "show", "--config", "my file.toml", "--json", cwd=tmp_path)
    settings = json.loads(shown.stdout)
    assert settings["collect.samples"] == {"value": 3, "origin": "file"}
    assert settings["collect.limit"] == {"value": 8, "origin": "preset demo"}
    assert settings["collect.forks"]["origin"] == "default"


def test_init_overwrites_nothing_unless_told_to(tmp_path: Path) -> None:
    file = tmp_path / "mlx-selfdebug.toml"
    file.write_text("seed = 7\n")
    refused = run_cli("config", "init", cwd=tmp_path)
    assert refused.returncode == 2
    assert "already exists" in refused.stderr
    assert file.read_text() == "seed = 7\n"
    assert run_cli("config", "init", "--force", cwd=tmp_path).returncode == 0
    assert "seed = 0" in file.read_text()


@pytest.mark.parametrize("path", ["none/deeper/a.toml", "-"])
def test_init_makes_the_folders_or_writes_to_the_terminal(path: str, tmp_path: Path) -> None:
    made = run_cli("config", "init", path, cwd=tmp_path)
    assert made.returncode == 0
    text = made.stdout if path == "-" else (tmp_path / path).read_text()
    assert "[collect]" in text
