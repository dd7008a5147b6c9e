"""Find the folder in which this package keeps what it can make or fetch again.

The environment variable ``MLX_SELFDEBUG_CACHE`` names the folder. If it is not set, the platform's usual place is taken:
``~/Library/Caches/mlx-selfdebug`` on macOS, and ``$XDG_CACHE_HOME/mlx-selfdebug`` or ``~/.cache/mlx-selfdebug`` elsewhere.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mlx_selfdebug.errors import UsageError

CACHE_VARIABLE = "MLX_SELFDEBUG_CACHE"


def default_cache_dir() -> Path:
    """Return the path of the cache folder, without creating it.

    Raises UsageError if no variable names it and there is no home directory.
    """
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser().absolute()
    xdg = os.environ.get("XDG_CACHE_HOME", "")  # the specification says to ignore a relative path
    if sys.platform != "darwin" and os.path.isabs(xdg):
        return Path(xdg) / "mlx-selfdebug"
    try:
        home = Path.home()
    except RuntimeError as error:
        raise UsageError(
            "there is no home directory to keep a cache in",
            hint=f"set {CACHE_VARIABLE} to a folder that can be written",
        ) from error
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "mlx-selfdebug"
