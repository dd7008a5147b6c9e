"""Offer the confinement of this operating system behind one interface.

A confinement has two parts, which are entered by two processes.

- For test runs there is a zygote: an interpreter with everything loaded, which forks a child for each run. The zygote enters the
  first part once, and each child enters the second.
- For a command there is a keeper: the process that starts the command, waits for it, and ends everything that the command started.
  The keeper enters the first part, and the child that becomes the command enters the second.

Only the module of the running system is imported.
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
        """A few words on each layer, keyed by its name."""

    def apply(self) -> None:
        """Confine a child. This is its last step before untrusted code runs."""


class CommandConfinement(Protocol):
    """The confinement of a command, which its keeper and the command enter one after the other."""

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers in force."""

    @property
    def details(self) -> dict[str, str]:
        """A few words on each layer, keyed by its name."""

    @property
    def counts_own_processes(self) -> bool:
        """Whether RLIMIT_NPROC can limit this command: it counts only the command's processes, and the user is not exempt."""

    def separate(self) -> None:
        """Enter the layers of the keeper.

        With Linux namespaces this forks: it returns in the child, and the first process waits.
        """

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
    """Enter every layer that works here, for good, and return the confinement that is in force.

    The layers ``without`` are left out. On Linux and macOS, every descriptor except ``keep_fds`` is closed. On a system that offers
    no confinement, all of them stay open. With Linux namespaces this forks: it returns in the child, which is number 1 of its
    namespace, and the process that called it waits.
    """
    if sys.platform == "linux":
        from mlx_selfdebug.sandbox.confinement import linux

        return linux.confine_zygote(Plan(layout, keep_fds, without))
    if sys.platform == "darwin":
        from mlx_selfdebug.sandbox.confinement import macos

        return macos.confine_zygote(Plan(layout, keep_fds, without))
    return _NoConfinement()


def command_layer_names() -> tuple[str, ...]:
    """Return the names of all layers that this system may offer for commands."""
    if sys.platform == "darwin":
        from mlx_selfdebug.sandbox.confinement import macos

        return macos.COMMAND_LAYERS
    return layer_names()


def command_confinement(reach: Reach, processes: int, without: frozenset[str]) -> CommandConfinement:
    """Return the confinement of a command that may reach what ``reach`` says. None of it is in force yet.

    ``processes`` is the number of processes and threads that the command must be able to have at one time.
    """
    if sys.platform == "linux":
        from mlx_selfdebug.sandbox.confinement import linux

        return linux.CommandConfinement(reach, processes, without)
    if sys.platform == "darwin":
        from mlx_selfdebug.sandbox.confinement import macos

        return macos.CommandConfinement(reach, without)
    return _NoConfinement()


def footprint_of_this_system(confinement: ChildConfinement) -> Callable[[int], int] | None:
    """Return a function that measures the bytes that a process holds, or None unless the confinement relies on measuring."""
    if "footprint" not in confinement.layers:
        return None
    from mlx_selfdebug.sandbox.confinement import macos

    return macos.footprint


class _NoConfinement:
    """The confinement of a system that offers none, for children and for commands."""

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
