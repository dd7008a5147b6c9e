from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

import gguf
import numpy as np
import pytest

from mlx_selfdebug.errors import ModelError, SelfDebugError, StoreError, UnknownNameError
from mlx_selfdebug.exporting import gguf_tensors
from mlx_selfdebug.exporting.gguf import export_gguf
from mlx_selfdebug.models.adapters import SETTINGS, WEIGHTS
from mlx_selfdebug.models.checksum import sha256_of
from mlx_selfdebug.models.gguf_file import read_gguf
from mlx_selfdebug.models.gguf_import import import_gguf
from mlx_selfdebug.models.load import Model, load_model, open_model
from mlx_selfdebug.testing import tiny_model
from mlx_selfdebug.training.adapter import Adapter
from tests.exporting.making import embedding_adapter, random_adapter, tiny_with
from tests.models.tiny import write_gguf

PROMPT = [3, 77, 250, 9, 121, 121, 4]
DENSE = {"f32": mx.float32, "f16": mx.float16, "bf16": mx.bfloat16}


def brought_back(path: Path, models: Path) -> Path:
    """The MLX folder that our importer makes of a file."""
    return import_gguf(path, models, sha256_of(path))


def logits(network: nn.Module) -> np.ndarray:
    return np.array(network(mx.array([PROMPT])).astype(mx.float32))


def merged(model: Model, adapter: Adapter) -> dict[str, mx.array]:
    """The weights of the model's folder with the updates of LoRA added in float32."""
    weights = mx.load(str(model.path / "model.safetensors"))
    updates = mx.load(str(adapter.path / WEIGHTS))
    scale = json.loads((adapter.path / SETTINGS).read_text())["lora_parameters"]["scale"]
    for name, a in updates.items():
        if name.endswith(".lora_a"):
            b, path = updates[name.removesuffix("a") + "b"], name.removesuffix(".lora_a")
            weights[f"{path}.weight"] += (scale * b.T) @ a.T
    return weights


def same(one: mx.array, other: mx.array) -> bool:
    return one.dtype == other.dtype and bool(mx.array_equal(one, other))


@pytest.fixture(params=["qwen2", "llama"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Model:
    return tiny_model(tmp_path / "tiny", architecture=request.param)


@pytest.fixture
def adapter(model: Model, tmp_path: Path) -> Adapter:
    return random_adapter(model, tmp_path / "first" / "adapter")


@pytest.mark.parametrize("dtype", DENSE)
def test_the_importer_reads_every_tensor_back_bit_for_bit(
    dtype: str, model: Model, adapter: Adapter, tmp_path: Path
) -> None:
    path = export_gguf(model, adapter, tmp_path / "m.gguf", dtype)
    back = mx.load(str(brought_back(path, tmp_path / "models") / "model.safetensors"))
    expected = merged(model, adapter)
    assert back.keys() == expected.keys()
    for name, weight in expected.items():
        assert same(back[name], weight.astype(DENSE[dtype]) if weight.ndim == 2 else weight), name


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_with_a_head_of_its_own_gets_one_in_the_file(tied: bool, tmp_path: Path) -> None:
    model = tiny_with(tmp_path / "tiny", "llama", tie_word_embeddings=tied)
    path = export_gguf(model, None, tmp_path / "m.gguf", "f32")
    assert ("output.weight" in read_gguf(path).tensors) is not tied
    back = load_model(str(brought_back(path, tmp_path / "models")))
    assert np.array_equal(logits(back.network), logits(model.network))


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_the_file_computes_what_model_and_adapter_compute(method: str, model: Model, tmp_path: Path) -> None:
    adapter = random_adapter(model, tmp_path / "adapter", method)
    base = logits(model.network)
    with adapter.applied(model):
        expected = logits(model.network)
    path = export_gguf(model, adapter, tmp_path / "m.gguf", "f32")
    back = load_model(str(brought_back(path, tmp_path / "models")))
    assert np.abs(logits(back.network) - expected).max() <= 1e-4 * np.abs(expected).max()
    assert np.abs(base - expected).max() > 0.1 * np.abs(expected).max()


def test_an_adapter_of_the_embedding_is_merged_too(model: Model, tmp_path: Path) -> None:
    adapter = embedding_adapter(model, tmp_path / "adapter")
    with adapter.applied(model):
        expected = logits(model.network)
    back = load_model(str(brought_back(export_gguf(model, adapter, tmp_path / "m.gguf", "f32"), tmp_path / "models")))
    assert np.abs(logits(back.network) - expected).max() <= 1e-4 * np.abs(expected).max()


def test_the_configuration_comes_back(model: Model, adapter: Adapter, tmp_path: Path) -> None:
    path = export_gguf(model, adapter, tmp_path / "m.gguf")
    back = json.loads((brought_back(path, tmp_path / "models") / "config.json").read_text())
    shared = {key: value for key, value in model.config.items() if key != "eos_token_id"}
    assert {key: back[key] for key in shared} == shared
    assert model.config["eos_token_id"] in back["eos_token_id"]


def test_a_file_that_was_read_and_written_again_is_read_as_before(tmp_path: Path) -> None:
    # transformers gives these two to every tokenizer of Qwen2, so a file without them would come back with them.
    roles = {"tokenizer.ggml.padding_token_id": 0, "tokenizer.ggml.unknown_token_id": 0}
    write_gguf(tmp_path / "first.gguf", kind=gguf.GGMLQuantizationType.F16, metadata=roles)
    first = brought_back(tmp_path / "first.gguf", tmp_path / "models")
    export_gguf(load_model(str(first)), None, tmp_path / "second.gguf")
    second = brought_back(tmp_path / "second.gguf", tmp_path / "models")
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_the_weights_of_a_quantized_model_are_rounded_once(method: str, tmp_path: Path) -> None:
    write_gguf(tmp_path / "first.gguf", kind=gguf.GGMLQuantizationType.Q5_0)
    folder = brought_back(tmp_path / "first.gguf", tmp_path / "models")
    opened, loaded = open_model(str(folder)), load_model(str(folder))
    adapter = random_adapter(loaded, tmp_path / "adapter", method)
    of_opened = export_gguf(opened, adapter, tmp_path / "opened.gguf")
    of_loaded = export_gguf(loaded, adapter, tmp_path / "loaded.gguf")
    assert of_opened.read_bytes() == of_loaded.read_bytes()
    weights = dict(mx.load(str(folder / "model.safetensors")))
    path = "model.layers.0.mlp.up_proj"
    parts = (weights[f"{path}.scales"].astype(mx.float32), weights[f"{path}.biases"].astype(mx.float32))
    exact = mx.dequantize(weights[f"{path}.weight"], *parts, group_size=32, bits=5)
    plain = export_gguf(opened, None, tmp_path / "plain.gguf")
    back = mx.load(str(brought_back(plain, tmp_path / "models") / "model.safetensors"))
    assert same(back[f"{path}.weight"], exact.astype(mx.float16))


def test_q8_0_is_what_the_gguf_package_makes_of_the_weights(model: Model, adapter: Adapter, tmp_path: Path) -> None:
    file = read_gguf(export_gguf(model, adapter, tmp_path / "m.gguf", "q8_0"))
    tensor = file.tensors["blk.1.ffn_down.weight"]
    weight = np.array(merged(model, adapter)["model.layers.1.mlp.down_proj.weight"])
    expected = gguf.quants.quantize(weight, gguf.GGMLQuantizationType.Q8_0)
    assert tensor.type_name == "Q8_0"
    assert np.array_equal(file.read_rows(tensor, 0, tensor.shape[0]), expected)
    back = load_model(str(brought_back(file.path, tmp_path / "models")))
    assert np.isfinite(logits(back.network)).all()


def test_rows_that_are_no_whole_blocks_are_written_as_float16(tmp_path: Path) -> None:
    model = tiny_with(tmp_path / "tiny", "llama", intermediate_size=72)
    file = read_gguf(export_gguf(model, None, tmp_path / "m.gguf", "q8_0"))
    kinds = {name: tensor.type_name for name, tensor in file.tensors.items() if name.startswith("blk.0.ffn")}
    assert kinds == {
        "blk.0.ffn_norm.weight": "F32",
        "blk.0.ffn_gate.weight": "Q8_0",
        "blk.0.ffn_up.weight": "Q8_0",
        "blk.0.ffn_down.weight": "F16",
    }


@pytest.mark.parametrize("dtype", ["f16", "q8_0"])
def test_the_size_of_the_pieces_changes_nothing(
    dtype: str, model: Model, adapter: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = export_gguf(model, adapter, tmp_path / "whole.gguf", dtype).read_bytes()
    monkeypatch.setattr(gguf_tensors, "WEIGHTS_PER_PIECE", 1000)
    assert export_gguf(model, adapter, tmp_path / "pieces.gguf", dtype).read_bytes() == whole


def test_the_model_is_the_base_afterwards(model: Model, adapter: Adapter, tmp_path: Path) -> None:
    before = logits(model.network)
    export_gguf(model, adapter, tmp_path / "m.gguf")
    assert np.array_equal(logits(model.network), before)


def test_the_file_names_the_adapter_and_its_base(model: Model, adapter: Adapter, tmp_path: Path) -> None:
    metadata = read_gguf(export_gguf(model, adapter, tmp_path / "m.gguf")).metadata
    assert metadata["general.name"] == "tiny-first"
    assert metadata["general.finetune"] == "first"
    assert adapter.digest() in str(metadata["general.description"])
    assert metadata["general.base_model.0.name"] == "tiny"
    assert (metadata["general.file_type"], metadata["general.quantization_version"]) == (1, 2)
    assert str(tmp_path) not in json.dumps(metadata)


def test_a_base_of_the_hub_is_named_with_its_revision(model: Model, adapter: Adapter, tmp_path: Path) -> None:
    model.name, model.origin = "org/Small-Coder", "hub:org/Small-Coder@0123456789ab"
    metadata = read_gguf(export_gguf(model, Adapter(adapter.path, ""), tmp_path / "m.gguf")).metadata
    assert metadata["general.base_model.0.repo_url"] == "https://huggingface.co/org/Small-Coder"
    assert metadata["general.base_model.0.version"] == "0123456789ab"
    assert metadata["general.name"] == "Small-Coder-first"


def test_rows_beyond_the_tokenizer_are_unused_tokens(tmp_path: Path) -> None:
    model = tiny_with(tmp_path / "tiny", "qwen2", vocab_size=300)
    path = export_gguf(model, None, tmp_path / "m.gguf")
    metadata = read_gguf(path).metadata
    assert (metadata["tokenizer.ggml.tokens"][258:], metadata["tokenizer.ggml.token_type"][258:]) == (
        ["<|im_end|>", *(f"[PAD{i}]" for i in range(259, 300))],
        [3] + [5] * 41,
    )
    folder = brought_back(path, tmp_path / "models")
    assert load_model(str(folder)).network.model.embed_tokens.weight.shape == (300, 64)


def test_linear_scaling_of_positions_comes_back(tmp_path: Path) -> None:
    scaling = {"type": "linear", "factor": 4.0}
    model = tiny_with(tmp_path / "tiny", "qwen2", rope_scaling=scaling)
    back = brought_back(export_gguf(model, None, tmp_path / "m.gguf", "f32"), tmp_path / "models")
    assert json.loads((back / "config.json").read_text())["rope_scaling"] == scaling
    assert np.array_equal(logits(load_model(str(back)).network), logits(model.network))


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def test_the_scaling_of_positions_of_llama_3_comes_back(tmp_path: Path) -> None:
    model = tiny_with(tmp_path / "tiny", "llama", rope_scaling=LLAMA3, rope_theta=500_000.0, head_dim=64)
    path = export_gguf(model, None, tmp_path / "m.gguf", "f32")
    factors = read_gguf(path).tensors["rope_freqs.weight"]
    assert (factors.shape, factors.type_name) == ((32,), "F32")
    back = brought_back(path, tmp_path / "models")
    assert json.loads((back / "config.json").read_text())["rope_scaling"] == LLAMA3
    assert np.array_equal(logits(load_model(str(back)).network), logits(model.network))


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "a recurrent architecture": ("qwen3_5", {}, r"architecture 'qwen3_5'.*llama and qwen2 are"),
    "another architecture": ("qwen3", {}, r"architecture 'qwen3'.*llama and qwen2 are"),
    "biases": ("llama", {"attention_bias": True}, r"has model\.layers\.0\.self_attn\.k_proj\.bias.*and 7 more"),
    "yarn": ("qwen2", {"rope_scaling": {"type": "yarn", "factor": 4.0}}, "scales positions by 'yarn'"),
    "llama 3 scaling of qwen2": ("qwen2", {"rope_scaling": LLAMA3}, r"'llama3'.*architecture qwen2"),
    "another rotation": ("llama", {"rope_traditional": True}, "neighbouring dimensions"),
    "a sliding window": (
        "llama",
        {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 64},
        "sliding window",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_gguf_has_no_words_for_is_refused_by_name_and_leaves_nothing(case: str, tmp_path: Path) -> None:
    architecture, changes, match = REFUSED[case]
    model = tiny_with(tmp_path / "tiny", architecture, **changes)
    with pytest.raises(ModelError, match=match):
        export_gguf(model, None, tmp_path / "out" / "m.gguf")
    assert not (tmp_path / "out").exists()


def failed_export(model: Model, adapter: Adapter | None, output: Path, dtype: str = "f16") -> SelfDebugError:
    """The error of an export that leaves everything as it was."""
    before = sorted(output.parent.iterdir())
    with pytest.raises(SelfDebugError) as caught:
        export_gguf(model, adapter, output, dtype)
    assert sorted(output.parent.iterdir()) == before
    assert "\n" not in str(caught.value)
    return caught.value


def test_an_existing_file_is_left_as_it_is(model: Model, tmp_path: Path) -> None:
    output = tmp_path / "m.gguf"
    output.write_text("mine")
    error = failed_export(model, None, output)
    assert isinstance(error, StoreError)
    assert "m.gguf exists" in str(error)
    assert output.read_text() == "mine"


def test_a_full_disk_is_told_before_anything_is_written(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr("mlx_selfdebug.exporting.gguf.shutil.disk_usage", lambda folder: Usage)
    error = failed_export(model, None, tmp_path / "m.gguf")
    assert "0.03 GB needed, 0.00 GB free" in str(error)


@pytest.mark.parametrize("limit", [1000, 100_000])
def test_a_disk_that_fills_up_leaves_nothing(limit: int, model: Model, tmp_path: Path) -> None:
    """The limit on the size of a file stands for a disk that is full: within the metadata, or within the tensors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        error = failed_export(model, None, tmp_path / "m.gguf")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(error, StoreError)
    assert "m.gguf cannot be written: File too large" in str(error)


def test_a_folder_that_is_a_file_is_told(model: Model, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        export_gguf(model, None, tmp_path / "file" / "m.gguf")


def test_an_adapter_of_another_model_is_refused(model: Model, tmp_path: Path) -> None:
    other = random_adapter(tiny_model(tmp_path / "other", seed=5), tmp_path / "adapter")
    assert "was trained on folder:" in str(failed_export(model, other, tmp_path / "m.gguf"))


def test_a_model_that_has_an_adapter_is_refused(model: Model, adapter: Adapter, tmp_path: Path) -> None:
    loaded = load_model(str(model.path), adapter=adapter.path)
    assert "already" in str(failed_export(loaded, adapter, tmp_path / "m.gguf"))


def test_an_unknown_dtype_is_refused_with_those_that_there_are(model: Model, tmp_path: Path) -> None:
    error = failed_export(model, None, tmp_path / "m.gguf", "q4_k")
    assert isinstance(error, UnknownNameError)
    assert "Known: bf16, f16, f32, q8_0" in str(error)


@pytest.mark.parametrize(("value", "match"), [(7e4, "float16 ends at 65504"), (float("nan"), "not a finite number")])
def test_a_weight_that_cannot_be_written_is_named(value: float, match: str, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "tiny")
    model.network.layers[1].mlp.up_proj.weight[3, 5] = value
    error = failed_export(model, None, tmp_path / "m.gguf")
    assert "model.layers.1.mlp.up_proj.weight" in str(error)
    assert match in str(error)


def test_weights_beyond_float16_fit_bfloat16(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "tiny")
    model.network.layers[1].mlp.up_proj.weight[3, 5] = 7e4
    back = brought_back(export_gguf(model, None, tmp_path / "m.gguf", "bf16"), tmp_path / "models")
    weight = mx.load(str(back / "model.safetensors"))["model.layers.1.mlp.up_proj.weight"]
    assert float(weight[3, 5]) == pytest.approx(7e4, rel=2**-8)
