"""A fused model computes what base and adapter compute, and plain mlx-lm loads it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

import mlx_lm
import pytest
from huggingface_hub import ModelCard
from mlx.utils import tree_flatten
from mlx_lm.utils import save_config, save_model

import mlx_selfdebug as sd
from mlx_selfdebug.errors import ModelError, UsageError
from mlx_selfdebug.exporting.fused import fuse
from mlx_selfdebug.models.load import Model, load_model, open_model
from mlx_selfdebug.testing import tiny_model
from mlx_selfdebug.training.adapter import Adapter, open_adapter

from ..support.adapters import distance, logits, logits_with, random_adapter

PROMPTS = [[97 + i, 98, 99] for i in range(4)]


def greedy(network: Any, tokenizer: Any) -> list[list[int]]:
    """The tokens that a network writes. Those of a tiny model are bytes, which are no text."""
    answers = [mlx_lm.stream_generate(network, tokenizer, prompt, max_tokens=12) for prompt in PROMPTS]
    return [[response.token for response in answer] for answer in answers]


def write_headed_model(source: Path, folder: Path, *, bits: int | None = None) -> Path:
    """Write a model with a head of its own, since a tiny one with a tied head only repeats the last token.

    With ``bits``, the weights are quantized, as a hub repository for MLX has them.
    """
    shutil.copytree(source, folder)
    config = {**json.loads((folder / "config.json").read_text()), "tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))
    mx.random.seed(4)
    network, config = mlx_lm.utils.load_model(folder, strict=False)
    if bits:
        nn.quantize(network, 32, bits)
        network.set_dtype(mx.float16)
        config["quantization"] = {"group_size": 32, "bits": bits}
    save_model(folder, network)
    save_config(config, folder / "config.json")
    return folder


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_plain_mlx_lm_loads_a_fused_model_which_writes_what_base_and_adapter_write(
    tiny_folder: Path, tmp_path: Path, method: str
) -> None:
    model = load_model(str(write_headed_model(tiny_folder, tmp_path / "headed")))
    adapter = random_adapter(model, tmp_path / "ours", method=method)
    folder = sd.export(adapter.path, to="fused", output=tmp_path / "fused").path
    network, tokenizer = mlx_lm.load(str(folder))
    assert distance(logits(network), logits_with(model, adapter)) < 1e-4
    with adapter.applied(model):
        expected = greedy(model.network, model.tokenizer)
    assert greedy(network, tokenizer) == expected
    assert expected != greedy(model.network, model.tokenizer)


def test_weights_that_are_quantized_on_disk_are_made_dense_exactly(tiny_folder: Path, tmp_path: Path) -> None:
    model = load_model(str(write_headed_model(tiny_folder, tmp_path / "quantized", bits=4)))
    adapter = random_adapter(model, tmp_path / "ours")
    exported = sd.export(adapter.path, to="fused", dtype="f32", output=tmp_path / "fused")
    network, _ = mlx_lm.load(str(exported.path))
    assert distance(logits(network), logits_with(model, adapter)) < 1e-4
    assert "quantization" not in json.loads((exported.path / "config.json").read_text())
    assert {array.dtype for _, array in tree_flatten(network.parameters())} == {mx.float32}


def test_the_weights_get_the_dtype_that_is_asked_for(adapter: Adapter, tmp_path: Path) -> None:
    exported = sd.export(adapter.path, to="fused", dtype="bf16", output=tmp_path / "fused")
    network, _ = mlx_lm.load(str(exported.path))
    assert {array.dtype for _, array in tree_flatten(network.parameters())} == {mx.bfloat16}
    assert json.loads((exported.path / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_eight_bits_are_loaded_by_plain_mlx_lm_and_the_difference_is_told(
    model: Model, adapter: Adapter, tmp_path: Path
) -> None:
    exported = sd.export(adapter.path, to="fused", bits=8, output=tmp_path / "fused")
    network, _ = mlx_lm.load(str(exported.path))
    assert isinstance(network.layers[0].mlp.down_proj, nn.QuantizedLinear)
    assert exported.difference is not None
    assert exported.difference.n_tokens == 256
    assert 0 < exported.difference.mean_difference < exported.difference.max_difference < 0.1
    assert exported.difference.same_share > 0.9
    assert "the likeliest token is the same at" in str(exported)
    far = distance(logits(network), logits_with(model, adapter))
    assert far < 10 * exported.difference.max_difference


def test_the_difference_of_a_model_that_was_fused_with_another_adapter_is_large(
    model: Model, adapter: Adapter, tmp_path: Path
) -> None:
    from mlx_selfdebug.exporting.difference import answer_logits, compare_logits

    plain = answer_logits(model)
    with adapter.applied(model):
        difference = compare_logits(plain, answer_logits(model))
    assert difference.max_difference > 0.1
    assert difference.same_share < 1


@pytest.mark.parametrize("bits", [2, 4, 6])
def test_fewer_bits_are_refused_because_they_would_round_the_adapter_away(
    adapter: Adapter, tmp_path: Path, bits: int
) -> None:
    with pytest.raises(UsageError, match=f"bits = {bits}, but a fused model has 8 bits"):
        sd.export(adapter.path, to="fused", bits=bits, output=tmp_path / "fused")


def test_the_model_that_is_fused_stays_as_it_is(model: Model, adapter: Adapter) -> None:
    before = logits(model.network)
    network = fuse(model, adapter)
    assert distance(logits(network), before) > 1e-2
    assert distance(logits(model.network), before) == 0.0


def test_a_model_that_was_only_opened_can_be_fused(model: Model, adapter: Adapter) -> None:
    network = fuse(open_model(str(model.path)), adapter)
    assert distance(logits(network), logits_with(model, adapter)) < 1e-4


def test_an_adapter_that_was_trained_on_other_weights_is_refused(adapter: Adapter, tmp_path: Path) -> None:
    other = tiny_model(tmp_path / "other", seed=3)
    with pytest.raises(ModelError, match="was trained on folder:"):
        sd.export(adapter.path, to="fused", model=str(other.path), output=tmp_path / "fused")
    assert not (tmp_path / "fused").exists()


def test_an_adapter_of_peft_can_be_fused(model: Model, adapter: Adapter, tmp_path: Path) -> None:
    folder = sd.export(adapter.path, to="peft", output=tmp_path / "peft").path
    network = fuse(model, open_adapter(folder))
    assert distance(logits(network), logits_with(model, adapter)) < 1e-4


def test_the_tokenizer_goes_along_and_the_card_says_what_it_is(trained: Path, tmp_path: Path) -> None:
    exported = sd.export(trained, to="fused", output=tmp_path / "fused")
    assert {"tokenizer.json", "tokenizer_config.json", "config.json", "model.safetensors", "README.md"} <= set(
        exported.files
    )
    card = ModelCard((exported.path / "README.md").read_text())
    assert "model with an adapter merged into it, float32 weights" in card.text
    assert "Trained by mlx-selfdebug on 0 pairs" in card.text
    assert "mlx_lm.generate --model ." in card.text
    assert "--adapter-path" not in card.text
