"""The command `export`: what it prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlx_selfdebug.cli.export import export_command
from mlx_selfdebug.cli.main import cli
from mlx_selfdebug.exporting.export import FORMS
from mlx_selfdebug.exporting.fused import DTYPES
from mlx_selfdebug.models.load import load_model
from mlx_selfdebug.store import Run

from ..support.adapters import random_adapter
from ..support.values import small_config
from .test_cli import run_cli


@pytest.fixture
def trained(tiny_folder: Path, tmp_path: Path) -> Path:
    """The folder of a run with an adapter."""
    with Run(tmp_path / "run", small_config(model=str(tiny_folder))) as run:
        random_adapter(load_model(str(tiny_folder)), run.adapter_path)
    return tmp_path / "run"


def test_the_choices_of_the_command_are_those_of_the_library() -> None:
    choices = {param.name: getattr(param.type, "choices", None) for param in export_command.params}
    assert list(choices["form"]) == list(FORMS)
    assert list(choices["dtype"]) == [*DTYPES, "q8_0"]


def test_json_says_what_was_written(trained: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    result = CliRunner().invoke(cli, ["export", str(trained), "--to", "peft", "--output", str(output), "--json"])
    assert result.exit_code == 0, result.output
    written = json.loads(result.stdout)
    assert written["files"].keys() == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert written["n_bytes"] == sum(file.stat().st_size for file in output.iterdir())


@pytest.mark.slow
def test_the_difference_of_logits_is_printed_for_eight_bits_and_stays_out_of_jsons_way(
    trained: Path, tmp_path: Path
) -> None:
    args = ("export", str(trained), "--to", "fused", "--bits", "8", "--output")
    shown = run_cli(*args, str(tmp_path / "a"))
    assert "fused, 8 bits, " in shown.stdout
    assert "logits differ by " in shown.stdout
    assert json.loads(run_cli(*args, str(tmp_path / "b"), "--json").stdout)["difference"]["n_tokens"] == 256


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("RUN", "--to", "onnx"), 2, "'onnx' is not one of 'mlx', 'peft', 'fused', 'gguf'"),
        (("RUN", "--to", "fused", "--bits", "4"), 2, "with fewer, the adapter would be rounded away"),
        (("nowhere", "--to", "mlx"), 1, "there is neither a run nor an adapter in nowhere"),
        (("RUN", "--to", "fused", "--model", "nowhere/at/all"), 2, "unknown model"),
    ],
)
def test_a_wrong_word_is_one_clear_error_and_leaves_nothing_behind(
    trained: Path, tmp_path: Path, args: tuple[str, ...], code: int, said: str
) -> None:
    output = tmp_path / "out"
    result = run_cli("export", *(str(trained) if arg == "RUN" else arg for arg in args), "--output", str(output))
    assert result.returncode == code, result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert not output.exists()
