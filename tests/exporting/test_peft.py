"""An adapter that goes to PEFT computes the same there, and comes back byte by byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx

import pytest

import mlx_selfdebug as sd
from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.testing import tiny_model, write_tiny_model
from mlx_selfdebug.training.adapter import Adapter, open_adapter

from ..support.adapters import back, distance, files_of, logits_with, random_adapter, to_peft

KINDS: list[dict[str, Any]] = [{}, {"method": "dora"}, {"layers": 1}, {"rank": 3, "scale": 0.1}]


def settings_of(folder: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text())
    return settings


def saved_again(folder: Path, to: Path, *, change: float = 0.0) -> Path:
    """Write an adapter in the way in which PEFT writes one that it has loaded.

    The order of settings and tensors is another, tensors are in float32, and the header of the file of weights says "pt".
    """
    to.mkdir()
    settings = settings_of(folder)
    settings["target_modules"] = settings["target_modules"][::-1]
    (to / "adapter_config.json").write_text(json.dumps({**settings, "peft_version": "0.21.2"}, sort_keys=True))
    arrays = mx.load(str(folder / "adapter_model.safetensors"))
    wide = {name: array.astype(mx.float32) + change for name, array in sorted(arrays.items(), reverse=True)}
    mx.save_safetensors(str(to / "adapter_model.safetensors"), wide, metadata={"format": "pt"})
    return to


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_an_adapter_comes_back_from_pefts_format_byte_by_byte(model: Model, tmp_path: Path, kind: Any) -> None:
    adapter = random_adapter(model, tmp_path / "ours", **kind)
    folder = to_peft(adapter, tmp_path / "peft")
    assert back(folder) == files_of(adapter.path)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16], ids=str)
def test_it_comes_back_byte_by_byte_even_if_peft_has_written_it_anew(
    adapter: Adapter, tmp_path: Path, dtype: Any
) -> None:
    weights = adapter.path / "adapters.safetensors"
    mx.save_safetensors(str(weights), {name: array.astype(dtype) for name, array in mx.load(str(weights)).items()})
    before = files_of(adapter.path)
    folder = saved_again(to_peft(adapter, tmp_path / "peft"), tmp_path / "saved")
    assert back(folder) == before


def test_settings_that_only_we_know_come_back_too(adapter: Adapter, tmp_path: Path) -> None:
    file = adapter.path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "gate": {"recommended": "base"}, "é": 1}))
    assert back(to_peft(adapter, tmp_path / "peft"))["adapter_config.json"] == file.read_bytes()


def test_an_adapter_that_was_trained_further_in_peft_is_a_new_one(
    model: Model, adapter: Adapter, tmp_path: Path
) -> None:
    folder = saved_again(to_peft(adapter, tmp_path / "peft"), tmp_path / "saved", change=0.01)
    changed = open_adapter(folder)
    assert changed.base == ""
    came_back = sd.export(folder, to="mlx", output=tmp_path / "back", model=str(model.path)).path
    assert "gate" not in settings_of(came_back)
    assert distance(logits_with(model, open_adapter(came_back)), logits_with(model, changed)) < 1e-6
    assert distance(logits_with(model, changed), logits_with(model, adapter)) > 1e-3


def test_an_adapter_in_pefts_format_computes_what_it_computed_before(
    model: Model, adapter: Adapter, tmp_path: Path
) -> None:
    folder = to_peft(adapter, tmp_path / "peft")
    assert distance(logits_with(model, open_adapter(folder)), logits_with(model, adapter)) == 0.0


def test_an_adapter_in_pefts_format_still_knows_the_weights_that_it_was_trained_on(
    adapter: Adapter, tmp_path: Path
) -> None:
    other = tiny_model(tmp_path / "other", seed=5)
    exported = open_adapter(to_peft(adapter, tmp_path / "peft"))
    assert exported.base == adapter.base
    with pytest.raises(ModelError, match="was trained on folder:"), exported.applied(other):
        pass


@pytest.mark.parametrize(
    ("settings", "targets", "layers"),
    [({}, {"q_proj", "v_proj", "down_proj"}, None), ({"layers": 1}, {"k_proj", "gate_proj"}, [1])],
)
def test_the_settings_name_the_layers_as_peft_looks_for_them(
    model: Model, tmp_path: Path, settings: Any, targets: set[str], layers: Any
) -> None:
    adapter = random_adapter(model, tmp_path / "ours", rank=4, scale=3.0, **settings)
    written = settings_of(to_peft(adapter, tmp_path / "peft"))
    assert targets < set(written["target_modules"])
    assert written["layers_to_transform"] == layers
    assert (written["r"], written["lora_alpha"]) == (4, 12)


def test_layers_that_are_not_alike_are_named_one_by_one(model: Model, adapter: Adapter, tmp_path: Path) -> None:
    weights = adapter.path / "adapters.safetensors"
    left_out = "model.layers.0.mlp.up_proj"
    arrays = {name: array for name, array in mx.load(str(weights)).items() if not name.startswith(left_out)}
    mx.save_safetensors(str(weights), arrays)
    written = settings_of(to_peft(adapter, tmp_path / "peft"))
    assert "model.layers.0.mlp.down_proj" in written["target_modules"]
    assert left_out not in written["target_modules"]


def test_the_base_is_named_as_transformers_knows_it(trained: Path, tmp_path: Path) -> None:
    exported = sd.export(trained, to="peft", output=tmp_path / "named", base="someone/tiny")
    assert settings_of(exported.path)["base_model_name_or_path"] == exported.base == "someone/tiny"
    assumed = sd.export(trained, to="peft", output=tmp_path / "assumed")
    assert "It is assumed that transformers loads the base model as" in str(assumed)


def test_an_architecture_whose_names_are_not_known_is_refused_by_name(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "tiny", architecture="qwen3_5")
    adapter = random_adapter(model, tmp_path / "ours")
    with pytest.raises(ModelError, match="is a qwen3_5 model, whose layers may have other names"):
        sd.export(adapter.path, to="peft", output=tmp_path / "peft", model=str(model.path))
    assert not (tmp_path / "peft").exists()


def test_an_adapter_of_the_embedding_is_refused_by_name(model: Model, adapter: Adapter, tmp_path: Path) -> None:
    weights = adapter.path / "adapters.safetensors"
    vocabulary, width = model.network.model.embed_tokens.weight.shape
    more = {"model.embed_tokens.lora_a": mx.ones((vocabulary, 4)), "model.embed_tokens.lora_b": mx.ones((4, width))}
    mx.save_safetensors(str(weights), {**mx.load(str(weights)), **more})
    with pytest.raises(ModelError, match=r"model\.embed_tokens is a layer of the type Embedding"):
        to_peft(adapter, tmp_path / "peft")


def test_an_adapter_of_a_larger_model_is_refused(adapter: Adapter, tmp_path: Path) -> None:
    other = write_tiny_model(tmp_path / "other", hidden_size=32)
    with pytest.raises(ModelError, match="does not fit"):
        sd.export(adapter.path, to="peft", output=tmp_path / "peft", model=str(other))
