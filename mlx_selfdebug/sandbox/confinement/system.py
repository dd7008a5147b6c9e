"""Offer the confinement of this operating system behind one interface.

A zygote enters it once, and each child that the zygote forks enters a second part of it. Of a command's, the keeper enters one part
and the command the other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Protocol

from mlx_selfdebug.sandbox.confinement.layout import Layout, Plan
from mlx_selfdebug.sandbox.confinement.reach import Reach


class ChildConfinement(Protocol):
    """The confinement that is in force for a zygote and can be completed in each of its children."""

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers in force."""

    @property
    def details(self) -> dict[str, str]:
        """A line of detail on each layer."""

    def apply(self) -> None:
        """Confine a child. This is its last step before untrusted code runs."""


class CommandConfinement(Protocol):
    """The confinement of a command, which its keeper and the command enter one after the other."""

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers in force."""

    @property
    def details(self) -> dict[str, str]:
        """A line of detail on each layer."""

    @property
    def counts_own_processes(self) -> bool:
        """Whether the kernel's limit on processes counts those of the command alone, and holds for this user."""

    def separate(self) -> None:
        """Enter the layers of the keeper. It may return in another process."""

    def confine(self) -> None:
        """Enter the layers of the forked child."""

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command line that the confined child executes."""


def layer_names() -> tuple[str, ...]:
    """Return the names of all layers that this system may offer. Each can be left out to test the others."""
    if sys.platform == "linux":
        from mlx_selfdebug.sandbox.confinement import linux

        return linux.LAYERS
    if sys.platform == "darwin":
        from mlx_selfdebug.sandbox.confinement import macos

        return macos.LAYERS
    return ()


def confine_zygote(layout: Layout, keep_fds: tuple[int, ...], without: frozenset[str]) -> ChildConfinement:
    """Enter, for good, every layer that works here.

    On Linux this function may return in another process, which is the first of its namespace.
    """
    if sys.platform == "linux":
        from mlx_selfdebug.sandbox.confinement import linux

        return linux.confine_zygote(Plan(layout, keep_fds, without))
    if sys.platform == "darwin":
        from mlx_selfdebug.sandbox.confinement import macos

        return macos.confine_zygote(Plan(layout, keep_fds, without))
    return _Nothing()


def command_layer_names() -> tuple[str, ...]:
    """Return the names of all layers that this system may offer for commands."""
    return ("seatbelt",) if sys.platform == "darwin" else layer_names()


def command_confinement(reach: Reach, processes: int, without: frozenset[str]) -> CommandConfinement:
    """Return the confinement of a command, none of which is in force yet.

    ``processes`` is the number of processes and threads that it must be able to have at one time.
    """
    if sys.platform == "linux":
        from mlx_selfdebug.sandbox.confinement import linux

        return linux.CommandConfinement(reach, processes, without)
    if sys.platform == "darwin":
        from mlx_selfdebug.sandbox.confinement import macos

        return macos.CommandConfinement(reach, without)
    return _Nothing()


def footprint_of_this_system(confinement: ChildConfinement) -> Callable[[int], int] | None:
    """Return a function that measures the bytes a child holds, or None where the kernel itself enforces a limit."""
    if "footprint" not in confinement.layers:
        return None
    from mlx_selfdebug.sandbox.confinement import macos

    return macos.footprint


class _Nothing:
    layers: tuple[str, ...] = ()
    details: dict[str, str] = {}  # noqa: RUF012

    counts_own_processes = False

    def apply(self) -> None:
        return

    def separate(self) -> None:
        return

    def confine(self) -> None:
        return

    def command(self, argv: Sequence[str]) -> list[str]:
        return list(argv)
