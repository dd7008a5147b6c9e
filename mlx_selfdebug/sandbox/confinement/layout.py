"""Where an interpreter keeps what a sandboxed program may read: its standard library and the libraries that needs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Absolute real paths. ``stdlib`` and ``libraries`` are folders whose content may be read, but for what is in ``hidden``
    (site-packages and the like); ``files`` are single files and devices; ``packages`` folders of extra packages that may be read.
    """

    executable: str
    stdlib: tuple[str, ...]
    hidden: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
