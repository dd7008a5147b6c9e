"""Confines a zygote and what it forks on Linux, with every layer this kernel allows. Standard library and ctypes alone.

    confinement = confine_zygote(Plan(layout, keep_fds=(0, 1, 2, control)))   # once, before anything untrusted is read
    if not os.fork():
        ...                                                                   # set limits, close all but confinement.keep_fds
        confinement.apply()
        run_untrusted_code()

A layer that the kernel lacks is not in ``layers``; ``details`` says why. What it takes to be called confined is decided elsewhere.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mlx_selfdebug.sandbox.confinement import capabilities, landlock, namespaces, seccomp
from mlx_selfdebug.sandbox.confinement.kernel import PR_SET_PDEATHSIG, Prepared, close_all_but
from mlx_selfdebug.sandbox.confinement.layout import Layout
from mlx_selfdebug.sandbox.confinement.syscalls import Machine, this_machine

LAYERS = ("namespaces", "capabilities", "landlock", "seccomp")
"""In the order in which they are entered: each needs rights that the next takes away."""


@dataclass(frozen=True)
class Plan:
    """``keep_fds`` stay open in the zygote and no others, 0 to 2 included. ``without`` names layers to leave out, for tests."""

    layout: Layout
    keep_fds: tuple[int, ...]
    without: frozenset[str] = frozenset()


class ChildConfinement:
    """What is in force for the zygote and every child of it: ``layers``, and in ``details`` a few words on each of ``LAYERS``.

    ``keep_fds`` must stay open in a child until ``apply``, which closes them.
    """

    def __init__(self, details: dict[str, str], layers: tuple[str, ...]) -> None:
        self.details = details
        self.layers = layers
        self._zygote = os.getpid()
        self._steps: list[Callable[[], object]] = []
        self._ruleset: int | None = None
        if sys.platform == "linux" and this_machine():
            self._prepare()

    @property
    def keep_fds(self) -> tuple[int, ...]:
        return () if self._ruleset is None else (self._ruleset,)

    def apply(self) -> None:
        """In the forked child, after its limits are set and before untrusted code. OSError if a layer cannot be applied.

        From here on it dies with its zygote, starts no process, signals itself alone, and keeps its limits.
        """
        for step in self._steps:
            step()

    def _prepare(self) -> None:
        self._steps = [Prepared("prctl", PR_SET_PDEATHSIG, signal.SIGKILL), self._require_zygote]
        if "seccomp" in self.layers:
            self._steps.append(seccomp.ChildFilter(_machine()).install)
        elif "landlock" in self.layers:
            self._prepare_landlock()

    def _prepare_landlock(self) -> None:
        """Keeps a child's signals to itself where no filter does. It is left out where one does: a child's domain copies every
        rule of the zygote's, which takes as long as all else here.
        """
        abi = landlock.version()
        self._ruleset = landlock.child_ruleset(abi)
        if self._ruleset is not None:
            self._steps += [landlock.prepared(self._ruleset, abi), partial(os.close, self._ruleset)]

    def _require_zygote(self) -> None:
        # It may have died before it was watched.
        if os.getppid() != self._zygote:
            raise ProcessLookupError("the zygote is gone")


def confine_zygote(plan: Plan) -> ChildConfinement:
    """Enter every layer the kernel allows, in this process, which must have one thread.

    With namespaces the caller comes back as another process (see ``namespaces.py``). Never raises for what a kernel lacks.
    """
    if sys.platform != "linux":
        return ChildConfinement(dict.fromkeys(LAYERS, "absent: not Linux"), ())
    close_all_but(*plan.keep_fds)
    details: dict[str, str] = {}
    layers = tuple(name for name, enter in _entries(plan.layout) if _entered(name, enter, plan.without, details))
    return ChildConfinement(details, layers)


def _entries(layout: Layout) -> list[tuple[str, Callable[[], str]]]:
    return [
        ("namespaces", lambda: namespaces.enter(layout)),
        ("capabilities", capabilities.drop),
        ("landlock", lambda: _enter_landlock(layout)),
        ("seccomp", lambda: seccomp.enter(_machine())),
    ]


def _entered(name: str, enter: Callable[[], str], without: frozenset[str], details: dict[str, str]) -> bool:
    if name in without:
        details[name] = "absent: left out"
        return False
    try:
        details[name] = enter()
    except OSError as error:
        details[name] = f"absent: {error.strerror or error}"
        return False
    return True


def _enter_landlock(layout: Layout) -> str:
    abi = landlock.version()
    landlock.enter(layout, abi)
    return landlock.describe(abi)


def _machine() -> Machine:
    machine = this_machine()
    if machine is None:
        raise OSError("no system call table for this machine")
    return machine
