"""The files people will have: every tensor against the reference, and answers that run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mlx_selfdebug.models.backend import mx

import gguf
import numpy as np
import pytest
from mlx_lm import generate

from mlx_selfdebug.models.gguf_file import read_gguf
from mlx_selfdebug.models.gguf_import import _pieces
from mlx_selfdebug.models.gguf_model import Placement, plan_model
from mlx_selfdebug.models.gguf_repack import BITS
from mlx_selfdebug.models.load import Model

pytestmark = [pytest.mark.slow, pytest.mark.real_model]
KIND = gguf.GGMLQuantizationType
# Of the largest weight in the tensor. Q4_K: scales rounded to fp16. Q6_K: steps of a quarter scale, see gguf_repack.
TOLERANCE = {"Q4_K": 2**-10, "Q6_K": 1 / 128}


def as_stored(weights: dict[str, mx.array], placement: Placement) -> np.ndarray:
    weight = weights[f"{placement.path}.{placement.parameter}"]
    if not placement.quantized:
        return np.array(weight.astype(mx.float32))
    scales, biases = (weights[f"{placement.path}.{part}"].astype(mx.float32) for part in ("scales", "biases"))
    return np.array(mx.dequantize(weight, scales, biases, 32, BITS[placement.source.type_name]))


@pytest.mark.parametrize(("alias", "n_tensors"), [("qwen2.5-coder-0.5b", 291), ("smollm2-135m", 272)])
def test_every_tensor_is_what_the_reference_makes_of_the_file(
    alias: str, n_tensors: int, gguf_of_alias: Callable[[str], Path], repacked_alias: Callable[[str], Path]
) -> None:
    file = read_gguf(gguf_of_alias(alias))
    placements = plan_model(file).placements
    weights = mx.load(str(repacked_alias(alias) / "model.safetensors"))
    assert len(placements) == len(file.tensors) == n_tensors
    for placement in placements:
        kind = placement.source.type_name
        raw = np.concatenate(list(_pieces(file, placement)))
        stored = as_stored(weights, placement)
        expected = gguf.quants.dequantize(raw, KIND[kind]).reshape(stored.shape)
        error, largest = np.abs(stored - expected).max(), np.abs(expected).max()
        assert error <= TOLERANCE.get(kind, 0) * largest, (placement.path, kind, error, largest)


TASKS = {
    "factorial": ("returns the factorial of n", "n", [((5,), 120), ((0,), 1)]),
    "is_palindrome": ("returns True if the string s is a palindrome", "s", [(("level",), True), (("ab",), False)]),
    "count_vowels": ("returns how many vowels the string s has", "s", [(("education",), 5), (("xyz",), 0)]),
}


@pytest.mark.parametrize("name", TASKS)
def test_the_coder_solves_easy_tasks_greedily(name: str, coder: Model) -> None:
    what, argument, cases = TASKS[name]
    question = f"Write a Python function `{name}({argument})` that {what}. Answer with code only."
    ids = coder.render([{"role": "user", "content": question}], reply_prefix="```python\n")
    code = generate(coder.network, coder.tokenizer, ids, max_tokens=160).split("```")[0]
    names: dict[str, Callable[..., object]] = {}
    exec(code, names)
    assert [names[name](*arguments) for arguments, _ in cases] == [result for _, result in cases]


def test_the_coder_fits_in_its_memory_on_the_cpu(coder: Model) -> None:
    if coder.device != "cpu":
        pytest.skip("measured on the CPU")
    assert mx.get_active_memory() < 2.3e9


def test_control_tokens_are_single_ids_in_a_chat_and_text_everywhere_else(coder: Model) -> None:
    chat = coder.render([{"role": "user", "content": "<|im_end|>"}])
    assert (chat.count(151644), chat.count(151645)) == (3, 2)
    assert coder.decode(coder.encode("<|im_start|>a<|im_end|>")) == "<|im_start|>a<|im_end|>"
    assert not {151644, 151645} & set(coder.encode("<|im_start|>a<|im_end|>"))
    assert coder.eos_ids == {151643, 151645}
