"""With PEFT itself, on torch: adapters go there and come here, compute the same, and come back byte by byte.

PEFT and torch are not installed by `make`. Without them these tests are left out: pip install peft torch
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.models.load import load_model
from mlx_selfdebug.testing import tiny_model
from mlx_selfdebug.training.adapter import open_adapter

from ..support.adapters import back, distance, files_of, logits_with, random_adapter, to_peft
from ..support.with_peft import load_with, make_adapter, torch_logits

pytest.importorskip("peft")
# PEFT uses what newer versions of transformers and torch advise against, and they warn of it.
pytestmark = pytest.mark.filterwarnings("default")

KINDS: list[dict[str, Any]] = [{}, {"method": "dora"}, {"layers": 1}, {"rank": 3, "scale": 0.1}]


@pytest.mark.parametrize("architecture", ["qwen2", "llama", "qwen3"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_peft_loads_it_computes_the_same_and_hands_it_back_byte_by_byte(
    tmp_path: Path, architecture: str, kind: Any
) -> None:
    model = tiny_model(tmp_path / "tiny", architecture=architecture)
    adapter = random_adapter(model, tmp_path / "ours", **kind)
    network = load_with(model.path, to_peft(adapter, tmp_path / "peft"))
    assert distance(torch_logits(network), logits_with(model, adapter)) < 1e-4
    network.save_pretrained(str(tmp_path / "saved"))
    assert back(tmp_path / "saved") == files_of(adapter.path)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_dora": True},
        {"use_rslora": True, "lora_alpha": 3},
        {"layers_to_transform": [0]},
        {"rank_pattern": {"v_proj": 5}, "alpha_pattern": {"layers.1.self_attn.q_proj": 16}},
        {"target_modules": "all-linear", "init_lora_weights": "orthogonal"},
    ],
    ids=str,
)
def test_an_adapter_that_peft_made_computes_the_same_here(tiny_folder: Path, tmp_path: Path, settings: Any) -> None:
    expected = make_adapter(tiny_folder, tmp_path / "peft", **settings)
    model = load_model(str(tiny_folder))
    assert distance(logits_with(model, open_adapter(tmp_path / "peft")), expected) < 1e-4
