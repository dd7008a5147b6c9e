"""Plan how wide a decode batch may be, from the memory budget, the weights, and the bytes that a token of context takes.

The plan is made before decoding begins and predicts the resident memory of this process. While the process runs,
``memory.Governor`` narrows the batch if the measured memory is near the budget.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlx_selfdebug.models.backend import mx, nn

from mlx_lm.models.cache import ArraysCache, make_prompt_cache

from mlx_selfdebug.errors import BudgetError
from mlx_selfdebug.sampling.slots import CAPACITY_STEP

PROCESS_BYTES = 450 * 10**6
"""The memory of Python, mlx, the tokenizer and the BLAS's buffers, without weights, measured with the 0.5B on Linux."""
LOGITS_COPIES = 3
"""The number of copies of a row's float32 logits that are counted with each row."""
CONTEXT_MARGIN = 1.2
"""A safety margin: the keys, values and states of a row are counted as this many times their own size."""
CACHE_SHARE, PREFIX_SHARE, CHUNK_SHARE = 0.25, 0.1, 0.1
"""Shares of what is left beside the weights: for MLX's freed buffers, for kept prompts, and for the activations of a prefill."""
MAX_CACHE_BYTES, MAX_PREFIX_BYTES = 10**9, 512 * 10**6
"""The maximum bytes of freed buffers and of kept prompts."""
MIN_CHUNK, MAX_CHUNK = 64, 512
"""The smallest and the largest number of prompt tokens that are computed at a time."""


@dataclass(frozen=True)
class DecodingPlan:
    """How a decoder divides its memory budget."""

    width: int
    """The maximum number of rows that are decoded at a time."""
    chunk: int
    """The maximum number of tokens of a prompt that are computed at a time."""
    prefix_bytes: int
    """The maximum number of bytes of prompts' caches that are kept."""
    cache_bytes: int
    """The maximum number of bytes of freed buffers that MLX may keep."""
    predicted_bytes: int
    """The bytes that everything together is predicted to take, including the weights and the reserved bytes."""


def plan_decoding(
    network: nn.Module,
    name: str,
    weight_bytes: int,
    *,
    budget_bytes: int,
    max_rows: int,
    max_row_tokens: int,
    reserved_bytes: int = 0,
) -> DecodingPlan:
    """Return the plan for the widest batch that fits the budget. Nothing of the network is computed.

    Args:
        network: the network to decode with.
        name: the name of its model, for the message of an error.
        weight_bytes: the memory that the weights take.
        budget_bytes: the memory that may be taken in all.
        max_rows: the maximum number of rows of the batch.
        max_row_tokens: the maximum number of tokens of a row, prompt and completion together.
        reserved_bytes: the part of the budget that is left to other processes.

    Raises:
        BudgetError: not even one row fits. The error holds the smallest budget that works.
    """
    fixed_bytes = PROCESS_BYTES + weight_bytes + reserved_bytes
    sizes = _Sizes.of(network)
    row_bytes = sizes.row_bytes(max_row_tokens)
    min_chunk_bytes = sizes.chunk_bytes(MIN_CHUNK, max_row_tokens)
    share = CACHE_SHARE + PREFIX_SHARE + CHUNK_SHARE
    needed_bytes = fixed_bytes + int((row_bytes + min_chunk_bytes) / (1 - share))
    if needed_bytes > budget_bytes:
        raise BudgetError(
            f"{name} does not fit the budget for inference: at least {needed_bytes / 1e9:.2f} GB are needed "
            f"({weight_bytes / 1e9:.2f} GB for the weights, {reserved_bytes / 1e9:.2f} GB kept for tests), "
            f"but {budget_bytes / 1e9:.2f} GB are allowed",
            needed_bytes=needed_bytes,
            hint=f"use --budget-inference-gb {-(-needed_bytes // 10**8) / 10:.1f}, or a smaller model",
        )
    left_bytes = budget_bytes - fixed_bytes
    cache_bytes = min(MAX_CACHE_BYTES, int(left_bytes * CACHE_SHARE))
    prefix_bytes = min(MAX_PREFIX_BYTES, int(left_bytes * PREFIX_SHARE))
    chunk = sizes.chunk(int(left_bytes * CHUNK_SHARE), max_row_tokens)
    bytes_for_rows = left_bytes - cache_bytes - prefix_bytes - sizes.chunk_bytes(chunk, max_row_tokens)
    width = max(1, min(max_rows, bytes_for_rows // row_bytes))
    predicted_bytes = budget_bytes - bytes_for_rows + width * row_bytes
    return DecodingPlan(width, chunk, prefix_bytes, cache_bytes, predicted_bytes)


@dataclass(frozen=True)
class _Sizes:
    """The sizes of a network from which the memory of a batch is predicted."""

    token_bytes: int
    """The bytes of the keys and values of one token, in all layers together."""
    state_bytes: int
    """The bytes of the recurrent states of one row, in all layers together."""
    vocabulary: int
    """The number of tokens in the vocabulary."""
    widest: int
    """The largest number of outputs of a linear layer."""
    hidden: int
    """The size of a hidden state."""
    heads: int
    """The number of attention heads."""

    @classmethod
    def of(cls, network: nn.Module) -> _Sizes:
        """Return the sizes of ``network``, without computing anything."""
        caches = make_prompt_cache(network)
        # MLX is lazy: only the shapes of the logits and of the caches are looked at, so they are never computed.
        logits = network(mx.zeros((1, 1), mx.int32), cache=caches)
        token_bytes = state_bytes = 0
        for cache in caches:
            if isinstance(cache, ArraysCache):
                state_bytes += sum(array.nbytes for array in cache.cache if array is not None)
            else:
                token_bytes += sum(array.nbytes // array.shape[2] for array in (cache.keys, cache.values))
        linear_layers = [m for _, m in network.named_modules() if isinstance(m, nn.Linear | nn.QuantizedLinear)]
        args = getattr(network, "args", None)
        hidden = int(getattr(args, "hidden_size", 1024))
        return cls(
            token_bytes=token_bytes,
            state_bytes=state_bytes,
            vocabulary=logits.shape[-1],
            widest=max([hidden, *(layer.weight.shape[0] for layer in linear_layers)]),
            hidden=hidden,
            heads=int(getattr(args, "num_attention_heads", 16)),
        )

    def row_bytes(self, max_row_tokens: int) -> int:
        """Return the bytes that a row of at most ``max_row_tokens`` tokens takes in the batch."""
        capacity = -(-(max_row_tokens + 1) // CAPACITY_STEP) * CAPACITY_STEP
        context_bytes = int(CONTEXT_MARGIN * (self.token_bytes * capacity + self.state_bytes))
        return context_bytes + LOGITS_COPIES * 4 * self.vocabulary

    def chunk_bytes(self, chunk: int, max_row_tokens: int) -> int:
        """Return the bytes that activations take in a prefill of ``chunk`` tokens at the end of a context of ``max_row_tokens``.

        Activations are float32, and only one layer's are in memory at a time. Each token is counted with four of the widest
        activations, twelve of the hidden size, and three scores per head and token of the context.
        """
        # The head is often the widest layer, but a prefill does not compute it. Usual other layers are narrower than the cap.
        widest = min(self.widest, 16 * self.hidden)
        return 4 * chunk * (4 * widest + 12 * self.hidden + 3 * self.heads * max_row_tokens)

    def chunk(self, max_bytes: int, max_row_tokens: int) -> int:
        """Return the largest chunk, by halving, whose activations take at most ``max_bytes``, or the smallest one."""
        chunk = MAX_CHUNK
        while chunk > MIN_CHUNK and self.chunk_bytes(chunk, max_row_tokens) > max_bytes:
            chunk //= 2
        return chunk
