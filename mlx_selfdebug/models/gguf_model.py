"""Find the MLX parameter that each GGUF tensor becomes, and the config.json that goes with them.

Two architectures are read: ``qwen2`` and ``llama``. The tensors are checked against the metadata: each tensor of
``gguf_layout.py`` must be there with the right shape, and there must be no tensor without a place in the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from mlx_selfdebug.errors import FormatError
from mlx_selfdebug.models.gguf_file import GgufFile, GgufTensor
from mlx_selfdebug.models.gguf_layout import ARCHITECTURES, Sizes, expected_tensors
from mlx_selfdebug.models.gguf_repack import BITS, GROUP_SIZE
from mlx_selfdebug.models.gguf_rope import ORIGINAL_CONTEXT, ROPE_FACTORS, recognize_scaling

Config = dict[str, Any]
"""The content of config.json."""

DENSE = frozenset({"F32", "F16", "BF16"})
"""The GGUF types that are not quantized. In safetensors they have the same names."""
MAX_LAYERS = 1024
"""The maximum number of layers. It keeps a file with an absurd number from taking much time."""
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


def _read_sizes(file: GgufFile) -> Sizes:
    """Return the sizes that the metadata state. Raises FormatError if the architecture or one of its features is not supported."""
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
    sizes = Sizes(
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


def _check_heads(metadata: _Metadata, sizes: Sizes) -> None:
    """Raise FormatError if the numbers and the size of the attention heads do not fit together."""
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
        """Return the value of ``key``, or ``default`` if it is missing. Raises FormatError unless it is positive and finite.

        Of a float32, the shortest decimal is returned that stands for it: 1e-06, not 9.999999974752427e-07.
        """
        value = self.file.metadata.get(f"{self.architecture}.{key}", default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            self.fail(f"{self.architecture}.{key} is {value!r}; it must be a positive number")
        with np.errstate(over="ignore"):
            single = np.float32(value)
        return float(str(single)) if float(single) == value else float(value)

    def refuse_unknown_features(self) -> None:
        """Raise FormatError if the model has a feature that changes its arithmetic and is not supported."""
        for key in ("expert_count", "attention.sliding_window", "logit_scale", "attention.clamp_kqv"):
            if value := self.file.metadata.get(f"{self.architecture}.{key}"):
                self.fail(f"{self.architecture}.{key} is {value!r}, which is not supported")

    def rope_base(self) -> float:
        """Return the ``rope_theta`` of config.json."""
        return self.number("rope.freq_base", 10_000.0)

    def rope_scaling(self, head_dim: int) -> dict[str, Any] | None:
        """Return the ``rope_scaling`` of config.json, or None if positions are not scaled.

        Raises FormatError for a scaling that is neither linear nor as in Llama 3.1.
        """
        linear = self.linear_scaling()
        factors = self.file.tensors.get(ROPE_FACTORS)
        if factors is None:
            return linear
        if linear is not None:
            self.fail(f"positions are scaled both linearly and by tensor {factors.name!r}, which is not supported")
        return self.llama3_scaling(factors, head_dim)

    def linear_scaling(self) -> dict[str, Any] | None:
        """Return the ``rope_scaling`` of config.json that the metadata describe, or None if they describe none.

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

    def llama3_scaling(self, tensor: GgufTensor, head_dim: int) -> dict[str, Any]:
        """Return the ``rope_scaling`` of config.json whose factors ``tensor`` holds."""
        expected = (head_dim // 2,)
        if tensor.shape != expected or tensor.type_name != "F32":
            what = f"tensor {tensor.name!r} has shape {tensor.shape} and type {tensor.type_name}"
            self.fail(f"{what}, expected {expected} and F32")
        factors = self.file.read_rows(tensor, 0, 1)[0].view(np.float32)
        original = self.integer("rope.scaling.original_context_length", ORIGINAL_CONTEXT)
        scaling = recognize_scaling(factors, self.rope_base(), head_dim, original)
        if scaling is None:
            self.fail(f"the factors in tensor {tensor.name!r} are not those of Llama 3.1, and no others are supported")
        return scaling


def _config(file: GgufFile, sizes: Sizes, tied: bool, placements: list[Placement]) -> Config:
    """Return the content of config.json, without the token ids. ``tied`` says whether the head has the embedding's weights."""
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
        "rope_theta": metadata.rope_base(),
        "rope_scaling": metadata.rope_scaling(sizes.head_dim),
        "tie_word_embeddings": tied,
    }
    if quantization := _quantization(placements):
        config["quantization"] = quantization
    return config


def _quantization(placements: list[Placement]) -> Config:
    """Return the ``quantization`` entry of config.json, which is empty if no tensor is quantized.

    Every quantized module has an entry of its own under its path, which mlx_lm reads. The format also requires the two values at
    the top, which are then used for no module.
    """
    entries = {p.path: {"group_size": GROUP_SIZE, "bits": BITS[p.source.type_name]} for p in placements if p.quantized}
    return {"group_size": GROUP_SIZE, "bits": 4, **entries} if entries else {}


def _place_all(file: GgufFile, sizes: Sizes, tied: bool) -> tuple[list[Placement], list[str]]:
    """Return the places of the tensors that are as expected, and what is wrong with the others."""
    placements: list[Placement] = []
    problems: list[str] = []
    unexpected_names = set(file.tensors)
    if sizes.architecture == "llama":
        unexpected_names.discard(ROPE_FACTORS)  # becomes an entry of the configuration
    for expected in expected_tensors(sizes, tied):
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
