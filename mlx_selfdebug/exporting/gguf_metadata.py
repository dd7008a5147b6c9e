"""Describe a model in the metadata of a GGUF file: its architecture and sizes, how it encodes positions, and where it comes from.

The metadata are entries such as ``qwen2.block_count = 24``. Those of the tokenizer are made by ``gguf_tokenizer.py``. If a model
has a feature that GGUF cannot describe, or that our importer does not read, an error names the feature.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gguf.constants import GGML_QUANT_VERSION

from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.models.gguf_file import Value
from mlx_selfdebug.models.gguf_layout import ARCHITECTURES, Sizes
from mlx_selfdebug.models.gguf_rope import ORIGINAL_CONTEXT, Floats, rope_factors
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.training.adapter import Adapter

MAX_CONTEXT = 1 << 20
"""The context length that is written for a model whose configuration does not give one."""
_HINT = "export the adapter alone, or the model in MLX's format"


def read_sizes(model: Model) -> Sizes:
    """Return the architecture and the sizes of ``model``.

    Raises:
        ModelError: models of this architecture cannot be written, or the model has a feature that GGUF cannot describe.
    """
    architecture = str(model.config.get("model_type"))
    if architecture not in ARCHITECTURES:
        problem = f"{model.name} has the architecture {architecture!r}, which is not written to GGUF files"
        raise ModelError(f"{problem}; {' and '.join(ARCHITECTURES)} are", hint=_HINT)
    args: Any = model.network.args
    has_sliding_window = any(kind != "full_attention" for kind in getattr(args, "layer_types", None) or [])
    if args.rope_traditional or has_sliding_window:
        feature = "attention to a sliding window" if has_sliding_window else "the rotation of neighbouring dimensions"
        raise ModelError(f"{model.name} uses {feature}, which is not written to GGUF files", hint=_HINT)
    return Sizes(
        architecture=architecture,
        layers=args.num_hidden_layers,
        hidden=args.hidden_size,
        feed_forward=args.intermediate_size,
        heads=args.num_attention_heads,
        kv_heads=args.num_key_value_heads or args.num_attention_heads,
        head_dim=getattr(args, "head_dim", None) or args.hidden_size // args.num_attention_heads,
        vocabulary=args.vocab_size,
    )


def describe_network(model: Model, sizes: Sizes) -> dict[str, Value]:
    """Return the entries of the metadata that describe the network.

    Raises:
        ModelError: the model scales positions in a way that GGUF cannot describe.
    """
    args: Any = model.network.args
    entries: dict[str, Value] = {
        "context_length": int(args.max_position_embeddings or MAX_CONTEXT),
        "block_count": sizes.layers,
        "embedding_length": sizes.hidden,
        "feed_forward_length": sizes.feed_forward,
        "attention.head_count": sizes.heads,
        "attention.head_count_kv": sizes.kv_heads,
        "attention.key_length": sizes.head_dim,
        "attention.value_length": sizes.head_dim,
        "attention.layer_norm_rms_epsilon": float(args.rms_norm_eps),
        "rope.dimension_count": sizes.head_dim,
        "rope.freq_base": float(args.rope_theta),
        "vocab_size": sizes.vocabulary,
    }
    return {f"{sizes.architecture}.{key}": value for key, value in (entries | _scaling(model, sizes)).items()}


def read_rope_factors(model: Model, sizes: Sizes) -> Floats | None:
    """Return the factors of Llama 3.1's scaling of positions, or None if ``model`` does not scale positions in this way."""
    scaling: dict[str, Any] | None = model.network.args.rope_scaling
    if scaling is None or _kind(scaling) != "llama3":
        return None
    return rope_factors(scaling, float(model.network.args.rope_theta), sizes.head_dim)


def describe_origin(model: Model, adapter: Adapter | None) -> dict[str, Value]:
    """Return the entries of the metadata that name the model, its base and the adapter."""
    kind, _, place = model.origin.partition(":")
    base = model.path.resolve().name if kind == "folder" else Path(model.name).name.removesuffix(".gguf")
    entries: dict[str, Value] = {
        "general.type": "model",
        "general.name": base,
        "general.quantization_version": GGML_QUANT_VERSION,
    }
    if adapter is None:
        return entries
    entries |= {
        "general.name": f"{base}-{_run_name(adapter)}",
        "general.finetune": _run_name(adapter),
        "general.description": f"{base} with an adapter of mlx-selfdebug merged into it (SHA-256 {adapter.digest()})",
        "general.base_model.count": 1,
        "general.base_model.0.name": base,
    }
    if kind == "hub":
        repository, _, revision = place.partition("@")
        entries["general.base_model.0.repo_url"] = f"https://huggingface.co/{repository}"
        entries["general.base_model.0.version"] = revision
    elif kind == "gguf":
        entries["general.base_model.0.version"] = place  # the beginning of the file's SHA-256
    return entries


def _run_name(adapter: Adapter) -> str:
    """Return the name of the run that made the adapter, or that of the adapter's folder if the folder is not in a run."""
    folder = adapter.path.resolve()
    return folder.parent.name if folder.name == "adapter" else folder.name


def _kind(scaling: dict[str, Any]) -> str:
    """Return the kind of a scaling of positions, such as "linear" or "llama3"."""
    # mlx-lm looks for the two keys in this order.
    return str(scaling.get("type") or scaling.get("rope_type", "default"))


def _scaling(model: Model, sizes: Sizes) -> dict[str, Value]:
    """Return the entries for the scaling of positions, which lets a model read more tokens than it was first trained on."""
    scaling: dict[str, Any] | None = model.network.args.rope_scaling
    kind = "default" if scaling is None else _kind(scaling)
    if scaling is None or kind == "default":
        return {}
    if kind == "linear":
        return {"rope.scaling.type": "linear", "rope.scaling.factor": float(scaling["factor"])}
    if kind == "llama3" and sizes.architecture == "llama":
        original = scaling.get("original_max_position_embeddings", ORIGINAL_CONTEXT)
        # The factors are a tensor of the file (``read_rope_factors``).
        return {"rope.scaling.original_context_length": int(original)}
    raise ModelError(
        f"{model.name} scales positions by {kind!r}, which is not written to GGUF files of the architecture {sizes.architecture}",
        hint=_HINT,
    )
