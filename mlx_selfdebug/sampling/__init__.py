"""Continuous batched decoding, seeds and the sampler. Importing this package does not import mlx; ``sampling.decoder`` does."""

from mlx_selfdebug.sampling.request import Completion, Request
from mlx_selfdebug.sampling.seeds import attempt_seed

__all__ = ["Completion", "Request", "attempt_seed"]
