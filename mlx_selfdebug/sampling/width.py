"""Plan how wide a decode batch may be, from the memory budget, the weights, and the bytes that a token of context takes.

The plan predicts the resident memory of this process. While the process runs, ``memory.Governor`` goes by what is measured.
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
CACHE_SHARE, PREFIX_SHARE, CHUNK_SHARE = 0.25, 0.1, 0.1
"""Shares of what is left beside the weights: for MLX's freed buffers, for kept prompts, and for the activations of a prefill."""
MAX_CACHE_BYTES, MAX_PREFIX_BYTES = 10**9, 512 * 10**6
MIN_CHUNK, MAX_CHUNK = 64, 512


@dataclass(frozen=True)
class DecodingPlan:
    """How a decoder divides its memory budget."""

    width: int
    """The maximum number of rows that are decoded side by side."""
    chunk: int
    """The maximum number of tokens of a prompt that are computed at a time."""
    prefix_bytes: int
    """The bytes of prompts' caches that may be kept."""
    cache_bytes: int
    """The bytes of freed buffers that MLX may keep."""
    predicted_bytes: int
    """The bytes that all of it is predicted to take, with the weights and what is reserved."""


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
    """Return the plan for the widest batch that fits ``budget_bytes`` beside the weights and ``reserved_bytes``.

    The batch has at most ``max_rows`` rows of at most ``max_row_tokens`` tokens each. Nothing of the network is computed. Raises
    BudgetError, with the smallest budget that works, if not even one row fits.
    """
    fixed = PROCESS_BYTES + weight_bytes + reserved_bytes
    shape = _Shape.of(network)
    row_bytes = shape.row_bytes(max_row_tokens)
    min_chunk_bytes = shape.chunk_bytes(MIN_CHUNK, max_row_tokens)
    share = CACHE_SHARE + PREFIX_SHARE + CHUNK_SHARE
    needed = fixed + int((row_bytes + min_chunk_bytes) / (1 - share))
    if needed > budget_bytes:
        raise BudgetError(
            f"{name} does not fit the budget for inference: at least {needed / 1e9:.2f} GB are needed "
            f"({weight_bytes / 1e9:.2f} GB for the weights, {reserved_bytes / 1e9:.2f} GB kept for tests), "
            f"but {budget_bytes / 1e9:.2f} GB are allowed",
            needed_bytes=needed,
            hint=f"use --budget-inference-gb {-(-needed // 10**8) / 10:.1f}, or a smaller model",
        )
    left = budget_bytes - fixed
    cache, prefix = min(MAX_CACHE_BYTES, int(left * CACHE_SHARE)), min(MAX_PREFIX_BYTES, int(left * PREFIX_SHARE))
    chunk = shape.chunk(int(left * CHUNK_SHARE), max_row_tokens)
    for_rows = left - cache - prefix - shape.chunk_bytes(chunk, max_row_tokens)
    width = max(1, min(max_rows, for_rows // row_bytes))
    return DecodingPlan(width, chunk, prefix, cache, budget_bytes - for_rows + width * row_bytes)


@dataclass(frozen=True)
class _Shape:
    """The bytes of context that a token and a row take, and the sizes of the widest activations."""

    token_bytes: int
    state_bytes: int
    vocabulary: int
    widest: int
    hidden: int
    heads: int

    @classmethod
    def of(cls, network: nn.Module) -> _Shape:
        caches = make_prompt_cache(network)
        # Only the shapes of what the network returns are looked at, so nothing is computed.
        logits = network(mx.zeros((1, 1), mx.int32), cache=caches)
        token = sum(
            array.nbytes // array.shape[2]
            for c in caches
            if not isinstance(c, ArraysCache)
            for array in (c.keys, c.values)
        )
        state = sum(
            array.nbytes for c in caches if isinstance(c, ArraysCache) for array in c.cache if array is not None
        )
        linear = [
            m.weight.shape[0] for _, m in network.named_modules() if isinstance(m, nn.Linear | nn.QuantizedLinear)
        ]
        args = getattr(network, "args", None)
        hidden = int(getattr(args, "hidden_size", 1024))
        return cls(
            token,
            state,
            logits.shape[-1],
            max([hidden, *linear]),
            hidden,
            int(getattr(args, "num_attention_heads", 16)),
        )

    def row_bytes(self, max_row_tokens: int) -> int:
        tokens = -(-(max_row_tokens + 1) // CAPACITY_STEP) * CAPACITY_STEP
        return int(1.2 * (self.token_bytes * tokens + self.state_bytes)) + LOGITS_COPIES * 4 * self.vocabulary

    def chunk_bytes(self, chunk: int, max_row_tokens: int) -> int:
        """Return the bytes that activations take in a prefill of ``chunk`` tokens at the end of a context of ``max_row_tokens``.

        Activations are float32, and only those of one layer at a time are in memory.
        """
        return 4 * chunk * (4 * min(self.widest, 16 * self.hidden) + 12 * self.hidden + 3 * self.heads * max_row_tokens)

    def chunk(self, max_bytes: int, max_row_tokens: int) -> int:
        chunk = MAX_CHUNK
        while chunk > MIN_CHUNK and self.chunk_bytes(chunk, max_row_tokens) > max_bytes:
            chunk //= 2
        return chunk
