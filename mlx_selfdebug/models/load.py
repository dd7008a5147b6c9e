"""Load a model by its name, in the form in which this machine computes it fast.

On Metal and CUDA the weights stay quantized, as they are on disk. On the CPU, where only dense float32 is fast, they
are dequantized while they are loaded, one layer after the other (``dense.py``).

    model = load_model("qwen2.5-coder-0.5b")
    ids = model.render([{"role": "user", "content": "Write a function that reverses a string."}])
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
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
"""A chat: messages with the keys "role" and "content"."""
CACHE_LIMIT_BYTES = 10**9
"""The maximum number of bytes of freed buffers that MLX may keep for reuse.

MLX's own limit is nearly all of the memory, and none of its peak figures show these buffers.
"""
_NEWLINES = ("\n", "\u010a")
"""The two ways to spell the end of a line in a vocabulary: as it is, or as the letter for its byte in a byte-level vocabulary."""

_FILE_ERRORS = (
    ValueError, KeyError, TypeError, ArithmeticError, AssertionError, RuntimeError, OSError, StrictDataclassError
)  # fmt: skip
"""What mlx, mlx_lm, tokenizers and transformers raise on files whose content is wrong.

These errors are caught only around calls of these libraries.
"""
_WEIGHT_ERRORS = (ValueError, RuntimeError, OSError)
"""What mlx raises if a file does not hold the weights that it promises.

Around code of our own only these errors are caught, so that a bug in it does not look like a damaged file.
"""


@dataclass(eq=False, repr=False)
class Model:
    """A loaded model with its tokenizer."""

    name: str
    """The name that the model was loaded by."""
    origin: str
    """Where exactly the weights come from: ``hub:repo@revision``, ``gguf:sha256`` or ``folder:path``.

    Revisions and SHA-256 are shortened to 12 digits.
    """
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
    """The folder of the adapter that was loaded with the model, if there is one."""
    _spelled: dict[int, str] = field(default_factory=dict)
    """The texts that :meth:`spell` has returned, by id."""

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
        settings = self.config.get("text_config", self.config)
        return int(settings.get("max_position_embeddings", 1 << 30))

    def encode(self, text: str) -> list[int]:
        """Return the token ids of ``text`` alone, without tokens that begin or end a text.

        A text is only text: where it names a control token, such as ``<|im_end|>`` in a program about chat templates, it is encoded
        letter by letter and not as that token. This holds for :meth:`encode_all` and :meth:`spans` too.
        """
        return list(self._call_tokenizer(text)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of a sequence of token ids."""
        return str(self.tokenizer.decode(list(ids)))

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, as :meth:`encode` would."""
        return [list(ids) for ids in self._call_tokenizer(list(texts))["input_ids"]] if texts else []

    def spans(self, text: str) -> tuple[list[int], list[int]]:
        """Return the token ids of ``text``, and the index of the character at which each token begins.

        The list of indices is longer by one than the list of ids: it ends with the length of ``text``. If the bytes of a character
        are spread over several tokens, all of them begin at this character.
        """
        encoding = self._call_tokenizer(text, return_offsets_mapping=True)
        return list(encoding["input_ids"]), [*(start for start, _ in encoding["offset_mapping"]), len(text)]

    def spell(self, id_: int) -> str:
        """Return the text of one token as it is inside a longer text.

        With some tokenizers, a token has a space there that is missing when the token is decoded alone.
        """
        if id_ not in self._spelled:
            anchor = self.encode("\n")[-1]
            self._spelled[id_] = self.decode([anchor, id_]).removeprefix(self.decode([anchor]))
        return self._spelled[id_]

    def _call_tokenizer(self, text: str | list[str], **options: Any) -> Any:
        """Call the tokenizer of transformers that is inside mlx-lm's wrapper. The wrapper itself cannot be called."""
        tokenizer = getattr(self.tokenizer, "_tokenizer", self.tokenizer)
        return tokenizer(text, add_special_tokens=False, split_special_tokens=True, **options)

    def render(self, messages: Messages, *, reply_prefix: str = "") -> list[int]:
        """Return the token ids of a chat up to where the model's reply begins, followed by the ids of ``reply_prefix``.

        The templates of models that can think before they reply are told that they should not, because the reply should be code.

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
        """Return, for each id of the vocabulary, whether the token's text may contain ``character``: shape (vocabulary,)."""
        vocabulary: dict[str, int] = self.tokenizer.get_vocab()
        size = max(int(self.config.get("vocab_size", 0)), max(vocabulary.values()) + 1)
        may_hold = np.zeros(size, np.bool_)
        # All vocabularies spell a printable ASCII character as it is. Of all others, only the end of a line has known spellings.
        is_plain = character.isascii() and character.isprintable() and character != " "
        spellings: tuple[str, ...] = ()
        if is_plain:
            spellings = (character,)
        elif character == "\n":
            spellings = _NEWLINES
        for text, id_ in vocabulary.items():
            # Some vocabularies write a single byte as "<0x60>".
            may_hold[id_] = text.startswith("<0x") or any(spelling in text for spelling in spellings)
        # If this vocabulary spells the character in a way that is not known here, every token may contain it.
        if not is_plain and not (spellings and may_hold[self.encode(character)].all()):
            may_hold[:] = True
        return may_hold


def load_model(
    name: str | ResolvedModel,
    *,
    adapter: str | Path | None = None,
    cache_dir: Path | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> Model:
    """Load the model ``name``.

    Args:
        name: an alias, a repository of the hub, a folder or a GGUF file; see :func:`resolve_model`. Or what that function returned.
        adapter: the folder of an adapter to load with the model, in mlx-lm's format or in PEFT's.
        cache_dir: the folder to use instead of the default cache folder.
        offline: use only what is on this machine.
        progress: told of downloads and of the layers that are loaded; silent by default.

    Raises:
        ModelError: the model or the adapter cannot be fetched, read or trusted, or they do not belong together.
        UnknownNameError: there is no model called ``name``.
    """
    resolved = (
        name
        if isinstance(name, ResolvedModel)
        else resolve_model(name, cache_dir=cache_dir, offline=offline, progress=progress)
    )
    mx.set_cache_limit(CACHE_LIMIT_BYTES)
    network, config = _checked(resolved.path, lambda: load_network(resolved.path, lazy=True))
    progress = progress or NullProgress()
    _checked(resolved.path, lambda: _read_weights(network, resolved.path, device_name(), progress), _WEIGHT_ERRORS)
    model = _assemble(resolved, network, config)
    if adapter is not None:
        model.adapter = Path(os.path.expanduser(adapter))
        add_adapter(network, model.adapter, resolved.name)
    network.eval()
    logger.info("loaded %r", model)
    return model


def open_model(name: str, *, cache_dir: Path | None = None, progress: Progress | None = None) -> Model:
    """Return the model ``name`` without reading its weights, to render prompts or to look at shapes.

    The parameters and errors are described at :func:`load_model`.
    """
    resolved = resolve_model(name, cache_dir=cache_dir, progress=progress)
    network, config = _checked(resolved.path, lambda: load_network(resolved.path, lazy=True))
    if device_name() == "cpu":
        network.set_dtype(mx.float32)
    elif _is_repacked(network, resolved.path):
        network.set_dtype(mx.float16)
    return _assemble(resolved, network, config)


def load_thin(model: Model, layers: int) -> nn.Module:
    """Load a second network with only the first ``layers`` layers of ``model``, its embedding and its head.

    The weights are in the same form as those that :func:`load_model` loads. Raises FormatError if the model cannot be read.
    """
    fewer = {**model.config.get("text_config", {}), "num_hidden_layers": layers}
    changed = {"text_config": fewer} if "text_config" in model.config else {"num_hidden_layers": layers}
    network, _ = _checked(model.path, lambda: load_network(model.path, lazy=True, strict=False, model_config=changed))
    _checked(model.path, lambda: _read_weights(network, model.path, model.device, NullProgress()), _WEIGHT_ERRORS)
    return network


def load_dense(model: Model, progress: Progress | None = None) -> nn.Module:
    """Load a second network with the weights of ``model``, all of them dense and in float32. ``model`` itself stays as it is.

    Raises FormatError if the model cannot be read.
    """
    network, _ = _checked(model.path, lambda: load_network(model.path, lazy=True))
    progress = progress or NullProgress()
    _checked(model.path, partial(dequantize_network, network, progress, keep_embedding=False), _WEIGHT_ERRORS)
    _checked(model.path, lambda: mx.eval(network.parameters()), _WEIGHT_ERRORS)
    mx.clear_cache()
    return network


def loaded_bytes(model: Model) -> int:
    """Return the number of bytes that the weights of ``model`` take once they are loaded."""
    if model.device == "cpu":
        return dense_bytes(model.network)
    return sum(int(array.nbytes) for _, array in tree_flatten(model.network.parameters()))


def _assemble(resolved: ResolvedModel, network: nn.Module, config: dict[str, Any]) -> Model:
    """Return ``network`` as a model, with the tokenizer from the same folder."""
    path = resolved.path
    tokenizer = _checked(path, lambda: load_tokenizer(path, eos_token_ids=config.get("eos_token_id")))
    return Model(resolved.name, resolved.origin, path, network, tokenizer, config, device_name(), _dtype_of(network))


def _checked(path: Path, load: Callable[[], T], errors: tuple[type[Exception], ...] = _FILE_ERRORS) -> T:
    """Return what ``load`` returns. If it raises one of ``errors``, raise a FormatError that names ``path`` instead."""
    try:
        return load()
    except errors as error:
        reason = str(error) or f"{type(error).__name__} in the library that reads it"
        raise FormatError(f"{path} cannot be loaded: {reason}", hint="mlx-selfdebug models list") from error


def _read_weights(network: nn.Module, path: Path, device: str, progress: Progress) -> None:
    """Read the weights of a lazy network into memory, in the form that ``device`` computes fast."""
    if device == "cpu":
        dequantize_network(network, progress)
        speed_up_activations(network)
    elif _is_repacked(network, path):
        network.set_dtype(mx.float16)
    mx.eval(network.parameters())
    mx.clear_cache()


def _is_repacked(network: nn.Module, path: Path) -> bool:
    """Return whether a network was repacked from a GGUF file with quantized weights.

    Only repacked models have a seal. Their norms and biases are float32, which would make all activations float32, while their
    scales are float16.
    """
    has_quantized_layers = any(isinstance(layer, nn.QuantizedLinear) for _, layer in network.named_modules())
    return has_quantized_layers and read_seal(path) is not None


def _dtype_of(network: nn.Module) -> str:
    """Return the name of the dtype of the first norm layer, which is the dtype of the activations."""
    norm = next((layer for _, layer in network.named_modules() if isinstance(layer, nn.RMSNorm | nn.LayerNorm)), None)
    dtype = norm.weight.dtype if norm is not None else mx.float32
    return str(dtype).rsplit(".", 1)[-1]
