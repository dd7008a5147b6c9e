"""An export is written whole or not at all, and says what it wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlx_lm
import pytest
from huggingface_hub import ModelCard

import mlx_selfdebug as sd
from mlx_selfdebug.errors import ModelError, StoreError, UsageError
from mlx_selfdebug.exporting.card import export_card, mlx_lm_form
from mlx_selfdebug.exporting.run_adapter import open_run_adapter
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.store import Run, open_stored
from mlx_selfdebug.training.adapter import Adapter

from ..support.adapters import distance, files_of, logits, logits_with, random_adapter


def test_mlx_is_a_copy_that_plain_mlx_lm_loads(model: Model, trained: Path, tmp_path: Path) -> None:
    folder = sd.export(trained, to="mlx", output=tmp_path / "out").path
    copied, ours = files_of(folder), files_of(trained / "adapter")
    assert {name: copied[name] for name in ours} == ours
    network, _ = mlx_lm.load(str(model.path), adapter_path=str(folder))
    assert distance(logits(network), logits_with(model, sd.open_adapter(folder))) < 1e-4


def test_an_export_says_what_it_wrote(trained: Path, tmp_path: Path) -> None:
    exported = sd.export(trained, to="peft", output=tmp_path / "deep" / "out")
    assert exported.files == {name: len(content) for name, content in files_of(exported.path).items()}
    assert str(exported).startswith(f"{exported.path}: peft, {exported.n_bytes / 1e6:.1f} MB\nbase: ")
    record = json.loads(json.dumps(exported.to_dict()))
    assert (record["form"], record["n_bytes"], record["path"]) == ("peft", exported.n_bytes, str(exported.path))


def test_a_run_may_be_open_while_it_is_exported(trained: Path, tmp_path: Path) -> None:
    with Run(trained) as run:
        assert sd.export(run, to="mlx", output=tmp_path / "out").files
    with open_stored(trained) as stored:
        assert sd.export(stored, to="mlx", output=tmp_path / "again").files


def test_an_adapter_is_the_same_by_its_run_and_by_its_own_folder(trained: Path) -> None:
    assert open_run_adapter(trained) == open_run_adapter(trained / "adapter")
    assert open_run_adapter(trained).is_of_run


def test_an_adapter_without_a_run_names_its_model_itself(model: Model, adapter: Adapter) -> None:
    source = open_run_adapter(adapter.path)
    assert (source.model_name, source.is_of_run) == (str(model.path.resolve()), False)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"base_origin": "hub:owner/coder@0123456789ab"}, "owner/coder"),
        ({"base_origin": "gguf:1d9614638d18"}, "qwen2.5-coder-0.5b"),
        ({"model": "owner/coder"}, "owner/coder"),
    ],
)
def test_the_model_of_an_adapter_follows_from_its_settings(adapter: Adapter, settings: Any, name: str) -> None:
    file = adapter.path / "adapter_config.json"
    written = json.loads(file.read_text())
    del written["base_origin"]
    file.write_text(json.dumps(written))
    with pytest.raises(ModelError, match="does not say which model") as caught:
        open_run_adapter(adapter.path)
    assert "--model" in str(caught.value.hint)
    file.write_text(json.dumps({**written, **settings}))
    assert open_run_adapter(adapter.path).model_name == name


@pytest.mark.parametrize("form", ["mlx", "peft", "fused", "gguf"])
def test_a_run_without_an_adapter_cannot_be_exported(run: Run, tmp_path: Path, form: str) -> None:
    with pytest.raises(StoreError, match="has no adapter yet") as caught:
        sd.export(run, to=form, output=tmp_path / "out")
    assert f"mlx-selfdebug train --run {run.path}" in str(caught.value.hint)
    assert not (tmp_path / "out").exists()


def test_a_place_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is neither a run nor an adapter in .*nowhere"):
        sd.export(tmp_path / "nowhere", to="mlx", output=tmp_path / "out")


@pytest.mark.parametrize("form", ["mlx", "peft", "fused", "gguf"])
def test_what_is_already_there_is_never_replaced(trained: Path, tmp_path: Path, form: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for output, said in ((tmp_path / "out", "is not empty"), (tmp_path / "file", "exists")):
        with pytest.raises(StoreError, match=f"{output} {said}: nothing was written"):
            sd.export(trained, to=form, output=output)
    assert files_of(tmp_path / "out") == {"mine.txt": b"mine"}
    assert (tmp_path / "file").read_text() == "mine"


def test_an_empty_folder_is_filled(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert sd.export(trained, to="mlx", output=tmp_path / "out").files


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"to": "onnx"}, "unknown form of an export 'onnx'"),
        ({"to": "pefd"}, "Did you mean 'peft'?"),
        ({"to": "peft", "bits": 8}, "bits goes with the form fused, and not with peft"),
        ({"to": "mlx", "dtype": "f16"}, "dtype goes with the forms fused and gguf, and not with mlx"),
        ({"to": "fused", "dtype": "f8"}, "unknown dtype of a fused model 'f8'"),
        ({"to": "fused", "dtype": "q8_0"}, "unknown dtype of a fused model 'q8_0'"),
        ({"to": "fused", "base": "owner/coder"}, "base goes with the form peft, and not with fused"),
    ],
)
def test_options_that_do_not_go_together_are_refused(trained: Path, tmp_path: Path, options: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        sd.export(trained, output=tmp_path / "out", **options)
    assert said in str(caught.value)


FULL = """
import resource, sys
import mlx_selfdebug as sd
from mlx_selfdebug.errors import StoreError
run, form, output = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
try:
    sd.export(run, to=form, output=output)
except StoreError as error:
    print(error)
"""


@pytest.mark.parametrize("form", ["mlx", "peft", "fused"])
def test_a_disk_that_fills_is_a_clear_error_and_leaves_nothing(trained: Path, tmp_path: Path, form: str) -> None:
    output = tmp_path / "out" / "export"
    ended = subprocess.run(
        [sys.executable, "-c", FULL, str(trained), form, str(output)], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"{output} cannot be written: ")
    assert list(output.parent.iterdir()) == []


def test_the_card_of_an_adapter_without_a_run_says_how_it_is_used(adapter: Adapter, tmp_path: Path) -> None:
    folder = sd.export(adapter.path, to="peft", output=tmp_path / "out", base="owner/coder").path
    card = ModelCard((folder / "README.md").read_text())
    assert (card.data.base_model, card.data.library_name) == ("owner/coder", "peft")
    assert card.text.startswith("\n# coder: adapter in PEFT's format\n")
    assert 'AutoModelForCausalLM.from_pretrained("owner/coder")' in card.text


def test_a_backslash_in_the_name_of_the_base_stands_in_the_title_of_the_card(tmp_path: Path, model: Model) -> None:
    from ..support.runs import make_run

    with make_run(tmp_path / "run", tasks=12, pairs=6) as run:
        random_adapter(model, run.adapter_path)
    card = ModelCard(export_card(open_run_adapter(tmp_path / "run"), mlx_lm_form(r"my\data")))
    assert card.text.startswith("\n# my\\data: adapter\n")


def test_the_card_of_a_run_keeps_its_figures(tmp_path: Path, model: Model) -> None:
    from ..support.runs import make_run

    with make_run(tmp_path / "run", tasks=12, pairs=6) as run:
        random_adapter(model, run.adapter_path)
    exported = sd.export(tmp_path / "run", to="mlx", output=tmp_path / "out")
    card = ModelCard((exported.path / "README.md").read_text())
    assert card.data.eval_results
    assert "| first draft |" in card.text
    assert card.text.count("\n# ") == 1
    assert card.text.count("\n## Use\n") == 1
