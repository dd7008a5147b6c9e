"""Adapters in PEFT's format: what computes the same here is read, and anything else is refused by its name.

The folders in ``peft/`` were made by PEFT itself (``peft/make.py``), with the logits that it computes on torch.
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx.utils import tree_flatten

from mlx_selfdebug.errors import FormatError, ModelError
from mlx_selfdebug.models.catalog import is_name_of
from mlx_selfdebug.models.load import Model, load_model
from mlx_selfdebug.models.peft import add_peft_adapter, read_peft_layers
from mlx_selfdebug.models.peft_record import restore
from mlx_selfdebug.models.peft_settings import read_peft_settings
from mlx_selfdebug.testing import tiny_model
from mlx_selfdebug.training.adapter import open_adapter

from ..support.adapters import distance, logits, logits_with

MADE_BY_PEFT = Path(__file__).parent / "peft"
KINDS = sorted(file.parent.name for file in MADE_BY_PEFT.glob("*/adapter_config.json"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An adapter that PEFT made, to be changed."""
    return Path(shutil.copytree(MADE_BY_PEFT / "lora", tmp_path / "adapter"))


def change(folder: Path, **settings: Any) -> Path:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    return folder


def change_tensors(folder: Path, **arrays: Any) -> Path:
    """Replace tensors whose names end as given, with ``__`` for a dot; None takes one out."""
    file = folder / "adapter_model.safetensors"
    there = {name: np.array(array) for name, array in mx.load(str(file)).items()}
    for end, array in arrays.items():
        name = "base_model.model.model.layers.0.self_attn." + end.replace("__", ".")
        there.pop(name, None)
        there |= {} if array is None else {name: array}
    mx.save_safetensors(str(file), {name: mx.array(array) for name, array in there.items()})
    return folder


def weights(network: Any) -> dict[str, Any]:
    return dict(tree_flatten(network.parameters()))


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_made_by_peft_computes_what_it_computed_on_torch(model: Model, kind: str) -> None:
    folder = MADE_BY_PEFT / kind
    expected = np.array(mx.load(str(folder / "logits.safetensors"))["logits"])
    assert distance(logits(model.network), expected) > 1e-2
    assert distance(logits_with(model, open_adapter(folder)), expected) < 1e-4


def test_a_model_is_loaded_with_an_adapter_made_by_peft(model: Model) -> None:
    loaded = load_model(str(model.path), adapter=MADE_BY_PEFT / "dora")
    expected = np.array(mx.load(str(MADE_BY_PEFT / "dora" / "logits.safetensors"))["logits"])
    assert distance(logits(loaded.network), expected) < 1e-4


def test_afterwards_the_model_is_the_base_again(model: Model) -> None:
    before = logits(model.network)
    logits_with(model, open_adapter(MADE_BY_PEFT / "patterns"))
    assert distance(logits(model.network), before) == 0.0


def test_quantized_layers_get_the_adapter_too(tmp_path: Path) -> None:
    network = tiny_model(tmp_path / "tiny").network
    nn.quantize(network, 32, 8)
    plain = logits(network)
    add_peft_adapter(network, MADE_BY_PEFT / "lora", "tiny")
    expected = np.array(mx.load(str(MADE_BY_PEFT / "lora" / "logits.safetensors"))["logits"])
    assert distance(logits(network), expected) < 0.1 * distance(plain, expected)


def test_the_digest_is_that_of_its_file_of_weights(folder: Path) -> None:
    before = open_adapter(folder).digest()
    assert len(before) == 64
    change_tensors(folder, q_proj__lora_A__weight=np.ones((2, 64), np.float32))
    assert open_adapter(folder).digest() != before


def test_the_exact_weights_of_its_base_are_not_known(folder: Path) -> None:
    assert open_adapter(folder).base == ""


REFUSED = [
    ({"peft_type": "IA3"}, "peft_type is 'IA3', but only LORA is read"),
    ({"peft_type": None}, "peft_type is None"),
    ({"bias": "lora_only"}, "bias is 'lora_only'; adapters that change biases are not read"),
    ({"modules_to_save": ["lm_head"]}, "modules_to_save is ['lm_head'], which is not read"),
    ({"fan_in_fan_out": True}, "fan_in_fan_out is True, which is not read"),
    ({"lora_bias": True}, "lora_bias is True"),
    ({"layer_replication": [[0, 1], [0, 2]]}, "layer_replication is [[0, 1], [0, 2]]"),
    ({"use_qalora": True}, "use_qalora is True"),
    ({"trainable_token_indices": [3]}, "trainable_token_indices is [3]"),
    ({"a_setting_of_the_future": 1}, "a_setting_of_the_future is 1, which is not read"),
    ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights is 'pissa_niter_4', with which PEFT changes the weights"),
    ({"r": 0}, "r is 0, but must be a whole number of at least 1"),
    ({"r": True}, "r is True"),
    ({"r": 10**400}, "but must be a whole number of at least 1"),
    ({"lora_alpha": float("inf")}, "lora_alpha is inf, but must be a number"),
    ({"lora_alpha": "16"}, "lora_alpha is '16', but must be a number"),
    ({"rank_pattern": {"q_proj": -1}}, "rank_pattern is -1"),
    ({"rank_pattern": ["q_proj"]}, "rank_pattern is ['q_proj'], but must be an object"),
    ({"alpha_pattern": {"(": 2}}, "alpha_pattern has '(', which is not a regular expression"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "said"), REFUSED, ids=str)
def test_a_setting_under_which_a_layer_may_compute_something_else_is_refused_by_its_name(
    folder: Path, settings: Any, said: str
) -> None:
    with pytest.raises(ModelError) as caught:
        open_adapter(change(folder, **settings))
    assert said in str(caught.value)
    assert "adapter_config.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pickle_is_refused_unopened(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(FormatError, match="a pickle, which is not loaded because it could run code") as caught:
        open_adapter(folder)
    assert "adapter_model.safetensors" in str(caught.value.hint)


A, B = np.ones((2, 64), np.float32), np.ones((64, 2), np.float32)
TENSORS = [
    ({"q_proj__lora_B__bias": np.ones(64, np.float32)}, r"lora_B\.bias, which is not a matrix of a linear layer's LoRA"),
    ({"q_proj__base_layer__bias": np.ones(64, np.float32)}, r"base_layer\.bias, which is not a matrix"),
    ({"q_proj__lora_A__weight": None}, "has lora_b, but must have lora_a, lora_b"),
    ({"q_proj__lora_magnitude_vector": np.ones(64, np.float32)}, "has lora_a, lora_b, m, but must have lora_a, lora_b"),
    ({"q_proj__lora_A__weight": A[:1]}, r"has the shapes lora_a \(1, 64\), lora_b \(64, 2\), which do not belong to rank 2"),
    ({"q_proj__lora_A__weight": A.astype(np.int32)}, "holds whole numbers"),
    ({"q_proj__lora_A__weight": A[:, :63]}, r"maps 64 to 64 numbers, which the adapter's matrices \(63, 2\) and"),
    ({"z_proj__lora_A__weight": A, "z_proj__lora_B__weight": B}, r"it has no layer model\.layers\.0\.self_attn\.z_proj"),
    ({"__lora_A__weight": A, "__lora_B__weight": B}, "does not fit"),
]  # fmt: skip


@pytest.mark.parametrize(("arrays", "said"), TENSORS, ids=str)
def test_tensors_that_do_not_fit_are_refused_and_the_model_stays_as_it_was(
    model: Model, folder: Path, arrays: Any, said: str
) -> None:
    before = weights(model.network)
    with pytest.raises(ModelError, match=said):
        logits_with(model, open_adapter(change_tensors(folder, **arrays)))
    assert weights(model.network).keys() == before.keys()


def test_a_damaged_file_is_refused(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(FormatError, match="cannot be read"):
        open_adapter(folder)


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_damaged_settings_are_refused(folder: Path, text: str) -> None:
    (folder / "adapter_config.json").write_text(text, encoding="latin-1")
    with pytest.raises(FormatError, match=r"adapter_config\.json"):
        open_adapter(folder)


def test_what_is_assumed_about_the_base_is_said(model: Model, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    change(folder, base_model_name_or_path="someone/coder")
    with caplog.at_level(logging.WARNING), open_adapter(folder).applied(model):
        pass
    assert f"is an adapter of someone/coder; it is assumed that {model.name} has the same weights" in caplog.text
    caplog.clear()
    change(folder, base_model_name_or_path=str(model.path))
    with caplog.at_level(logging.WARNING), open_adapter(folder).applied(model):
        pass
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("base", "name", "same"),
    [
        ("Qwen/Qwen2.5-Coder-0.5B-Instruct", "qwen2.5-coder-0.5b", True),
        ("qwen/qwen2.5-coder-0.5b-instruct", "mlx-community/Qwen2.5-Coder-0.5B-Instruct-4bit@main", True),
        ("Qwen/Qwen2.5-Coder-0.5B-Instruct", "/models/Qwen2.5-Coder-0.5B-Instruct-bf16-mlx/", True),
        ("Qwen/Qwen2.5-0.5B-Instruct", "qwen2.5-coder-0.5b", False),
        ("Qwen/Qwen2.5-Coder-0.5B", "qwen2.5-coder-0.5b", False),
    ],
)
def test_a_model_is_known_by_its_name_in_another_form(base: str, name: str, same: bool) -> None:
    assert is_name_of(base, name) == same


@given(
    st.none()
    | st.recursive(
        st.none() | st.integers() | st.text() | st.binary().map(lambda data: data.hex()),
        lambda inner: st.dictionaries(st.sampled_from(["settings", "header", "sha256"]), inner),
    )
)
def test_a_record_of_any_other_content_is_ignored(record: Any) -> None:
    settings = read_peft_settings(MADE_BY_PEFT / "lora")
    layers = read_peft_layers(MADE_BY_PEFT / "lora", settings)
    assert restore(record if isinstance(record, dict) else None, layers) is None
