"""A name becomes a model that runs here.

On Metal and CUDA the weights stay quantized, as they are on disk. On the CPU, where only dense float32 is fast, they
are dequantized on the way in, one layer after the other: see :mod:`mlx_selfdebug.models.dense`.

    model = load_model("qwen2.5-coder-0.5b")
    ids = model.render([{"role": "user", "content": "Write a function that reverses a string."}])
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mlx_selfdebug.models.backend import device_name, mx, nn

import numpy as np
import numpy.typing as npt
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import load_adapters
from mlx_lm.utils import load_model as load_network
from mlx_lm.utils import load_tokenizer

from mlx_selfdebug.errors import FormatError, ModelError
from mlx_selfdebug.models.activations import speed_up_activations
from mlx_selfdebug.models.dense import dense_bytes, dequantize_network
from mlx_selfdebug.models.resolve import ResolvedModel, resolve_model
from mlx_selfdebug.models.sealed import read_seal
from mlx_selfdebug.progress import NullProgress, Progress

logger = logging.getLogger(__name__)

T = TypeVar("T")
Messages = Sequence[Mapping[str, str]]
CACHE_LIMIT_BYTES = 10**9
"""Freed buffers MLX may keep for reuse. Its own limit is nearly all of the memory, and no peak figure of MLX's shows them."""
_NEWLINES = ("\n", "\u010a")
"""How vocabularies spell the end of a line: as it is, or as the letter that byte-level ones have for it."""

# What mlx, mlx_lm, tokenizers and transformers raise on files that do not hold what they should.
_BAD_FILES = (ValueError, KeyError, TypeError, AttributeError, RuntimeError, OSError)


@dataclass(eq=False, repr=False)
class Model:
    """A loaded model. ``network`` maps ids (batch, length) to logits (batch, length, vocabulary).

    ``origin`` names the weights exactly: ``hub:repo@revision``, ``gguf:sha256`` or ``folder:path``. ``dtype`` is what
    activations are computed in.
    """

    name: str
    origin: str
    path: Path
    network: nn.Module
    tokenizer: Any
    config: dict[str, Any]
    device: str
    dtype: str
    adapter: Path | None = None
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
        """Most tokens of prompt and completion together."""
        text = self.config.get("text_config", self.config)
        return int(text.get("max_position_embeddings", 1 << 30))

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text`` alone: nothing is put before or after it."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids)))

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, as :meth:`encode` gives them."""
        return [list(ids) for ids in self._fast(list(texts))["input_ids"]] if texts else []

    def spans(self, text: str) -> tuple[list[int], list[int]]:
        """Return the token ids of ``text``, and the character at which each begins, followed by the length of ``text``.

        A character whose bytes are spread over several tokens belongs to all of them: they begin at the same place.
        """
        found = self._fast(text, return_offsets_mapping=True)
        return list(found["input_ids"]), [*(start for start, _ in found["offset_mapping"]), len(text)]

    def spell(self, id_: int) -> str:
        """Return the text of one token as it stands inside a longer text, where some tokenizers give it a space it lacks alone."""
        if id_ not in self._spelled:
            anchor = self.encode("\n")[-1]
            self._spelled[id_] = self.decode([anchor, id_]).removeprefix(self.decode([anchor]))
        return self._spelled[id_]

    def _fast(self, text: str | list[str], **options: Any) -> Any:
        """Call the tokenizer itself, below mlx-lm's wrapper."""
        tokenizer = getattr(self.tokenizer, "_tokenizer", self.tokenizer)
        return tokenizer(text, add_special_tokens=False, **options)

    def render(self, messages: Messages, *, reply_prefix: str = "") -> list[int]:
        """Ids of a chat up to where the model's reply begins, and then those of ``reply_prefix``.

        Models that can think aloud are asked not to: the reply is the code.

        Raises:
            ModelError: the model has no chat template, or its template does not take these messages.
        """
        if not self.tokenizer.has_chat_template:
            raise ModelError(f"{self.name} has no chat template: it is not an instruction-tuned model")
        try:
            ids = self.tokenizer.apply_chat_template(
                [dict(message) for message in messages], add_generation_prompt=True, enable_thinking=False
            )
        except Exception as error:
            raise ModelError(f"{self.name}: its chat template does not take these messages: {error}") from error
        return [*ids, *self.encode(reply_prefix)]

    def ids_holding(self, character: str) -> npt.NDArray[np.bool_]:
        """Of each id, whether its text may hold ``character``: shape (vocabulary,)."""
        vocabulary: dict[str, int] = self.tokenizer.get_vocab()
        size = max(int(self.config.get("vocab_size", 0)), max(vocabulary.values()) + 1)
        holding = np.zeros(size, np.bool_)
        plain = character.isascii() and character.isprintable() and character != " "
        spellings = _NEWLINES if character == "\n" else (character,) if plain else ()
        for text, id_ in vocabulary.items():
            # "<0x60>" is how some vocabularies write a single byte.
            holding[id_] = text.startswith("<0x") or any(spelling in text for spelling in spellings)
        if not plain and not (spellings and holding[self.encode(character)].all()):
            holding[:] = True  # vocabularies spell these in ways of their own
        return holding


def load_model(
    name: str,
    *,
    adapter: str | Path | None = None,
    cache_dir: Path | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> Model:
    """Load ``name``, with the adapter in the folder ``adapter`` if given. See :func:`resolve_model` for names.

    Raises:
        ModelError: the model or the adapter cannot be had, read or trusted, or do not belong together.
        UnknownNameError: nobody knows ``name``.
    """
    found = resolve_model(name, cache_dir=cache_dir, offline=offline, progress=progress)
    mx.set_cache_limit(CACHE_LIMIT_BYTES)
    network, config = _trying(found.path, lambda: load_network(found.path, lazy=True))
    _trying(found.path, lambda: _settle(network, found.path, device_name(), progress or NullProgress()))
    model = _assemble(found, network, config)
    if adapter is not None:
        model.adapter = Path(adapter).expanduser()
        _add_adapter(network, model.adapter, found.name)
    network.eval()
    logger.info("loaded %r", model)
    return model


def open_model(name: str, *, cache_dir: Path | None = None, progress: Progress | None = None) -> Model:
    """``name`` with its weights unread: to render prompts and to look at shapes. Raises what :func:`load_model` raises."""
    found = resolve_model(name, cache_dir=cache_dir, progress=progress)
    network, config = _trying(found.path, lambda: load_network(found.path, lazy=True))
    if device_name() == "cpu":
        network.set_dtype(mx.float32)
    return _assemble(found, network, config)


def load_thin(model: Model, layers: int) -> nn.Module:
    """The first ``layers`` layers of ``model`` with its embedding and head, as :func:`load_model` would load them."""
    fewer = {**model.config.get("text_config", {}), "num_hidden_layers": layers}
    changed = {"text_config": fewer} if "text_config" in model.config else {"num_hidden_layers": layers}
    network, _ = _trying(model.path, lambda: load_network(model.path, lazy=True, strict=False, model_config=changed))
    _trying(model.path, lambda: _settle(network, model.path, model.device, NullProgress()))
    return network


def loaded_bytes(model: Model) -> int:
    """What the weights take once they are loaded."""
    if model.device == "cpu":
        return dense_bytes(model.network)
    return sum(int(array.nbytes) for _, array in tree_flatten(model.network.parameters()))


def _assemble(found: ResolvedModel, network: nn.Module, config: dict[str, Any]) -> Model:
    tokenizer = _trying(found.path, lambda: load_tokenizer(found.path, eos_token_ids=config.get("eos_token_id")))
    return Model(found.name, found.origin, found.path, network, tokenizer, config, device_name(), _dtype_of(network))


def _trying(path: Path, step: Callable[[], T]) -> T:
    try:
        return step()
    except _BAD_FILES as error:
        raise FormatError(f"{path} cannot be loaded: {error}", hint="mlx-selfdebug models list") from error


def _settle(network: nn.Module, path: Path, device: str, progress: Progress) -> None:
    """Bring the weights, lazy until now, into memory in the form this device wants."""
    if device == "cpu":
        dequantize_network(network, progress)
        speed_up_activations(network)
    elif read_seal(path) is not None:
        _match_scales(network)
    mx.eval(network.parameters())
    mx.clear_cache()


def _match_scales(network: nn.Module) -> None:
    """A repacked GGUF keeps norms and biases in float32, which would drag all activations up to float32."""
    if any(isinstance(module, nn.QuantizedLinear) for _, module in network.named_modules()):
        network.set_dtype(mx.float16)


def _dtype_of(network: nn.Module) -> str:
    """The dtype of the first norm-like parameter: what activations are computed in."""
    norm = next((m for _, m in network.named_modules() if isinstance(m, nn.RMSNorm | nn.LayerNorm)), None)
    dtype = norm.weight.dtype if norm is not None else mx.float32
    return str(dtype).rsplit(".", 1)[-1]


def _add_adapter(network: nn.Module, folder: Path, name: str) -> None:
    """Adapters in mlx_lm's format: adapter_config.json and adapters.safetensors."""
    missing = [file for file in ("adapter_config.json", "adapters.safetensors") if not (folder / file).is_file()]
    if missing:
        raise ModelError(f"{folder} is no adapter: {' and '.join(missing)} not found")
    try:
        load_adapters(network, str(folder))
        mx.eval(network.parameters())
    except _BAD_FILES as error:
        what = f"the adapter {folder} does not fit {name}: {error}"
        raise ModelError(what, hint="load the model it was trained on") from error
