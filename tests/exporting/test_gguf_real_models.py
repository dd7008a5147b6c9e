"""The files people will have: every tensor, the configuration and the tokenizer of an exported model, as our importer reads them."""

from __future__ import annotations

import json
from pathlib import Path

from mlx_selfdebug.models.backend import mx

import pytest

from mlx_selfdebug.exporting.gguf import export_gguf
from mlx_selfdebug.models.checksum import sha256_of
from mlx_selfdebug.models.gguf_import import import_gguf
from mlx_selfdebug.models.load import open_model
from tests.models.conftest import _repacked_alias

pytestmark = [pytest.mark.slow, pytest.mark.real_model]
CHANGED = {"quantization", "rms_norm_eps"}
"""What the quantized model has otherwise. In a folder of an older version the epsilon is a float32 with all its digits."""


@pytest.mark.parametrize("alias", ["qwen2.5-coder-0.5b", "smollm2-135m"])
def test_a_real_model_comes_back(alias: str, tmp_path: Path) -> None:
    source = _repacked_alias(alias)
    path = export_gguf(open_model(str(source)), None, tmp_path / "m.gguf")
    back = import_gguf(path, tmp_path / "models", sha256_of(path))
    configs = [json.loads((folder / "config.json").read_text()) for folder in (source, back)]
    before, after = ({key: value for key, value in config.items() if key not in CHANGED} for config in configs)
    assert before == after
    assert (source / "tokenizer.json").read_bytes() == (back / "tokenizer.json").read_bytes()
    weights, quantization = mx.load(str(source / "model.safetensors")), configs[0]["quantization"]
    for name, array in mx.load(str(back / "model.safetensors")).items():
        expected, module = weights[name], name.removesuffix(".weight")
        if module in quantization:
            scales, biases = (weights[f"{module}.{part}"].astype(mx.float32) for part in ("scales", "biases"))
            expected = mx.dequantize(expected, scales, biases, **quantization[module]).astype(mx.float16)
        assert array.dtype == expected.dtype, name
        assert mx.array_equal(array, expected), name
