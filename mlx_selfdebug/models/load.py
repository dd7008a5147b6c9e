"""Load a model by its name, in the form in which this machine computes it fast.

On Metal and CUDA the weights stay quantized, as they are on disk. On the CPU, where only dense float32 is fast, they
are dequantized while they are loaded, one layer after the other: see :mod:`mlx_selfdebug.models.dense`.

    model = load_model("qwen2.5-coder-0.5b")
    ids = model.render([{"role": "user", "content": "Write a function that reverses a string."}])
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mlx_selfdebug.models.backend import device_name, mx, nn

import numpy as np
import numpy.typing as npt
from huggingface_hub.errors import StrictDataclassError
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model as load_network
from mlx_lm.utils import load_tokenizer

from mlx_selfdebug.errors import FormatError, ModelError
from mlx_selfdebug.models.activations import speed_up_activations
from mlx_selfdebug.models.adapters import add_adapter
from mlx_selfdebug.models.chat import chat_ids
from mlx_selfdebug.models.dense import dense_bytes, dequantize_network
from mlx_selfdebug.models.resolve import ResolvedModel, resolve_model
from mlx_selfdebug.models.sealed import read_seal
from mlx_selfdebug.progress import NullProgress, Progress

logger = logging.getLogger(__name__)

T = TypeVar("T")
Messages = Sequence[Mapping[str, str]]
CACHE_LIMIT_BYTES = 10**9
"""The most bytes of freed buffers that MLX may keep for reuse.

MLX's own limit is nearly all of the memory, and none of its peak figures show these buffers.
"""
_NEWLINES = ("\n", "\u010a")
"""How vocabularies spell the end of a line: as it is, or as the letter that stands for it in byte-level vocabularies."""

# The exceptions that mlx, mlx_lm, tokenizers and transformers raise on files whose content is wrong. They are caught around calls
# of these libraries alone.
_BAD_FILES = (
    ValueError, KeyError, TypeError, ArithmeticError, AssertionError, RuntimeError, OSError, StrictDataclassError
)  # fmt: skip
# What mlx raises when weights are read that a file promised and does not hold. Nothing else is caught around code of our own, whose
# faults must not pass for those of a file.
_BAD_WEIGHTS = (ValueError, RuntimeError, OSError)


@dataclass(eq=False, repr=False)
class Model:
    """A loaded model with its tokenizer."""

    name: str
    """The name that the model was loaded by."""
    origin: str
    """Where exactly the weights come from: ``hub:repo@revision``, ``gguf:sha256`` or ``folder:path``."""
    path: Path
    """The folder in MLX format that the model was loaded from."""
    network: nn.Module
    """Maps ids (batch, length) to logits (batch, length, vocabulary)."""
    tokenizer: Any
    """The tokenizer, in mlx-lm's wrapper."""
    config: dict[str, Any]
    """The content of config.json."""
    device: str
    """The device that computes: ``metal``, ``cuda`` or ``cpu``."""
    dtype: str
    """The dtype that activations are computed in."""
    adapter: Path | None = None
    """The folder of the adapter that was loaded with the model."""
    _spelled: dict[int, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        adapter = f", adapter={self.adapter.name!r}" if self.adapter else ""
        return f"Model({self.name!r}, {self.origin!r}, {self.dtype} on {self.device}{adapter})"

    @property
    def eos_ids(self) -> frozenset[int]:
        """The ids that end a completion."""
        return frozenset(self.tokenizer.eos_token_ids)

    @property
    def context(self) -> int:
        """The maximum number of tokens of prompt and completion together."""
        text = self.config.get("text_config", self.config)
        return int(text.get("max_position_embeddings", 1 << 30))

    def encode(self, text: str) -> list[int]:
        """Return the token ids of ``text`` alone, with nothing put before or after it.

        A text is only text: where it names a control token, such as ``<|im_end|>`` in a program about chat templates, it is encoded
        letter by letter and not as that token. This holds for :meth:`encode_all` and :meth:`spans` too.
        """
        return list(self._fast(text)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids)))

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, as :meth:`encode` gives them."""
        return [list(ids) for ids in self._fast(list(texts))["input_ids"]] if texts else []

    def spans(self, text: str) -> tuple[list[int], list[int]]:
        """Return the token ids of ``text``, and the character at which each token begins, followed by the length of ``text``.

        Tokens that share a character, because its bytes are spread over them, all begin at that character.
        """
        encoding = self._fast(text, return_offsets_mapping=True)
        return list(encoding["input_ids"]), [*(start for start, _ in encoding["offset_mapping"]), len(text)]

    def spell(self, id_: int) -> str:
        """Return the text of one token as it stands inside a longer text.

        Some tokenizers give a token a space there that it lacks when it is decoded alone.
        """
        if id_ not in self._spelled:
            anchor = self.encode("\n")[-1]
            self._spelled[id_] = self.decode([anchor, id_]).removeprefix(self.decode([anchor]))
        return self._spelled[id_]

    def _fast(self, text: str | list[str], **options: Any) -> Any:
        """Call the tokenizer itself, below mlx-lm's wrapper."""
        tokenizer = getattr(self.tokenizer, "_tokenizer", self.tokenizer)
        return tokenizer(text, add_special_tokens=False, split_special_tokens=True, **options)

    def render(self, messages: Messages, *, reply_prefix: str = "") -> list[int]:
        """Return the ids of a chat up to where the model's reply begins, followed by the ids of ``reply_prefix``.

        Models that can think aloud are asked not to, because the reply is to be the code.

        Raises:
            ModelError: the model has no chat template, or its template does not accept these messages.
        """
        if not self.tokenizer.has_chat_template:
            raise ModelError(f"{self.name} has no chat template: it is not an instruction-tuned model")
        try:
            ids = chat_ids(self.tokenizer, messages, self.encode)
        except Exception as error:
            raise ModelError(f"the chat template of {self.name} does not accept these messages: {error}") from error
        return [*ids, *self.encode(reply_prefix)]

    def ids_holding(self, character: str) -> npt.NDArray[np.bool_]:
        """Return, for each id, whether its text may contain ``character``: shape (vocabulary,)."""
        vocabulary: dict[str, int] = self.tokenizer.get_vocab()
        size = max(int(self.config.get("vocab_size", 0)), max(vocabulary.values()) + 1)
        holding = np.zeros(size, np.bool_)
        plain = character.isascii() and character.isprintable() and character != " "
        spellings = _NEWLINES if character == "\n" else (character,) if plain else ()
        for text, id_ in vocabulary.items():
            # "<0x60>" is how some vocabularies write a single byte.
            holding[id_] = text.startswith("<0x") or any(spelling in text for spelling in spellings)
        if not plain and not (spellings and holding[self.encode(character)].all()):
            # Each vocabulary spells such characters in its own way, so any token may contain one.
            holding[:] = True
        return holding


def load_model(
    name: str,
    *,
    adapter: str | Path | None = None,
    cache_dir: Path | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> Model:
    """Load the model ``name``, with the adapter in the folder ``adapter`` if one is given.

    :func:`resolve_model` describes which names there are.

    Raises:
        ModelError: the model or the adapter cannot be fetched, read or trusted, or they do not belong together.
        UnknownNameError: there is no model called ``name``.
    """
    resolved = resolve_model(name, cache_dir=cache_dir, offline=offline, progress=progress)
    mx.set_cache_limit(CACHE_LIMIT_BYTES)
    network, config = _trying(resolved.path, lambda: load_network(resolved.path, lazy=True))
    progress = progress or NullProgress()
    _trying(resolved.path, lambda: _settle(network, resolved.path, device_name(), progress), _BAD_WEIGHTS)
    model = _assemble(resolved, network, config)
    if adapter is not None:
        model.adapter = Path(os.path.expanduser(adapter))
        add_adapter(network, model.adapter, resolved.name)
    network.eval()
    logger.info("loaded %r", model)
    return model


def open_model(name: str, *, cache_dir: Path | None = None, progress: Progress | None = None) -> Model:
    """Return the model ``name`` without reading its weights, to render prompts or to look at shapes.

    Raises what :func:`load_model` raises.
    """
    resolved = resolve_model(name, cache_dir=cache_dir, progress=progress)
    network, config = _trying(resolved.path, lambda: load_network(resolved.path, lazy=True))
    if device_name() == "cpu":
        network.set_dtype(mx.float32)
    return _assemble(resolved, network, config)


def load_thin(model: Model, layers: int) -> nn.Module:
    """Load the first ``layers`` layers of ``model`` with its embedding and head, as :func:`load_model` would load them."""
    fewer = {**model.config.get("text_config", {}), "num_hidden_layers": layers}
    changed = {"text_config": fewer} if "text_config" in model.config else {"num_hidden_layers": layers}
    network, _ = _trying(model.path, lambda: load_network(model.path, lazy=True, strict=False, model_config=changed))
    _trying(model.path, lambda: _settle(network, model.path, model.device, NullProgress()), _BAD_WEIGHTS)
    return network


def loaded_bytes(model: Model) -> int:
    """Return the number of bytes that the weights of ``model`` take once they are loaded."""
    if model.device == "cpu":
        return dense_bytes(model.network)
    return sum(int(array.nbytes) for _, array in tree_flatten(model.network.parameters()))


def _assemble(resolved: ResolvedModel, network: nn.Module, config: dict[str, Any]) -> Model:
    path = resolved.path
    tokenizer = _trying(path, lambda: load_tokenizer(path, eos_token_ids=config.get("eos_token_id")))
    return Model(resolved.name, resolved.origin, path, network, tokenizer, config, device_name(), _dtype_of(network))


def _trying(path: Path, step: Callable[[], T], errors: tuple[type[Exception], ...] = _BAD_FILES) -> T:
    """Return what ``step`` returns. If it raises one of ``errors``, raise FormatError about the files below ``path`` instead."""
    try:
        return step()
    except errors as error:
        reason = str(error) or f"{type(error).__name__} in the library that reads it"
        raise FormatError(f"{path} cannot be loaded: {reason}", hint="mlx-selfdebug models list") from error


def _settle(network: nn.Module, path: Path, device: str, progress: Progress) -> None:
    """Bring the weights, which are lazy until now, into memory in the form that this device computes fast."""
    if device == "cpu":
        dequantize_network(network, progress)
        speed_up_activations(network)
    elif read_seal(path) is not None:
        _match_scales(network)
    mx.eval(network.parameters())
    mx.clear_cache()


def _match_scales(network: nn.Module) -> None:
    """Convert a repacked GGUF model to float16: its norms and biases are float32, which would make all activations float32."""
    if any(isinstance(module, nn.QuantizedLinear) for _, module in network.named_modules()):
        network.set_dtype(mx.float16)


def _dtype_of(network: nn.Module) -> str:
    """Return the dtype of the first norm layer, which is the one that activations are computed in."""
    norm = next((m for _, m in network.named_modules() if isinstance(m, nn.RMSNorm | nn.LayerNorm)), None)
    dtype = norm.weight.dtype if norm is not None else mx.float32
    return str(dtype).rsplit(".", 1)[-1]
