"""Confine processes on Linux, with every layer that the kernel allows.

There are two kinds of sandbox. In one, a zygote, which is an interpreter with everything loaded, forks a child for each test run.
In the other, a keeper starts a command and watches over it as its parent. This module needs only the standard library.

    confinement = confine_zygote(Plan(layout, keep_fds=(0, 1, 2, control)))   # once, before anything untrusted is read
    if not os.fork():
        ...                                                                   # set limits, close all but confinement.keep_fds
        confinement.apply()
        run_untrusted_code()

A layer that the kernel lacks is not in ``layers``, and ``details`` says why. Whether the layers suffice is not decided here: the
probes find that out (see ``isolation.py``).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
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
_ABSENT = "absent: "
"""The beginning of the detail of a layer that is not in force."""


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

        From here on the child dies with its zygote. With seccomp it can start no process, signal only itself, and not change its
        limits. With Landlock alone it can signal only itself. Raises OSError if a layer cannot be applied.
        """
        for step in self._steps:
            step()

    def _prepare(self) -> None:
        """Prepare the steps that ``apply`` takes, so that a child has to make as few objects as possible."""
        self._steps = [Prepared("prctl", PR_SET_PDEATHSIG, signal.SIGKILL), self._require_zygote]
        if "seccomp" in self.layers:
            self._steps.append(seccomp.ChildFilter(_machine()).install)
        elif "landlock" in self.layers:
            self._prepare_landlock()

    def _prepare_landlock(self) -> None:
        """Prepare a ruleset that lets a child signal only itself.

        It is used only where no seccomp filter does the same. To put it in force, the kernel copies every rule of the zygote for
        the child, which takes as long as all other steps together.
        """
        abi = landlock.version()
        self._ruleset = landlock.child_ruleset(abi)
        if self._ruleset is not None:
            self._steps += [landlock.prepare_restriction(self._ruleset, abi), partial(os.close, self._ruleset)]

    def _require_zygote(self) -> None:
        # The zygote may have died before this process asked to be killed when it dies.
        if os.getppid() != self._zygote:
            raise ProcessLookupError("the zygote is gone")


def confine_zygote(plan: Plan) -> ChildConfinement:
    """Enter every layer that the kernel allows in this process, which must have one thread, and return what is in force.

    With namespaces this function returns in another process (see ``namespaces.py``). No error is raised for a layer that the kernel
    lacks.
    """
    if sys.platform != "linux":
        return ChildConfinement(dict.fromkeys(LAYERS, "absent: not Linux"), ())
    close_all_but(*plan.keep_fds)
    details: dict[str, str] = {}
    _enter(_zygote_layers(plan.layout), plan.without, details)
    return ChildConfinement(details, _in_force(details))


def _zygote_layers(layout: Layout) -> Mapping[str, Callable[[], str]]:
    """Return, for each layer of a zygote in the order of ``LAYERS``, the function that enters it and returns a few words on it."""
    return {
        "namespaces": lambda: namespaces.enter(sealed(layout)),
        "capabilities": capabilities.drop,
        "landlock": lambda: _enter_landlock(landlock.layout_rules(layout)),
        "seccomp": lambda: seccomp.enter(_machine(), zygote_filter(_machine())),
    }


def _enter(layers: Mapping[str, Callable[[], str]], without: frozenset[str], details: dict[str, str]) -> None:
    """Enter each layer that can be entered, and add a few words on each to ``details``.

    They begin with "absent: " if the layer is left out or cannot be entered.
    """
    for name, enter in layers.items():
        if name in without:
            details[name] = f"{_ABSENT}left out"
            continue
        try:
            details[name] = enter()
        except OSError as error:
            details[name] = f"{_ABSENT}{error.strerror or error}"


def _in_force(details: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name for name, detail in details.items() if not detail.startswith(_ABSENT))


def _enter_landlock(rules: Iterable[landlock.Rule], *, network: bool = False) -> str:
    abi = landlock.version()
    landlock.enter(rules, abi, network=network)
    return landlock.describe(abi)


@dataclass
class CommandConfinement:
    """The confinement of a command, which the keeper and its forked child enter one after the other.

    The keeper enters the layers of ``separate``, stays the parent of the command, and ends everything that the command started.
    The forked child enters the layers of ``confine`` before it becomes the command.
    """

    reach: Reach
    """What the command may reach."""
    processes: int
    """The number of processes and threads that the command may have at one time. The kernel may allow some more."""
    without: frozenset[str] = frozenset()
    """Names of layers to leave out, for tests and where bubblewrap has made the namespaces."""
    details: dict[str, str] = field(default_factory=dict)
    """A few words on each layer that was entered or left out, keyed by its name."""

    def separate(self) -> None:
        """Enter the layers of the keeper, which must have one thread.

        With namespaces this method returns in another process (see ``namespaces.py``).
        """
        layers = {
            "namespaces": lambda: namespaces.enter(open_for(self.reach), processes=self.processes),
            "capabilities": capabilities.drop,
        }
        _enter(layers, self.without, self.details)

    def confine(self) -> None:
        """Enter the layers of the forked child. Afterwards it should do nothing but become the command."""
        network = self.reach.network
        memory = (SHARED_MEMORY,) if "namespaces" in self.layers else ()
        places = [folder.place for folder in self.reach.writable]
        rules = landlock.command_rules(self.reach, (*places, self.reach.temporary, *memory))
        layers = {
            "landlock": lambda: _enter_landlock(rules, network=network),
            "seccomp": lambda: seccomp.enter(_machine(), command_filter(_machine(), network=network)),
        }
        _enter(layers, self.without, self.details)

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return ``argv`` as a list, since on Linux no part of the sandbox is in the command line."""
        return list(argv)

    @property
    def counts_own_processes(self) -> bool:
        """Whether RLIMIT_NPROC can limit this command: it counts only the command's processes, and the user is not exempt.

        Since Linux 5.14 it counts the processes of each user namespace. Root has always been exempt.
        """
        by_namespace = kernel_version(os.uname().release) >= (5, 14)
        return by_namespace and os.getuid() != 0 and namespaces.OWN_USER in self.details.get("namespaces", "")

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers in force."""
        return _in_force(self.details)


def _machine() -> Machine:
    """Return this machine. Raises OSError if it has no system call table."""
    machine = this_machine()
    if machine is None:
        raise OSError("there is no system call table for this machine")
    return machine
