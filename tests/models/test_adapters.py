"""Adapters of other programs and versions: what is none of mlx-lm's is refused in one line that says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx

import pytest
from mlx.utils import tree_flatten

from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.models.adapters import read_settings
from mlx_selfdebug.models.load import Model, load_model
from mlx_selfdebug.testing import tiny_model
from mlx_selfdebug.training.adapter import open_adapter

PARAMETERS = {"rank": 2, "scale": 2.0, "dropout": 0.0, "keys": ["self_attn.q_proj"]}
SETTINGS = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": PARAMETERS}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def write_adapter(folder: Path, settings: Any, arrays: dict[str, tuple[int, int]] | None = None) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    shapes = arrays or {
        f"model.layers.{layer}.self_attn.q_proj.{name}": shape
        for layer in range(2)
        for name, shape in (("lora_a", (64, 2)), ("lora_b", (2, 64)))
    }
    mx.save_safetensors(str(folder / "adapters.safetensors"), {name: mx.ones(shape) for name, shape in shapes.items()})
    return folder


def without(settings: dict[str, Any], name: str, **more: Any) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != name} | more


def weights(model: Model) -> dict[str, mx.array]:
    return dict(tree_flatten(model.network.parameters()))


def same(first: dict[str, mx.array], second: dict[str, mx.array]) -> bool:
    return first.keys() == second.keys() and all(mx.array_equal(first[name], second[name]).item() for name in first)


WRONG = [
    (without(SETTINGS, "num_layers", lora_layers=2), "older mlx-lm", "write num_layers instead of lora_layers"),
    (without(SETTINGS, "num_layers"), "num_layers is None", ""),
    (SETTINGS | {"num_layers": "all"}, "num_layers is 'all'", ""),
    (SETTINGS | {"fine_tune_type": "full"}, "the weights of a whole model", "mlx_lm.fuse"),
    (SETTINGS | {"fine_tune_type": "ia3"}, "must be lora or dora", ""),
    (without(SETTINGS, "lora_parameters"), "lora_parameters is None", ""),
    (SETTINGS | {"lora_parameters": without(PARAMETERS, "scale", alpha=16)}, "has alpha, but mlx-lm reads scale", '"scale"'),
    (SETTINGS | {"lora_parameters": without(PARAMETERS, "rank")}, "lora_parameters.rank is None", ""),
    (SETTINGS | {"lora_parameters": PARAMETERS | {"dropout": "0"}}, "lora_parameters.dropout is '0'", ""),
    ([SETTINGS], "is not a JSON object", ""),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "said", "hint"), WRONG)
def test_settings_that_mlx_lm_does_not_read_are_refused_with_their_file(
    tmp_path: Path, settings: Any, said: str, hint: str
) -> None:
    with pytest.raises(ModelError) as caught:
        read_settings(write_adapter(tmp_path / "a", settings))
    assert said in str(caught.value)
    assert "adapter_config.json" in str(caught.value)
    assert hint in str(caught.value.hint)


def test_an_adapter_of_older_mlx_lm_is_refused_when_a_model_is_loaded_with_it(model: Model, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", without(SETTINGS, "num_layers", lora_layers=2))
    with pytest.raises(ModelError, match="older mlx-lm"):
        load_model(str(model.path), adapter=folder)
    with pytest.raises(ModelError, match="older mlx-lm"):
        open_adapter(folder)


@pytest.mark.parametrize(
    ("settings", "arrays"),
    [
        (SETTINGS | {"lora_parameters": PARAMETERS | {"rank": 3}}, None),
        (SETTINGS, {"model.layers.0.self_attn.q_proj.lora_typo": (2, 2)}),
        (SETTINGS, {"model.layers.9.self_attn.q_proj.lora_a": (64, 2)}),
    ],
    ids=["rank", "name", "layer"],
)
def test_an_adapter_that_does_not_fit_leaves_the_model_as_it_was(
    model: Model, tmp_path: Path, settings: Any, arrays: Any
) -> None:
    before = weights(model)
    adapter = open_adapter(write_adapter(tmp_path / "a", settings, arrays))
    with pytest.raises(ModelError, match="does not fit"), adapter.applied(model):
        pass
    assert same(weights(model), before)


def test_an_adapter_of_the_embedding_is_taken_out_again(model: Model, tmp_path: Path) -> None:
    before, ids = weights(model), mx.array([[1, 2, 3]])
    plain = model.network(ids)
    n, width = before["model.embed_tokens.weight"].shape
    arrays = {"model.embed_tokens.lora_a": (n, 2), "model.embed_tokens.lora_b": (2, width)}
    settings = SETTINGS | {"lora_parameters": PARAMETERS | {"keys": ["model.embed_tokens"]}}
    with open_adapter(write_adapter(tmp_path / "a", settings, arrays)).applied(model):
        assert not mx.allclose(model.network(ids), plain).item()
    assert same(weights(model), before)
