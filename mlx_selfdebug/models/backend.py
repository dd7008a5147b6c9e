"""Load a fast BLAS, then import mlx, and export the modules of mlx that the rest of the package uses.

Every other module that needs mlx begins with ``from mlx_selfdebug.models.backend import mx, nn``, before it imports
anything that imports mlx itself, as mlx_lm does. This guarantees that the BLAS is loaded first.
"""

from __future__ import annotations

import sys
from typing import Literal

from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.models.blas import Blas, load_blas
from mlx_selfdebug.progress import import_tqdm_quietly

blas: Blas = load_blas()
"""The BLAS that mlx's CPU backend uses in this process."""
import_tqdm_quietly()  # Modules that are imported later, such as huggingface_hub, import tqdm.auto.

try:
    import mlx.core as mx
    import mlx.nn as nn
    import mlx.optimizers as optim
except ImportError as error:
    extra = "" if sys.platform == "darwin" else "[cpu]"
    raise ModelError(
        f"mlx cannot be imported: {error}",
        hint=f"pip install 'mlx-selfdebug{extra}'" + ("" if extra == "" else "   (with an NVIDIA GPU: [cuda])"),
    ) from error

__all__ = ["blas", "device_name", "mx", "nn", "optim"]


def device_name() -> Literal["metal", "cuda", "cpu"]:
    """Return the kind of device on which mlx computes by default in this process."""
    if mx.default_device() == mx.Device(mx.cpu):
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"
