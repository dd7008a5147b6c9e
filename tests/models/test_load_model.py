from __future__ import annotations

import json
from pathlib import Path

from mlx_selfdebug.models.backend import device_name, mx, nn

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import dequantize_model
from mlx_lm.utils import load_model as load_network

from mlx_selfdebug.errors import FormatError, ModelError
from mlx_selfdebug.models.dense import dequantize_network, unpack
from mlx_selfdebug.models.load import Model, load_model, load_thin, loaded_bytes, open_model
from mlx_selfdebug.progress import NullProgress
from mlx_selfdebug.testing import tiny_model
from tests.models.tiny import SPECIALS, MakeGguf

on_cpu = pytest.mark.skipif(device_name() != "cpu", reason="weights stay quantized on a GPU")


@pytest.fixture
def model(tiny_gguf: Path, own_caches: Path) -> Model:
    return load_model(str(tiny_gguf))


def save_adapter(folder: Path, model: Model, width: int | None = None) -> None:
    """An adapter in mlx_lm's format, of rank 2 on q_proj, that changes the output."""
    folder.mkdir()
    parameters = {"rank": 2, "scale": 2.0, "dropout": 0.0, "keys": ["self_attn.q_proj"]}
    content = {"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": parameters}
    (folder / "adapter_config.json").write_text(json.dumps(content))
    linear_to_lora_layers(model.network, 1, parameters)
    weights = {name: value for name, value in tree_flatten(model.network.parameters()) if "lora_" in name}
    ones = {name: mx.ones((width, 2) if width and name.endswith("lora_a") else w.shape) for name, w in weights.items()}
    mx.save_safetensors(str(folder / "adapters.safetensors"), ones)


@on_cpu
def test_on_the_cpu_everything_is_dense_float32(model: Model) -> None:
    assert (model.device, model.dtype) == ("cpu", "float32")
    assert {value.dtype for _, value in tree_flatten(model.network.parameters())} == {mx.float32}


@on_cpu
def test_an_embedding_beside_a_head_stays_packed_and_gives_the_same_rows(
    tmp_path: Path, own_caches: Path, make_gguf: MakeGguf
) -> None:
    weights = make_gguf(tmp_path / "m.gguf", tied=False)
    embedding = load_model(str(tmp_path / "m.gguf")).network.model.embed_tokens
    assert isinstance(embedding, nn.QuantizedEmbedding)
    assert (np.array(embedding(mx.array([5, 9]))) == weights["token_embd.weight"][[5, 9]]).all()


@pytest.mark.parametrize("bits", [4, 5, 8])
def test_unpacking_is_bit_for_bit_what_mlx_does(bits: int) -> None:
    packed = mx.quantize(mx.random.normal((48, 256)), 32, bits)
    mine = unpack(*(np.array(array) for array in packed), bits)
    assert (mine == np.array(mx.dequantize(*packed, 32, bits))).all()


@pytest.mark.parametrize("bits", [3, 6])
def test_bits_that_we_do_not_unpack_are_left_to_mlx(bits: int) -> None:
    network = nn.Sequential(nn.Linear(64, 64))
    nn.quantize(network, 32, bits)
    expected = np.array(dequantize_model(nn.Sequential(network.layers[0])).layers[0].weight)
    dequantize_network(network, NullProgress())
    assert (np.array(network.layers[0].weight) == expected).all()


def test_loading_gives_what_mlx_lm_computes(model: Model) -> None:
    network, _ = load_network(model.path)
    network.set_dtype(mx.float32)
    ids = mx.array([[3, 50, 200]])
    difference = mx.abs(model.network(ids) - dequantize_model(network)(ids)).max().item()
    assert difference <= 1e-4


def test_the_repr_is_one_short_line(model: Model) -> None:
    assert repr(model).startswith("Model(")
    assert len(repr(model)) < 200
    assert "\n" not in repr(model)


def test_encode_adds_nothing_and_decode_brings_it_back(model: Model) -> None:
    assert model.decode(model.encode("def f(x): pass")) == "def f(x): pass"


CONTROLS = st.sampled_from(["<|im_end|>", "<|im_start|>", "<|endoftext|>", "</s>"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CONTROLS | st.text(max_size=5)).map("".join))
def test_the_names_of_control_tokens_in_a_text_are_only_text(model: Model, text: str) -> None:
    controls = set(range(len(SPECIALS)))
    assert not controls & set(model.encode(text))
    assert model.decode(model.encode(text)) == text


def test_all_ways_to_encode_a_text_agree_on_the_names_of_control_tokens(model: Model) -> None:
    text = 'END = "<|im_end|>"'
    assert model.encode(text) == model.encode_all([text])[0] == model.spans(text)[0]


def test_render_ends_with_the_reply_prefix(model: Model) -> None:
    messages = [{"role": "user", "content": "hi"}]
    ids = model.render(messages, reply_prefix="def f")
    assert model.decode(ids) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\ndef f"
    assert ids == [*model.render(messages), *model.encode("def f")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        CONTROLS | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ue000\ue001"), max_size=5)
    ).map("".join)
)
def test_a_message_that_names_control_tokens_ends_no_turn(model: Model, text: str) -> None:
    ids = model.render([{"role": "user", "content": text}], reply_prefix="def f")
    controls = [id_ for id_ in ids if id_ < len(SPECIALS)]
    assert controls == [id_ for id_ in model.render([{"role": "user", "content": "hi"}]) if id_ < len(SPECIALS)]
    assert model.decode(ids) == f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\ndef f"


def test_eos_ids_are_all_the_ends(model: Model) -> None:
    assert model.eos_ids == {SPECIALS.index("<|im_end|>"), SPECIALS.index("<|endoftext|>")}


def test_a_model_without_chat_template_cannot_render(tmp_path: Path, own_caches: Path, make_gguf: MakeGguf) -> None:
    make_gguf(tmp_path / "m.gguf", metadata={"tokenizer.chat_template": None})
    with pytest.raises(ModelError, match="no chat template"):
        load_model(str(tmp_path / "m.gguf")).render([{"role": "user", "content": "hi"}])


def test_a_template_that_fails_is_a_model_error(tmp_path: Path, own_caches: Path, make_gguf: MakeGguf) -> None:
    make_gguf(tmp_path / "m.gguf", metadata={"tokenizer.chat_template": "{{ raise_exception('no') }}"})
    with pytest.raises(ModelError, match="does not accept these messages: no"):
        load_model(str(tmp_path / "m.gguf")).render([{"role": "user", "content": "hi"}])


def test_an_adapter_changes_the_output(model: Model, tiny_gguf: Path, tmp_path: Path) -> None:
    ids = mx.array([[3, 50, 200]])
    before = model.network(ids)
    save_adapter(tmp_path / "adapter", model)
    adapted = load_model(str(tiny_gguf), adapter=tmp_path / "adapter")
    assert adapted.adapter == tmp_path / "adapter"
    assert mx.abs(adapted.network(ids) - before).max().item() > 0


def test_an_adapter_of_another_shape_is_refused(model: Model, tiny_gguf: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path / "adapter", model, width=512)
    with pytest.raises(ModelError, match=r"adapter .* does not fit .*tiny\.gguf"):
        load_model(str(tiny_gguf), adapter=tmp_path / "adapter")


@pytest.mark.parametrize("name", ["adapter_config.json", "adapters.safetensors"])
def test_an_adapter_with_a_file_missing_is_refused(name: str, model: Model, tiny_gguf: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path / "adapter", model)
    (tmp_path / "adapter" / name).unlink()
    with pytest.raises(ModelError, match=f"is not an adapter: {name}"):
        load_model(str(tiny_gguf), adapter=tmp_path / "adapter")


@pytest.mark.parametrize(
    ("name", "said"), [("adapter_config.json", "cannot be read"), ("adapters.safetensors", "does not fit")]
)
def test_a_damaged_adapter_is_refused(name: str, said: str, model: Model, tiny_gguf: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path / "adapter", model)
    (tmp_path / "adapter" / name).write_bytes(b"{")
    with pytest.raises(ModelError, match=said):
        load_model(str(tiny_gguf), adapter=tmp_path / "adapter")


@pytest.mark.parametrize("size", [4, 100, 5000])
def test_a_folder_with_weights_cut_short_is_refused(size: int, model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in model.path.iterdir():
        (folder / path.name).write_bytes(path.read_bytes()[: size if path.suffix == ".safetensors" else None])
    with pytest.raises(FormatError, match="cannot be loaded"):
        load_model(str(folder))


def test_an_architecture_mlx_lm_does_not_have_is_refused(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in model.path.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "perceptron"}))
    with pytest.raises(FormatError, match="perceptron"):
        load_model(str(folder))


@pytest.mark.parametrize("tied", [True, False])
def test_what_weights_will_take_is_known_before_they_are_read(
    tied: bool, tmp_path: Path, own_caches: Path, make_gguf: MakeGguf
) -> None:
    make_gguf(tmp_path / "m.gguf", tied=tied)
    before = mx.get_active_memory()
    unread = open_model(str(tmp_path / "m.gguf"))
    told, taken = loaded_bytes(unread), mx.get_active_memory() - before
    loaded = load_model(str(tmp_path / "m.gguf"))
    assert told == sum(array.nbytes for _, array in tree_flatten(loaded.network.parameters()))
    assert taken < told / 100


def test_a_thin_model_has_the_first_layers_as_they_are_loaded(model: Model) -> None:
    thin = load_thin(model, 1)
    assert len(thin.layers) == 1
    whole = dict(tree_flatten(model.network.parameters()))
    parts = dict(tree_flatten(thin.parameters()))
    assert parts
    assert all(mx.array_equal(array, whole[name]).item() for name, array in parts.items())


@pytest.mark.parametrize(
    ("key", "value"),
    [("num_key_value_heads", None), ("vocab_size", -1), ("hidden_size", 0), ("head_dim", "x"), ("eos_token_id", "x"), ("hidden_size", [])],
)  # fmt: skip
def test_a_configuration_with_a_value_of_the_wrong_kind_is_a_file_that_cannot_be_loaded(
    tmp_path: Path, key: str, value: object
) -> None:
    folder = tmp_path / "model"
    tiny_model(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(FormatError, match=r"cannot be loaded: .") as caught:
        load_model(str(folder))
    assert str(folder) in str(caught.value)
