"""Decode requests with a model in one continuous batch, and read given programs with it.

Importing this package does not import mlx; importing ``sampling.decoder`` does.
"""

from mlx_selfdebug.sampling.request import Completion, Request
from mlx_selfdebug.sampling.seeds import attempt_seed

__all__ = ["Completion", "Request", "attempt_seed"]
