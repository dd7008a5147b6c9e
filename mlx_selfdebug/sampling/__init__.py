"""Decode and read with a model: continuous batches, seeds and the sampler.

Importing this package does not import mlx; importing ``sampling.decoder`` does.
"""

from mlx_selfdebug.sampling.request import Completion, Request
from mlx_selfdebug.sampling.seeds import attempt_seed

__all__ = ["Completion", "Request", "attempt_seed"]
