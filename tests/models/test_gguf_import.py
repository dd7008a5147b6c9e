from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx

import mlx_lm
import mlx_lm.models.llama
import mlx_lm.models.qwen2
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from mlx_lm.utils import dequantize_model, load_model

from mlx_selfdebug.errors import DownloadError, FormatError
from mlx_selfdebug.models import cache
from mlx_selfdebug.models.checksum import sha256_of
from mlx_selfdebug.models.gguf_file import read_gguf
from mlx_selfdebug.models.gguf_import import import_gguf
from mlx_selfdebug.models.gguf_model import plan_model
from mlx_selfdebug.models.sealed import is_sound
from tests.models.tiny import HEAD_DIM, MakeGguf, reorder_as_llama_cpp

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_output": "self_attn.o_proj",
    **{f"attn_{x}": f"self_attn.{x}_proj" for x in "qkv"},
    **{f"ffn_{x}": f"mlp.{x}_proj" for x in ("gate", "up", "down")},
}


def mlx_name(name: str) -> str:
    *block, part, leaf = name.split(".")
    return ".".join([*(["model", "layers", block[1]] if block else []), NAMES[part], leaf])


def brought_in(path: Path, models: Path) -> Path:
    return import_gguf(path, models, sha256_of(path))


def logits_of(network: Any) -> np.ndarray:
    return np.array(network(mx.array([[3, 77, 250, 9, 121, 121, 4]])).astype(mx.float32))


def reference_logits(folder: Path, weights: dict[str, np.ndarray]) -> np.ndarray:
    """The same architecture built by mlx_lm from float32 weights in Hugging Face's row order."""
    config = json.loads((folder / "config.json").read_text())
    module = {"qwen2": mlx_lm.models.qwen2, "llama": mlx_lm.models.llama}[config["model_type"]]
    network = module.Model(module.ModelArgs.from_dict(config))
    network.load_weights([(mlx_name(name), mx.array(value)) for name, value in weights.items()])
    return logits_of(network)


def imported_logits(folder: Path) -> np.ndarray:
    network, _ = load_model(folder)
    network.set_dtype(mx.float32)
    return logits_of(dequantize_model(network))


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", [Kind.Q4_1, Kind.Q5_0, Kind.Q8_0, Kind.F16, Kind.F32, Kind.BF16])
def test_logits_are_those_of_the_weights_in_their_original_order(
    architecture: str, tied: bool, kind: Kind, tmp_path: Path, make_gguf: MakeGguf
) -> None:
    weights = make_gguf(tmp_path / "m.gguf", architecture, kind, tied=tied)
    folder = brought_in(tmp_path / "m.gguf", tmp_path)
    expected = reference_logits(folder, weights)
    assert np.abs(imported_logits(folder) - expected).max() <= 2e-4 * np.abs(expected).max()


def test_leaving_llama_rows_reordered_would_change_the_logits(tmp_path: Path, make_gguf: MakeGguf) -> None:
    weights = make_gguf(tmp_path / "m.gguf", "llama")
    folder = brought_in(tmp_path / "m.gguf", tmp_path)
    wrong = dict(weights)
    for name in weights:
        if "attn_q" in name or "attn_k" in name:
            wrong[name] = reorder_as_llama_cpp(weights[name], weights[name].shape[0] // HEAD_DIM)
    expected = imported_logits(folder)
    assert np.abs(reference_logits(folder, wrong) - expected).max() > 0.01 * np.abs(expected).max()


def test_mlx_lm_loads_the_folder_and_generates(tiny_gguf: Path, tmp_path: Path) -> None:
    network, tokenizer = mlx_lm.load(str(brought_in(tiny_gguf, tmp_path)))
    assert isinstance(mlx_lm.generate(network, tokenizer, "def f", max_tokens=3), str)


def test_each_tensor_has_its_own_entry_under_quantization(tmp_path: Path, make_gguf: MakeGguf) -> None:
    raw = np.zeros((512, 256 // 32 * 20), np.uint8)
    make_gguf(tmp_path / "m.gguf", kind=Kind.Q8_0, replace={"blk.1.ffn_up.weight": (raw, Kind.Q4_1)})
    config = plan_model(read_gguf(tmp_path / "m.gguf")).config
    assert config["quantization"]["model.layers.1.mlp.up_proj"] == {"group_size": 32, "bits": 4}
    assert config["quantization"]["model.embed_tokens"] == {"group_size": 32, "bits": 8}


def test_the_config_ends_completions_at_every_end_token(tiny_gguf: Path, tmp_path: Path) -> None:
    config = json.loads((brought_in(tiny_gguf, tmp_path) / "config.json").read_text())
    assert config["eos_token_id"] == [2, 0]


def test_a_second_import_reads_nothing_but_the_seal(tiny_gguf: Path, tmp_path: Path) -> None:
    sha256 = sha256_of(tiny_gguf)
    folder = import_gguf(tiny_gguf, tmp_path, sha256)
    tiny_gguf.unlink()
    assert import_gguf(tiny_gguf, tmp_path, sha256) == folder


@pytest.mark.parametrize("damage", ["shorter", "changed", "missing", "unsealed"])
def test_a_damaged_folder_is_made_again(damage: str, tiny_gguf: Path, tmp_path: Path) -> None:
    folder = brought_in(tiny_gguf, tmp_path)
    weights = folder / "model.safetensors"
    before = weights.read_bytes()
    if damage == "shorter":
        weights.write_bytes(before[:-1])
    elif damage == "changed":
        weights.write_bytes(before[:-1] + b"\x55")
    elif damage == "missing":
        (folder / "tokenizer.json").unlink()
    else:
        (folder / "source.json").write_text("{")
    brought_in(tiny_gguf, tmp_path)
    assert weights.read_bytes() == before
    assert is_sound(folder, sha256_of(tiny_gguf))


def test_a_users_file_is_left_as_it_was(tiny_gguf: Path, tmp_path: Path) -> None:
    before = tiny_gguf.read_bytes()
    brought_in(tiny_gguf, tmp_path)
    assert tiny_gguf.read_bytes() == before


def bad(
    *, metadata: dict[str, Any] | None = None, replace: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    return {"metadata": metadata or {}, "replace": replace or {}, **more}


F32_SMALL = (np.ones((2, 32), np.float32), Kind.F32)
REFUSED = {
    "an unknown architecture": (bad(architecture="mamba"), "architecture 'mamba'"),
    "a type we do not read": (
        bad(replace={"blk.0.ffn_up.weight": (np.zeros((512, 84), np.uint8), Kind.Q2_K)}),
        r"blk\.0\.ffn_up\.weight.*Q2_K",
    ),
    "a quantized norm": (
        bad(replace={"blk.0.attn_norm.weight": (np.zeros(8 * 34, np.uint8), Kind.Q8_0)}),
        r"attn_norm\.weight.*Q8_0",
    ),
    "a missing tensor": (bad(replace={"blk.1.ffn_down.weight": None}), r"blk\.1\.ffn_down\.weight' is missing"),
    "a misshapen tensor": (bad(replace={"blk.0.attn_v.weight": F32_SMALL}), r"attn_v.*shape \(2, 32\)"),
    "more layers than there are": (bad(metadata={"qwen2.block_count": 3}), "is missing"),
    "fewer layers than there are": (bad(metadata={"qwen2.block_count": 1}), "no place for tensor"),
    "an absurd number of layers": (bad(metadata={"qwen2.block_count": 1 << 31}), "block_count"),
    "no heads": (bad(metadata={"qwen2.attention.head_count": 0}), "head_count"),
    "heads that do not fit": (bad(metadata={"qwen2.attention.head_count_kv": 3}), "fit together"),
    "heads given as text": (bad(metadata={"qwen2.attention.head_count": "four"}), "head_count is 'four'"),
    "no context length": (bad(metadata={"qwen2.context_length": None}), "context_length is None"),
    "a factor that is no number": (
        bad(metadata={"qwen2.rope.scale_linear": float("inf")}),
        "rope.scale_linear is inf",
    ),
    "yarn": (bad(metadata={"qwen2.rope.scaling.type": "yarn"}), "rope scaling 'yarn'"),
    "experts": (bad(metadata={"qwen2.expert_count": 8}), "expert_count"),
    "a partly rotated head": (bad(metadata={"qwen2.rope.dimension_count": 32}), "fit together"),
    "an epsilon that is no number": (
        bad(metadata={"qwen2.attention.layer_norm_rms_epsilon": float("nan")}),
        "layer_norm_rms_epsilon is nan",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_read_is_refused_by_name_and_leaves_nothing(case: str, tmp_path: Path, make_gguf: MakeGguf) -> None:
    options, match = REFUSED[case]
    path, models = tmp_path / "m.gguf", tmp_path / "models"
    make_gguf(path, **options)
    with pytest.raises(FormatError, match=match) as caught:
        brought_in(path, models)
    assert str(path) in str(caught.value)
    assert [p for p in models.iterdir() if p.is_dir()] == []


def test_linear_rope_scaling_goes_into_the_config(tmp_path: Path, make_gguf: MakeGguf) -> None:
    scaling = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    make_gguf(tmp_path / "m.gguf", "llama", metadata=scaling)
    config = plan_model(read_gguf(tmp_path / "m.gguf")).config
    assert config["rope_scaling"] == {"type": "linear", "factor": 4.0}


@pytest.mark.parametrize(
    ("metadata", "factor"),
    [
        ({"llama.rope.scale_linear": 4.0}, 4.0),  # the older key
        ({"llama.rope.scaling.factor": 4.0}, 4.0),  # without a type, llama.cpp takes linear scaling
        ({"llama.rope.scaling.factor": 4.0, "llama.rope.scale_linear": 2.0}, 4.0),
        ({"llama.rope.scaling.type": "linear", "llama.rope.scale_linear": 2.0}, 2.0),
        ({"llama.rope.scaling.type": "linear"}, None),
        ({"llama.rope.scaling.factor": 0.0, "llama.rope.scale_linear": 2.0}, None),
        ({"llama.rope.scaling.type": "none", "llama.rope.scale_linear": 2.0}, None),
        ({"llama.rope.scale_linear": 1.0}, None),
        ({}, None),
    ],
)
def test_the_factor_of_linear_rope_scaling_is_read_as_llama_cpp_does(
    metadata: dict[str, Any], factor: float | None, tmp_path: Path, make_gguf: MakeGguf
) -> None:
    make_gguf(tmp_path / "m.gguf", "llama", metadata=metadata)
    config = plan_model(read_gguf(tmp_path / "m.gguf")).config
    assert config["rope_scaling"] == ({"type": "linear", "factor": factor} if factor else None)


@pytest.mark.parametrize("case", ["a misshapen tensor", "a type we do not read"])
def test_a_tensor_that_is_not_as_expected_is_reported_once(case: str, tmp_path: Path, make_gguf: MakeGguf) -> None:
    make_gguf(tmp_path / "m.gguf", **REFUSED[case][0])
    with pytest.raises(FormatError) as caught:
        plan_model(read_gguf(tmp_path / "m.gguf"))
    assert str(caught.value).count("tensor 'blk") == 1
    assert "no place" not in str(caught.value)


def test_a_scale_that_is_no_number_leaves_no_folder(tmp_path: Path, make_gguf: MakeGguf) -> None:
    raw = np.full((512, 8 * 34), 0xFF, np.uint8)
    make_gguf(tmp_path / "m.gguf", replace={"blk.1.ffn_gate.weight": (raw, Kind.Q8_0)})
    with pytest.raises(FormatError, match=r"blk\.1\.ffn_gate\.weight.*finite"):
        brought_in(tmp_path / "m.gguf", tmp_path / "models")
    assert [p for p in (tmp_path / "models").iterdir() if p.is_dir()] == []


def test_a_full_disk_is_told_before_anything_is_written(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: Usage)
    with pytest.raises(DownloadError, match=r"GB needed, 0\.00 GB free"):
        brought_in(tiny_gguf, tmp_path / "models")
    assert [p for p in (tmp_path / "models").iterdir() if p.is_dir()] == []


def test_a_disk_that_fills_up_leaves_no_folder(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mlx_selfdebug.models.gguf_import.os.fsync", full)
    with pytest.raises(DownloadError, match="the disk is full"):
        brought_in(tiny_gguf, tmp_path / "models")
    assert [p for p in (tmp_path / "models").iterdir() if p.is_dir()] == []


def test_what_a_killed_import_left_is_cleared_away(tiny_gguf: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    left = models / f".gguf-{sha256_of(tiny_gguf)[:16]}.unfinished"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    brought_in(tiny_gguf, models)
    assert not left.exists()
