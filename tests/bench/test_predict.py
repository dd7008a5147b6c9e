from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mlx_selfdebug.bench.predict import CHIPS, chip_of, predict
from mlx_selfdebug.bench.sizes import Size, weights_size
from mlx_selfdebug.errors import FormatError

from .conftest import AIR, SERVER


def test_bounds_are_bandwidth_over_bytes_and_operations_over_operations() -> None:
    bound = predict(CHIPS["Apple M4"], 494_000_000, 278_000_000)
    assert bound.decode_alone_tokens_per_s == pytest.approx(120e9 / 278e6)
    assert bound.train_tokens_per_s == pytest.approx(0.65 * 10 * 256 * 1.578e9 / (4 * 494e6))


def test_a_chip_with_fewer_gpu_cores_trains_slower_and_decodes_the_same() -> None:
    whole, fewer = (predict(CHIPS["Apple M4"], 10**8, 10**8, gpu_cores=n) for n in (10, 8))
    assert fewer.train_tokens_per_s == pytest.approx(0.8 * whole.train_tokens_per_s)
    assert fewer.decode_alone_tokens_per_s == whole.decode_alone_tokens_per_s


def test_the_chip_is_found_by_its_name() -> None:
    assert chip_of(AIR) is CHIPS["Apple M4"]
    assert chip_of(SERVER) is None
    assert chip_of(replace(AIR, chip=None)) is None


@pytest.mark.parametrize("quantized", [False, True])
def test_the_size_of_a_folder_is_that_of_the_loaded_network(tmp_path: Path, quantized: bool) -> None:
    from mlx_selfdebug.models.backend import mx, nn  # isort: skip

    import json

    from mlx.utils import tree_flatten
    from mlx_lm.utils import get_total_parameters, load_model

    from mlx_selfdebug.testing import write_tiny_model

    folder = write_tiny_model(tmp_path / "tiny")
    network, config = load_model(folder)
    if quantized:
        nn.quantize(network, group_size=32, bits=4)
        mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(network.parameters())))
        config["quantization"] = {"group_size": 32, "bits": 4}
        (folder / "config.json").write_text(json.dumps(config))
    n_bytes = sum(array.nbytes for _, array in tree_flatten(network.parameters()))
    assert weights_size(folder) == Size(int(get_total_parameters(network)), n_bytes)


def test_a_table_that_is_only_looked_up_does_not_count(tmp_path: Path) -> None:
    from mlx_selfdebug.models.backend import mx  # isort: skip

    (tmp_path / "config.json").write_text("{}")
    weights = {"model.embed_tokens.weight": mx.zeros((9, 4)), "lm_head.weight": mx.zeros((9, 4))}
    mx.save_safetensors(str(tmp_path / "model.safetensors"), weights)
    assert weights_size(tmp_path) == Size(36, 144)


def test_a_file_that_is_no_safetensors_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"short")
    with pytest.raises(FormatError, match=r"model\.safetensors"):
        weights_size(tmp_path)
