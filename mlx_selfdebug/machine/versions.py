"""Look up the versions of Python and of the packages on which the results depend."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("mlx-selfdebug", "mlx", "mlx-lm", "numpy", "transformers")


def versions() -> dict[str, str | None]:
    """Return the version of Python and of each of ``PACKAGES``; None for a package that is not installed."""
    return {"python": platform.python_version(), **{name: installed_version(name) for name in PACKAGES}}


def installed_version(name: str) -> str | None:
    """Return the version of an installed distribution, or None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
