"""The versions of what the work is done with. Unknown is None."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("mlx-selfdebug", "mlx", "mlx-lm", "numpy", "transformers")


def versions() -> dict[str, str | None]:
    return {"python": platform.python_version(), **{name: installed_version(name) for name in PACKAGES}}


def installed_version(name: str) -> str | None:
    """The version of an installed distribution, None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
