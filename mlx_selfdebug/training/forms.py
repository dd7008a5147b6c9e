"""Switch a network to the forms in which it is trained: leaner in memory, or quicker, than those in which mlx-lm runs it.

The switch lasts for one block, because decoding between two optimizer steps uses mlx-lm's own forms.

    with training_forms(network, recompute=False):
        loss_and_gradient(network, batch)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from mlx_selfdebug.models.backend import nn

from mlx_selfdebug.training.attention import lean_attention
from mlx_selfdebug.training.gated_delta import chunked_gated_delta
from mlx_selfdebug.training.recompute import recomputed


@contextmanager
def training_forms(network: nn.Module, *, recompute: bool) -> Iterator[None]:
    """Put ``network`` into training mode and its lean forms inside the block, and into evaluation mode after it.

    With ``recompute``, its layers keep only their input for the backward pass and compute the rest again.
    """
    network.train()
    recomputing = recomputed(network.layers) if recompute else nullcontext()
    try:
        with lean_attention(network), chunked_gated_delta(network), recomputing:
            yield
    finally:
        network.eval()
