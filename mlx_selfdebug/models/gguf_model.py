"""Find the MLX parameter that each GGUF tensor becomes, and the config.json that goes with them.

Two architectures are read: ``qwen2`` and ``llama``. The tensors are checked against the metadata: each tensor that the
model needs must be there with the right shape, and there must be no tensor without a place in the model.

In ``llama`` files the rows of the q and k projections are reordered, because llama.cpp applies the rotary embedding to
neighbouring pairs of rows, while Hugging Face and MLX pair row i with row i + half. :attr:`Placement.heads` is the number
of heads whose rows have to be put back in order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from mlx_selfdebug.errors import FormatError
from mlx_selfdebug.models.gguf_file import GgufFile, GgufTensor
from mlx_selfdebug.models.gguf_repack import BITS, GROUP_SIZE

Config = dict[str, Any]
"""The content of config.json."""

ARCHITECTURES = ("llama", "qwen2")
DENSE = frozenset({"F32", "F16", "BF16"})
"""The GGUF types that are not quantized. In safetensors they have the same names."""
MAX_LAYERS = 1024
MAX_SHOWN = 8
"""The maximum number of problems that an error message lists."""
_HINT = "use a model of a supported kind, or an MLX conversion of this one from the hub"


@dataclass(frozen=True)
class Placement:
    """The place of one GGUF tensor in the MLX model."""

    source: GgufTensor
    """The tensor in the GGUF file."""
    path: str
    """The path of the MLX module, such as ``model.layers.0.mlp.up_proj``."""
    parameter: str
    """The parameter of that module: ``weight`` or ``bias``."""
    heads: int = 0
    """The number of heads whose rows have to be put back in order; 0 if the rows stay as they are."""

    @property
    def quantized(self) -> bool:
        """Whether the tensor is quantized in the file, and therefore in the MLX model too."""
        return self.source.type_name in BITS


@dataclass(frozen=True)
class ModelPlan:
    """The layout of an MLX model: its configuration and the place of every tensor."""

    config: Config
    """The content of config.json, without the token ids, which come from the tokenizer."""
    placements: tuple[Placement, ...]
    """The places of all tensors of the file."""


@dataclass(frozen=True)
class _Sizes:
    """The architecture of a model and its sizes."""

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
    sizes = _read_sizes(file)
    tied = "output.weight" not in file.tensors
    placements, problems = _place_all(file, sizes, tied)
    if problems:
        more = f"; and {len(problems) - MAX_SHOWN} more" if len(problems) > MAX_SHOWN else ""
        raise FormatError(f"{file.path}: {'; '.join(sorted(problems)[:MAX_SHOWN])}{more}", hint=_HINT)
    return ModelPlan(_config(file, sizes, tied, placements), tuple(placements))


def _read_sizes(file: GgufFile) -> _Sizes:
    architecture = file.metadata.get("general.architecture")
    if architecture not in ARCHITECTURES:
        raise FormatError(
            f"{file.path}: architecture {architecture!r} is not supported; {' and '.join(ARCHITECTURES)} are",
            hint=_HINT,
        )
    metadata = _Metadata(file, str(architecture))
    metadata.refuse_unknown_features()
    heads, hidden = metadata.integer("attention.head_count"), metadata.integer("embedding_length")
    head_dim = metadata.integer("attention.key_length", hidden // heads)
    embedding = file.tensors.get("token_embd.weight")
    sizes = _Sizes(
        architecture=metadata.architecture,
        layers=metadata.integer("block_count", limit=MAX_LAYERS),
        hidden=hidden,
        feed_forward=metadata.integer("feed_forward_length"),
        heads=heads,
        kv_heads=metadata.integer("attention.head_count_kv", heads),
        head_dim=head_dim,
        vocabulary=embedding.shape[0] if embedding else 0,
    )
    _check_heads(metadata, sizes)
    return sizes


def _check_heads(metadata: _Metadata, sizes: _Sizes) -> None:
    rotated = metadata.integer("rope.dimension_count", sizes.head_dim)
    if sizes.heads % sizes.kv_heads or sizes.head_dim % 2 or rotated != sizes.head_dim:
        metadata.fail(
            f"{sizes.heads} attention heads of size {sizes.head_dim} ({rotated} of it rotated) and {sizes.kv_heads} heads"
            " for keys and values do not fit together"
        )
    if sizes.architecture == "qwen2" and sizes.heads * sizes.head_dim != sizes.hidden:
        metadata.fail(
            f"{sizes.heads} attention heads of size {sizes.head_dim} do not add up to a hidden size of {sizes.hidden}"
        )


class _Metadata:
    """Typed and bounded access to the metadata of one architecture."""

    def __init__(self, file: GgufFile, architecture: str) -> None:
        self.file = file
        self.architecture = architecture

    def fail(self, what: str) -> NoReturn:
        """Raise FormatError with the path of the file and a hint."""
        raise FormatError(f"{self.file.path}: {what}", hint=_HINT)

    def integer(self, key: str, default: int | None = None, limit: int = 1 << 24) -> int:
        """Return the value of ``key``, or ``default`` if it is missing. Raises FormatError unless it is from 1 to ``limit``."""
        value = self.file.metadata.get(f"{self.architecture}.{key}", default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= limit:
            self.fail(f"{self.architecture}.{key} is {value!r}; it must be an integer from 1 to {limit}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Return the value of ``key``, or ``default`` if it is missing. Raises FormatError unless it is positive and finite."""
        value = self.file.metadata.get(f"{self.architecture}.{key}", default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            self.fail(f"{self.architecture}.{key} is {value!r}; it must be a positive number")
        return float(value)

    def refuse_unknown_features(self) -> None:
        """Raise FormatError if the model has a feature that changes its arithmetic and is not supported."""
        for key in ("expert_count", "attention.sliding_window", "logit_scale", "attention.clamp_kqv"):
            if value := self.file.metadata.get(f"{self.architecture}.{key}"):
                self.fail(f"{self.architecture}.{key} is {value!r}, which is not supported")
        if "rope_freqs.weight" in self.file.tensors:
            self.fail("tensor 'rope_freqs.weight' (Llama 3.1 rope scaling) is not supported")

    def rope_scaling(self) -> dict[str, Any] | None:
        """Return the ``rope_scaling`` of config.json, or None if positions are not scaled.

        As in llama.cpp (``load_hparams``), the type is linear if it is missing, the factor may have an older key, and a factor of 0
        stands for none. Raises FormatError for another type, and for a factor that is negative or not finite.
        """
        kind = self.file.metadata.get(f"{self.architecture}.rope.scaling.type", "linear")
        if kind == "none":
            return None
        if kind != "linear":
            self.fail(f"rope scaling {kind!r} is not supported; 'none' and 'linear' are")
        for key in ("rope.scaling.factor", "rope.scale_linear"):
            value = self.file.metadata.get(f"{self.architecture}.{key}")
            if value is not None:
                factor = self.number(key) if value else 1.0
                return {"type": "linear", "factor": factor} if factor != 1.0 else None
        return None


def _config(file: GgufFile, sizes: _Sizes, tied: bool, placements: list[Placement]) -> Config:
    metadata = _Metadata(file, sizes.architecture)
    config: Config = {
        "model_type": sizes.architecture,
        "architectures": ["Qwen2ForCausalLM" if sizes.architecture == "qwen2" else "LlamaForCausalLM"],
        "hidden_size": sizes.hidden,
        "num_hidden_layers": sizes.layers,
        "intermediate_size": sizes.feed_forward,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head_dim,
        "vocab_size": sizes.vocabulary,
        "max_position_embeddings": metadata.integer("context_length", limit=1 << 31),
        "rms_norm_eps": metadata.number("attention.layer_norm_rms_epsilon"),
        "rope_theta": metadata.number("rope.freq_base", 10_000.0),
        "rope_scaling": metadata.rope_scaling(),
        "tie_word_embeddings": tied,
    }
    if quantization := _quantization(placements):
        config["quantization"] = quantization
    return config


def _quantization(placements: list[Placement]) -> Config:
    """Return the ``quantization`` entry of config.json, which is empty if no tensor is quantized.

    mlx_lm reads a module's own entry, which is stored under the module's path. The format also requires the two values
    at the top, but every quantized module has an entry of its own.
    """
    entries = {p.path: {"group_size": GROUP_SIZE, "bits": BITS[p.source.type_name]} for p in placements if p.quantized}
    return {"group_size": GROUP_SIZE, "bits": 4, **entries} if entries else {}


def _place_all(file: GgufFile, sizes: _Sizes, tied: bool) -> tuple[list[Placement], list[str]]:
    """Return the places of the tensors that are as expected, and what is wrong with the others."""
    placements: list[Placement] = []
    problems: list[str] = []
    unexpected_names = set(file.tensors)
    for expected in _expected_tensors(sizes, tied):
        name, types = expected.name, _types_for(expected.shape)
        unexpected_names.discard(name)
        tensor = file.tensors.get(name)
        if tensor is None:
            problems.append(f"tensor {name!r} is missing")
        elif tensor.shape != expected.shape:
            problems.append(f"tensor {name!r} has shape {tensor.shape}, expected {expected.shape}")
        elif tensor.type_name not in types:
            problems.append(f"tensor {name!r} has type {tensor.type_name}; supported types are {', '.join(types)}")
        else:
            parameter = name.rsplit(".", 1)[1]
            placements.append(Placement(tensor, expected.path, parameter, expected.heads))
    problems += [f"there is no place for tensor {name!r}" for name in unexpected_names]
    return placements, problems


def _types_for(shape: tuple[int, ...]) -> list[str]:
    """Return the GGUF types that a tensor of this shape may have. Only matrices may be quantized."""
    return sorted(DENSE.union(BITS) if len(shape) == 2 else DENSE)


class _Expected(NamedTuple):
    """A tensor that the file must hold."""

    name: str
    """The name in the file."""
    path: str
    """The path of the MLX module."""
    shape: tuple[int, ...]
    heads: int = 0
    """The number of heads whose rows have to be put back in order."""


def _expected_tensors(sizes: _Sizes, tied: bool) -> Iterator[_Expected]:
    yield _Expected("token_embd.weight", "model.embed_tokens", (sizes.vocabulary, sizes.hidden))
    yield _Expected("output_norm.weight", "model.norm", (sizes.hidden,))
    if not tied:
        yield _Expected("output.weight", "lm_head", (sizes.vocabulary, sizes.hidden))
    for layer in range(sizes.layers):
        yield from _expected_in_layer(sizes, f"blk.{layer}.", f"model.layers.{layer}.")


def _expected_in_layer(sizes: _Sizes, source: str, target: str) -> Iterator[_Expected]:
    hidden, feed_forward = sizes.hidden, sizes.feed_forward
    yield _Expected(f"{source}attn_norm.weight", f"{target}input_layernorm", (hidden,))
    yield _Expected(f"{source}ffn_norm.weight", f"{target}post_attention_layernorm", (hidden,))
    yield _Expected(f"{source}ffn_gate.weight", f"{target}mlp.gate_proj", (feed_forward, hidden))
    yield _Expected(f"{source}ffn_up.weight", f"{target}mlp.up_proj", (feed_forward, hidden))
    yield _Expected(f"{source}ffn_down.weight", f"{target}mlp.down_proj", (hidden, feed_forward))
    yield _Expected(f"{source}attn_output.weight", f"{target}self_attn.o_proj", (hidden, sizes.heads * sizes.head_dim))
    for letter, heads in (("q", sizes.heads), ("k", sizes.kv_heads), ("v", sizes.kv_heads)):
        path, rows = f"{target}self_attn.{letter}_proj", heads * sizes.head_dim
        reordered = heads if sizes.architecture == "llama" and letter in "qk" else 0
        yield _Expected(f"{source}attn_{letter}.weight", path, (rows, hidden), reordered)
        if sizes.architecture == "qwen2":
            yield _Expected(f"{source}attn_{letter}.bias", path, (rows,))
