"""Switch a network's layers to forms that are better to train, because they take less memory or time than those of mlx-lm.

The switch lasts for one block, because decoding between two optimizer steps needs mlx-lm's own forms.

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
    """Put ``network`` into training mode and into its training forms inside the block, and into evaluation mode after it.

    With ``recompute``, the layers keep only their input for the backward pass and compute the rest again.
    """
    network.train()
    recomputing = recomputed(network.layers) if recompute else nullcontext()
    try:
        with lean_attention(network), chunked_gated_delta(network), recomputing:
            yield
    finally:
        network.eval()
