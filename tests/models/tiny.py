"""Writes tiny GGUF files of real shape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind

HIDDEN, WIDE, HEADS, KV_HEADS, LAYERS, HEAD_DIM = 256, 512, 4, 2, 2, 64
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MakeGguf = Callable[..., dict[str, np.ndarray]]


def byte_alphabet() -> list[str]:
    """The 256 characters that byte-level BPE writes bytes as."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(256 - len(plain))]


def reorder_as_llama_cpp(rows: np.ndarray, heads: int) -> np.ndarray:
    """What llama.cpp's converter does to q and k of llama models."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def hugging_face_weights(architecture: str, vocabulary: int, tied: bool) -> dict[str, np.ndarray]:
    """Random weights by their GGUF names, rows in Hugging Face's order."""
    rng = np.random.default_rng(7)
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (vocabulary, HIDDEN), "output_norm.weight": (HIDDEN,)}
    if not tied:
        shapes["output.weight"] = (vocabulary, HIDDEN)
    for layer in range(LAYERS):
        at = f"blk.{layer}."
        shapes |= {f"{at}attn_norm.weight": (HIDDEN,), f"{at}ffn_norm.weight": (HIDDEN,)}
        shapes |= {f"{at}ffn_gate.weight": (WIDE, HIDDEN), f"{at}ffn_up.weight": (WIDE, HIDDEN)}
        shapes |= {f"{at}ffn_down.weight": (HIDDEN, WIDE), f"{at}attn_output.weight": (HIDDEN, HEADS * HEAD_DIM)}
        for letter, heads in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
            shapes[f"{at}attn_{letter}.weight"] = (heads * HEAD_DIM, HIDDEN)
            if architecture == "qwen2":
                shapes[f"{at}attn_{letter}.bias"] = (heads * HEAD_DIM,)
    return {n: rng.normal(float("norm" in n), 0.08, shape).astype(np.float32) for n, shape in shapes.items()}


def write_gguf(
    path: Path,
    architecture: str = "qwen2",
    kind: Kind = Kind.Q8_0,
    *,
    tied: bool = True,
    pre: str = "qwen2",
    metadata: dict[str, Any] | None = None,
    replace: dict[str, tuple[np.ndarray, Kind] | None] | None = None,
) -> dict[str, np.ndarray]:
    """Write a tiny model and return its weights as a reader should see them: dequantized, rows in order.

    ``metadata`` overrides entries (None leaves one out); ``replace`` overrides or adds tensors with raw data of a type.
    """
    tokens = [*SPECIALS, *byte_alphabet(), "de", "def"]
    weights = hugging_face_weights(architecture, len(tokens), tied)
    writer = gguf.GGUFWriter(path, architecture)
    entries: dict[str, Any] = {
        f"{architecture}.block_count": LAYERS,
        f"{architecture}.context_length": 512,
        f"{architecture}.embedding_length": HIDDEN,
        f"{architecture}.feed_forward_length": WIDE,
        f"{architecture}.attention.head_count": HEADS,
        f"{architecture}.attention.head_count_kv": KV_HEADS,
        f"{architecture}.rope.freq_base": 10000.0,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] * len(SPECIALS) + [1] * (len(tokens) - len(SPECIALS)),
        "tokenizer.ggml.merges": ["d e", "de f"],
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.chat_template": TEMPLATE,
    }
    for key, value in (entries | (metadata or {})).items():
        _add(writer, key, value)
    seen = {}
    for name, data in weights.items():
        seen[name] = _add_tensor(writer, architecture, name, data, kind, replace or {})
    for name, extra in (replace or {}).items():
        if extra is not None and name not in weights:
            writer.add_tensor(name, extra[0], raw_dtype=extra[1])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return seen


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif value is not None:
        writer.add_array(key, value)


def _add_tensor(
    writer: gguf.GGUFWriter, architecture: str, name: str, data: np.ndarray, kind: Kind, replace: dict[str, Any]
) -> np.ndarray:
    if name in replace:
        if replace[name] is not None:
            writer.add_tensor(name, replace[name][0], raw_dtype=replace[name][1])
        return data
    if data.ndim == 1:
        writer.add_tensor(name, data)
        return data
    raw = gguf.quants.quantize(data, kind)
    heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(name.split(".")[-2], 0) if architecture == "llama" else 0
    writer.add_tensor(name, reorder_as_llama_cpp(raw, heads) if heads else raw, raw_dtype=kind)
    return gguf.quants.dequantize(raw, kind)
