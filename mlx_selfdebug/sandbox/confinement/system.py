"""This system's confinement behind one interface: what a zygote enters once, and each child it forks once more."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol

from mlx_selfdebug.sandbox.confinement.layout import Layout


class ChildConfinement(Protocol):
    """``layers`` in force and a line of detail on each; ``apply`` is a child's last step before untrusted code."""

    @property
    def layers(self) -> tuple[str, ...]: ...

    @property
    def details(self) -> dict[str, str]: ...

    def apply(self) -> None: ...


def layer_names() -> tuple[str, ...]:
    """Every layer this system may offer; each can be switched off to test the others."""
    if sys.platform == "linux":
        from mlx_selfdebug.sandbox.confinement import linux

        return linux.LAYERS
    if sys.platform == "darwin":
        from mlx_selfdebug.sandbox.confinement import macos

        return macos.LAYERS
    return ()


def confine_zygote(layout: Layout, keep_fds: tuple[int, ...], without: frozenset[str]) -> ChildConfinement:
    """Enter what works here, for good. On Linux the caller may go on as another process: the first of a namespace."""
    if sys.platform == "linux":
        from mlx_selfdebug.sandbox.confinement import linux

        return linux.confine_zygote(linux.Plan(layout, keep_fds, without))
    if sys.platform == "darwin":
        from mlx_selfdebug.sandbox.confinement import macos

        return macos.confine_zygote(macos.Plan(layout, keep_fds, without))
    return _Nothing()


def footprint_of_this_system(confinement: ChildConfinement) -> Callable[[int], int] | None:
    """What measures the bytes a child holds, where the kernel itself keeps no limit; else None."""
    if "footprint" not in confinement.layers:
        return None
    from mlx_selfdebug.sandbox.confinement import macos

    return macos.footprint


class _Nothing:
    layers: tuple[str, ...] = ()
    details: dict[str, str] = {}  # noqa: RUF012

    def apply(self) -> None:
        return
