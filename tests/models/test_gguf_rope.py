from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from mlx_lm.models.rope_utils import Llama3RoPE

from mlx_selfdebug.errors import FormatError
from mlx_selfdebug.models.gguf_file import read_gguf
from mlx_selfdebug.models.gguf_model import plan_model
from mlx_selfdebug.models.gguf_rope import recognize_scaling, rope_factors
from tests.models.tiny import HEAD_DIM, MakeGguf

LLAMA_3_2 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
BASE = 500_000.0


@pytest.mark.parametrize("factor", [8.0, 32.0])
@pytest.mark.parametrize("dimensions", [64, 128])
def test_the_factors_are_those_by_which_mlx_lm_slows_down(factor: float, dimensions: int) -> None:
    scaling = LLAMA_3_2 | {"factor": factor}
    slowed = np.array(Llama3RoPE(dimensions, base=BASE, scaling_config=scaling)._freqs)
    plain = BASE ** (np.arange(0, dimensions, 2) / dimensions)
    assert np.allclose(rope_factors(scaling, BASE, dimensions), slowed / plain, rtol=1e-4)


def test_a_scaling_is_recognized_by_its_factors() -> None:
    assert recognize_scaling(rope_factors(LLAMA_3_2, BASE, 64), BASE, 64) == LLAMA_3_2


def test_other_factors_are_not_recognized() -> None:
    factors = rope_factors(LLAMA_3_2, BASE, 64)
    factors[20] *= 1.01
    assert recognize_scaling(factors, BASE, 64) is None
    assert recognize_scaling(np.full(32, np.nan, np.float32), BASE, 64) is None
    assert recognize_scaling(np.zeros(32, np.float32), BASE, 64) is None


def with_factors(factors: np.ndarray) -> dict[str, Any]:
    return {"replace": {"rope_freqs.weight": (factors, gguf.GGMLQuantizationType.F32)}}


def test_the_factors_in_a_file_become_the_scaling_of_its_configuration(tmp_path: Path, make_gguf: MakeGguf) -> None:
    factors = rope_factors(LLAMA_3_2, BASE, HEAD_DIM)
    make_gguf(tmp_path / "m.gguf", "llama", metadata={"llama.rope.freq_base": BASE}, **with_factors(factors))
    config = plan_model(read_gguf(tmp_path / "m.gguf")).config
    assert (config["rope_scaling"], config["rope_theta"]) == (LLAMA_3_2, BASE)


REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "unknown factors": ("llama", {}, {"factors": np.linspace(1, 8, 32, dtype=np.float32)}, "not those of Llama 3.1"),
    "too few": ("llama", {}, {"factors": np.ones(16, np.float32)}, r"shape \(16,\) and type F32, expected \(32,\)"),
    "two scalings": (
        "llama",
        {"llama.rope.scaling.factor": 2.0},
        {"factors": rope_factors(LLAMA_3_2, 10_000.0, HEAD_DIM)},
        "both linearly and by tensor",
    ),
    "of qwen2": ("qwen2", {}, {"factors": np.ones(32, np.float32)}, r"no place for tensor 'rope_freqs\.weight'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_factors_that_are_not_understood_are_refused(case: str, tmp_path: Path, make_gguf: MakeGguf) -> None:
    architecture, metadata, factors, match = REFUSED[case]
    make_gguf(tmp_path / "m.gguf", architecture, metadata=metadata, **with_factors(**factors))
    with pytest.raises(FormatError, match=match):
        plan_model(read_gguf(tmp_path / "m.gguf"))


def test_a_number_of_the_file_is_the_decimal_that_it_was_made_of(tmp_path: Path, make_gguf: MakeGguf) -> None:
    make_gguf(tmp_path / "m.gguf", metadata={"qwen2.attention.layer_norm_rms_epsilon": 1e-6})
    assert plan_model(read_gguf(tmp_path / "m.gguf")).config["rms_norm_eps"] == 1e-6
