"""Confine a zygote and what it forks, or a command, on Linux, with every layer that the kernel allows.

It needs only the standard library.

    confinement = confine_zygote(Plan(layout, keep_fds=(0, 1, 2, control)))   # once, before anything untrusted is read
    if not os.fork():
        ...                                                                   # set limits, close all but confinement.keep_fds
        confinement.apply()
        run_untrusted_code()

A layer that the kernel lacks is not in ``layers``, and ``details`` says why. Whether the layers suffice is not decided here, but by
the probes (see ``isolation.py``).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from mlx_selfdebug.sandbox.confinement import capabilities, landlock, namespaces, seccomp
from mlx_selfdebug.sandbox.confinement.command_policy import command_filter
from mlx_selfdebug.sandbox.confinement.kernel import PR_SET_PDEATHSIG, Prepared, close_all_but
from mlx_selfdebug.sandbox.confinement.layout import Layout, Plan
from mlx_selfdebug.sandbox.confinement.policy import zygote_filter
from mlx_selfdebug.sandbox.confinement.process_limit import kernel_version
from mlx_selfdebug.sandbox.confinement.reach import Reach
from mlx_selfdebug.sandbox.confinement.roots import SHARED_MEMORY, open_for, sealed
from mlx_selfdebug.sandbox.confinement.syscalls import Machine, this_machine

LAYERS = ("namespaces", "capabilities", "landlock", "seccomp")
"""The layers in the order in which they are entered. Each needs rights that the next one takes away."""


class ChildConfinement:
    """The confinement that is in force for a zygote and each of its children.

    ``layers`` names the layers in force, and ``details`` describes each of ``LAYERS`` in a few words.
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
        """The descriptors that must stay open in a child until ``apply``, which closes them."""
        return () if self._ruleset is None else (self._ruleset,)

    def apply(self) -> None:
        """Confine the forked child. Call this after its limits are set and before any untrusted code runs.

        From here on the child dies with its zygote, starts no process, signals only itself, and cannot change its limits. Raises
        OSError if a layer cannot be applied.
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
        """Prepare a ruleset that lets a child signal only itself.

        It is used only where no seccomp filter does the same, since a child's domain copies every rule of the zygote's, which
        takes as long as all other steps together.
        """
        abi = landlock.version()
        self._ruleset = landlock.child_ruleset(abi)
        if self._ruleset is not None:
            self._steps += [landlock.prepared(self._ruleset, abi), partial(os.close, self._ruleset)]

    def _require_zygote(self) -> None:
        # The zygote may have died before this process asked to be killed when it dies.
        if os.getppid() != self._zygote:
            raise ProcessLookupError("the zygote is gone")


def confine_zygote(plan: Plan) -> ChildConfinement:
    """Enter every layer that the kernel allows in this process, which must have one thread.

    With namespaces this function returns in another process (see ``namespaces.py``). A layer that the kernel lacks raises nothing.
    """
    if sys.platform != "linux":
        return ChildConfinement(dict.fromkeys(LAYERS, "absent: not Linux"), ())
    close_all_but(*plan.keep_fds)
    details: dict[str, str] = {}
    layers = tuple(name for name, enter in _entries(plan.layout) if _entered(name, enter, plan.without, details))
    return ChildConfinement(details, layers)


def _entries(layout: Layout) -> list[tuple[str, Callable[[], str]]]:
    return [
        ("namespaces", lambda: namespaces.enter(sealed(layout))),
        ("capabilities", capabilities.drop),
        ("landlock", lambda: _enter_landlock(landlock.rules(layout))),
        ("seccomp", lambda: seccomp.enter(_machine(), zygote_filter(_machine()))),
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


def _enter_landlock(rules: Iterable[landlock.Rule], *, network: bool = False) -> str:
    abi = landlock.version()
    landlock.enter(rules, abi, network=network)
    return landlock.describe(abi)


@dataclass
class CommandConfinement:
    """The confinement of a command, which its keeper and the command enter one after the other.

    The keeper enters the layers of ``separate``, stays the parent of the command, and ends everything that the command started.
    The forked child enters those of ``confine`` before it becomes the command.
    """

    reach: Reach
    processes: int
    """The number of processes and threads that must be possible at one time."""
    without: frozenset[str] = frozenset()
    """Names of layers to leave out, for tests and where bubblewrap has made the namespaces."""
    details: dict[str, str] = field(default_factory=dict)

    def separate(self) -> None:
        """Enter the layers of the keeper, which must have one thread. It returns in another process (see ``namespaces.py``)."""
        self._enter(
            {
                "namespaces": lambda: namespaces.enter(open_for(self.reach), processes=self.processes),
                "capabilities": capabilities.drop,
            }
        )

    def confine(self) -> None:
        """Enter the layers of the forked child. Afterwards it should do nothing but become the command."""
        network, memory = self.reach.network, (SHARED_MEMORY,) if "namespaces" in self.layers else ()
        places = [each.place for each in self.reach.writable]
        rules = landlock.command_rules(self.reach, (*places, self.reach.temporary, *memory))
        self._enter(
            {
                "landlock": lambda: _enter_landlock(rules, network=network),
                "seccomp": lambda: seccomp.enter(_machine(), command_filter(_machine(), network=network)),
            }
        )

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command line that the confined child executes."""
        return list(argv)

    @property
    def counts_own_processes(self) -> bool:
        """Whether the kernel's limit on processes counts those of the command alone, and holds for this user.

        It counts them by user namespace since Linux 5.14, and it has never held for root.
        """
        counts = kernel_version(os.uname().release) >= (5, 14)
        return counts and os.getuid() != 0 and ", users" in self.details.get("namespaces", "")

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers in force."""
        return tuple(name for name, detail in self.details.items() if not detail.startswith("absent: "))

    def _enter(self, entries: dict[str, Callable[[], str]]) -> None:
        for name, enter in entries.items():
            _entered(name, enter, self.without, self.details)


def _machine() -> Machine:
    machine = this_machine()
    if machine is None:
        raise OSError("there is no system call table for this machine")
    return machine
