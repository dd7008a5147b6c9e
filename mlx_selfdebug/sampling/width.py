"""How wide a decode batch may be: from the memory budget, the weights, and the bytes a token of context takes.

What is predicted is the resident memory of this process; while it runs, ``memory.Governor`` goes by what is measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlx_selfdebug.models.backend import mx, nn

from mlx_lm.models.cache import ArraysCache, make_prompt_cache

from mlx_selfdebug.errors import BudgetError
from mlx_selfdebug.sampling.slots import CAPACITY_STEP

PROCESS_BYTES = 450 * 10**6
"""Python, mlx, the tokenizer and the BLAS's buffers, weights aside: measured with the 0.5B on Linux."""
LOGITS_COPIES = 3
CACHE_SHARE, PREFIX_SHARE, CHUNK_SHARE = 0.25, 0.1, 0.1
"""Of what is left beside the weights: MLX's freed buffers, prompts kept, and a prefill's activations."""
MOST_CACHE_BYTES, MOST_PREFIX_BYTES = 10**9, 512 * 10**6
SMALLEST_CHUNK, LARGEST_CHUNK = 64, 512


@dataclass(frozen=True)
class DecodingPlan:
    """Rows side by side, tokens of a prompt computed at a time, and bytes kept of prompts and of freed buffers."""

    width: int
    chunk: int
    prefix_bytes: int
    cache_bytes: int
    predicted_bytes: int


def plan_decoding(
    network: nn.Module,
    name: str,
    weight_bytes: int,
    *,
    budget_bytes: int,
    most: int,
    longest: int,
    reserved_bytes: int = 0,
) -> DecodingPlan:
    """The widest batch of rows of ``longest`` tokens that fits ``budget_bytes`` beside the weights and what is reserved, at most
    ``most``. Nothing of the network is computed.

    Raises BudgetError, with the smallest budget that works, if not even one row fits.
    """
    fixed = PROCESS_BYTES + weight_bytes + reserved_bytes
    shape = _Shape.of(network)
    row = shape.row_bytes(longest)
    chunk_least = shape.chunk_bytes(SMALLEST_CHUNK, longest)
    share = CACHE_SHARE + PREFIX_SHARE + CHUNK_SHARE
    needed = fixed + int((row + chunk_least) / (1 - share))
    if needed > budget_bytes:
        raise BudgetError(
            f"{name} does not fit the budget for inference: {needed / 1e9:.2f} GB are needed at least "
            f"({weight_bytes / 1e9:.2f} GB of them weights, {reserved_bytes / 1e9:.2f} GB kept for tests), "
            f"{budget_bytes / 1e9:.2f} GB are allowed",
            needed_bytes=needed,
            hint=f"--budget-inference-gb {-(-needed // 10**8) / 10:.1f}, or a smaller model",
        )
    left = budget_bytes - fixed
    cache, prefix = min(MOST_CACHE_BYTES, int(left * CACHE_SHARE)), min(MOST_PREFIX_BYTES, int(left * PREFIX_SHARE))
    chunk = shape.chunk(int(left * CHUNK_SHARE), longest)
    for_rows = left - cache - prefix - shape.chunk_bytes(chunk, longest)
    width = max(1, min(most, for_rows // row))
    return DecodingPlan(width, chunk, prefix, cache, budget_bytes - for_rows + width * row)


@dataclass(frozen=True)
class _Shape:
    """Bytes of context a token and a row take, and sizes of the widest activations."""

    token_bytes: int
    state_bytes: int
    vocabulary: int
    widest: int
    hidden: int
    heads: int

    @classmethod
    def of(cls, network: nn.Module) -> _Shape:
        caches = make_prompt_cache(network)
        logits = network(mx.zeros((1, 1), mx.int32), cache=caches)  # shapes alone are looked at; nothing is computed
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

    def row_bytes(self, longest: int) -> int:
        tokens = -(-(longest + 1) // CAPACITY_STEP) * CAPACITY_STEP
        return int(1.2 * (self.token_bytes * tokens + self.state_bytes)) + LOGITS_COPIES * 4 * self.vocabulary

    def chunk_bytes(self, chunk: int, longest: int) -> int:
        """Activations of a prefill of ``chunk`` tokens at the end of a context of ``longest``: float32, one layer at a time."""
        return 4 * chunk * (4 * min(self.widest, 16 * self.hidden) + 12 * self.hidden + 3 * self.heads * longest)

    def chunk(self, most_bytes: int, longest: int) -> int:
        chunk = LARGEST_CHUNK
        while chunk > SMALLEST_CHUNK and self.chunk_bytes(chunk, longest) > most_bytes:
            chunk //= 2
        return chunk
