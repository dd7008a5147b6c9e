"""Find the MLX parameter that each GGUF tensor becomes, and the config.json that goes with them.

Two architectures are read: ``qwen2`` and ``llama``. What the metadata promises is checked against the tensors: each
tensor that the model needs must be there with the right shape, and there must be no tensor without a place in it.

In ``llama`` files the rows of the q and k projections are reordered, because llama.cpp rotates neighbouring pairs,
while Hugging Face and MLX rotate halves. :attr:`Placement.heads` says how many heads there are to put back in order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from mlx_selfdebug.errors import FormatError
from mlx_selfdebug.models.gguf_file import GgufFile, GgufTensor
from mlx_selfdebug.models.gguf_repack import BITS, GROUP_SIZE

Config = dict[str, Any]

ARCHITECTURES = ("llama", "qwen2")
DENSE = {"F32": "F32", "F16": "F16", "BF16": "BF16"}
MAX_LAYERS = 1024
_OTHER = "use a model of a supported kind, or an MLX conversion of this one from the hub"


@dataclass(frozen=True)
class Placement:
    """The place of one GGUF tensor in the MLX model."""

    source: GgufTensor
    path: str
    """The path of the MLX module, such as ``model.layers.0.mlp.up_proj``."""
    leaf: str
    """The parameter of that module: ``weight`` or ``bias``."""
    heads: int = 0
    """The number of heads whose rows have to be put back in order; 0 if the rows stay as they are."""

    @property
    def quantized(self) -> bool:
        return self.source.type_name in BITS


@dataclass(frozen=True)
class ModelPlan:
    """The layout of an MLX model: its configuration and the place of every tensor."""

    config: Config
    """The content of config.json, without the token ids, which come from the tokenizer."""
    placements: tuple[Placement, ...]


@dataclass(frozen=True)
class _Shape:
    architecture: str
    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int


def plan_model(file: GgufFile) -> ModelPlan:
    """Return the layout of the model in ``file``.

    Raises:
        FormatError: the architecture is not supported, or a tensor is missing, misshapen, unknown or of a type that is
            not read.
    """
    shape = _read_shape(file)
    tied = "output.weight" not in file.tensors
    placements, problems = _place_all(file, shape, tied)
    problems += [
        f"there is no place for tensor {name!r}" for name in file.tensors.keys() - {p.source.name for p in placements}
    ]
    if problems:
        more = f"; and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise FormatError(f"{file.path}: {'; '.join(sorted(problems)[:8])}{more}", hint=_OTHER)
    return ModelPlan(_config(file, shape, tied, placements), tuple(placements))


def _read_shape(file: GgufFile) -> _Shape:
    architecture = file.metadata.get("general.architecture")
    if architecture not in ARCHITECTURES:
        raise FormatError(
            f"{file.path}: architecture {architecture!r} is not supported; {' and '.join(ARCHITECTURES)} are",
            hint=_OTHER,
        )
    get = _Getter(file, str(architecture))
    get.refuse_unknown_features()
    heads, hidden = get.integer("attention.head_count"), get.integer("embedding_length")
    head_dim = get.integer("attention.key_length", hidden // heads)
    embedding = file.tensors.get("token_embd.weight")
    shape = _Shape(
        architecture=get.architecture,
        layers=get.integer("block_count", limit=MAX_LAYERS),
        hidden=hidden,
        feed_forward=get.integer("feed_forward_length"),
        heads=heads,
        kv_heads=get.integer("attention.head_count_kv", heads),
        head_dim=head_dim,
        vocabulary=embedding.shape[0] if embedding else 0,
    )
    _check_heads(get, shape)
    return shape


def _check_heads(get: _Getter, shape: _Shape) -> None:
    rotated = get.integer("rope.dimension_count", shape.head_dim)
    if shape.heads % shape.kv_heads or shape.head_dim % 2 or rotated != shape.head_dim:
        get.fail(
            f"{shape.heads} attention heads of size {shape.head_dim} ({rotated} of it rotated) and {shape.kv_heads} heads"
            " for keys and values do not fit together"
        )
    if shape.architecture == "qwen2" and shape.heads * shape.head_dim != shape.hidden:
        get.fail(
            f"{shape.heads} attention heads of size {shape.head_dim} do not add up to a hidden size of {shape.hidden}"
        )


class _Getter:
    """Typed and bounded access to the metadata of one architecture."""

    def __init__(self, file: GgufFile, architecture: str) -> None:
        self.file = file
        self.architecture = architecture

    def fail(self, what: str) -> NoReturn:
        raise FormatError(f"{self.file.path}: {what}", hint=_OTHER)

    def integer(self, key: str, default: int | None = None, limit: int = 1 << 24) -> int:
        value = self.file.metadata.get(f"{self.architecture}.{key}", default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= limit:
            what = f"{self.architecture}.{key} is {value!r}; it must be an integer from 1 to {limit}"
            raise FormatError(f"{self.file.path}: {what}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self.file.metadata.get(f"{self.architecture}.{key}", default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            what = f"{self.architecture}.{key} is {value!r}; it must be a positive number"
            raise FormatError(f"{self.file.path}: {what}")
        return float(value)

    def refuse_unknown_features(self) -> None:
        """Refuse by name, rather than ignore, what changes the arithmetic and is not supported."""
        for key in ("expert_count", "attention.sliding_window", "logit_scale", "attention.clamp_kqv"):
            if value := self.file.metadata.get(f"{self.architecture}.{key}"):
                self.fail(f"{self.architecture}.{key} is {value!r}, which is not supported")
        if "rope_freqs.weight" in self.file.tensors:
            self.fail("tensor 'rope_freqs.weight' (Llama 3.1 rope scaling) is not supported")

    def rope_scaling(self) -> dict[str, Any] | None:
        kind = self.file.metadata.get(f"{self.architecture}.rope.scaling.type", "none")
        if kind == "none":
            return None
        if kind != "linear":
            self.fail(f"rope scaling {kind!r} is not supported; 'none' and 'linear' are")
        return {"type": "linear", "factor": self.number("rope.scaling.factor")}


def _config(file: GgufFile, shape: _Shape, tied: bool, placements: list[Placement]) -> Config:
    get = _Getter(file, shape.architecture)
    config: Config = {
        "model_type": shape.architecture,
        "architectures": ["Qwen2ForCausalLM" if shape.architecture == "qwen2" else "LlamaForCausalLM"],
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "intermediate_size": shape.feed_forward,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": get.integer("context_length", limit=1 << 31),
        "rms_norm_eps": get.number("attention.layer_norm_rms_epsilon"),
        "rope_theta": get.number("rope.freq_base", 10_000.0),
        "rope_scaling": get.rope_scaling(),
        "tie_word_embeddings": tied,
    }
    if quantization := _quantization(placements):
        config["quantization"] = quantization
    return config


def _quantization(placements: list[Placement]) -> Config:
    """Return the ``quantization`` entry of config.json.

    mlx_lm reads the entry under a module's path. The two values at the top are a default that no module falls back to.
    """
    entries = {p.path: {"group_size": GROUP_SIZE, "bits": BITS[p.source.type_name]} for p in placements if p.quantized}
    return {"group_size": GROUP_SIZE, "bits": 4, **entries} if entries else {}


def _place_all(file: GgufFile, shape: _Shape, tied: bool) -> tuple[list[Placement], list[str]]:
    placements: list[Placement] = []
    problems: list[str] = []
    for name, path, expected, heads in _expected(shape, tied):
        tensor = file.tensors.get(name)
        if tensor is None:
            problems.append(f"tensor {name!r} is missing")
        elif tensor.shape != expected:
            problems.append(f"tensor {name!r} has shape {tensor.shape}, expected {expected}")
        elif tensor.type_name not in _types_for(expected):
            types = ", ".join(_types_for(expected))
            problems.append(f"tensor {name!r} has type {tensor.type_name}; supported types are {types}")
        else:
            placements.append(Placement(tensor, path, name.rsplit(".", 1)[1], heads))
    return placements, problems


def _types_for(shape: tuple[int, ...]) -> list[str]:
    return sorted(DENSE | BITS if len(shape) == 2 else DENSE)


def _expected(shape: _Shape, tied: bool) -> Iterator[tuple[str, str, tuple[int, ...], int]]:
    """Yield each tensor's name in the file, its MLX module, its shape, and the number of heads to put back in order."""
    yield "token_embd.weight", "model.embed_tokens", (shape.vocabulary, shape.hidden), 0
    yield "output_norm.weight", "model.norm", (shape.hidden,), 0
    if not tied:
        yield "output.weight", "lm_head", (shape.vocabulary, shape.hidden), 0
    for layer in range(shape.layers):
        yield from _expected_in_layer(shape, f"blk.{layer}.", f"model.layers.{layer}.")


def _expected_in_layer(shape: _Shape, source: str, target: str) -> Iterator[tuple[str, str, tuple[int, ...], int]]:
    hidden, wide = shape.hidden, shape.feed_forward
    yield f"{source}attn_norm.weight", f"{target}input_layernorm", (hidden,), 0
    yield f"{source}ffn_norm.weight", f"{target}post_attention_layernorm", (hidden,), 0
    yield f"{source}ffn_gate.weight", f"{target}mlp.gate_proj", (wide, hidden), 0
    yield f"{source}ffn_up.weight", f"{target}mlp.up_proj", (wide, hidden), 0
    yield f"{source}ffn_down.weight", f"{target}mlp.down_proj", (hidden, wide), 0
    yield f"{source}attn_output.weight", f"{target}self_attn.o_proj", (hidden, shape.heads * shape.head_dim), 0
    for letter, heads in (("q", shape.heads), ("k", shape.kv_heads), ("v", shape.kv_heads)):
        path, rows = f"{target}self_attn.{letter}_proj", heads * shape.head_dim
        permuted = heads if shape.architecture == "llama" and letter in "qk" else 0
        yield f"{source}attn_{letter}.weight", path, (rows, hidden), permuted
        if shape.architecture == "qwen2":
            yield f"{source}attn_{letter}.bias", path, (rows,), 0
