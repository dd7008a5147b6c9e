"""The filter of a command on both processors, call by call, in the Python machine."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.sandbox.confinement import policy
from mlx_selfdebug.sandbox.confinement.bpf import ALLOW, KILL, refuse
from mlx_selfdebug.sandbox.confinement.command_policy import (
    COMMAND_ALLOWED,
    COMMAND_NETWORK,
    COMMAND_REFUSED,
    command_filter,
)
from mlx_selfdebug.sandbox.confinement.syscalls import FIRST_UNKNOWN, MACHINES, Machine
from tests.sandbox.confinement.machine import judge

EPERM, EACCES = refuse(errno.EPERM), refuse(errno.EACCES)
MODES = ("chmod", "fchmod", "fchmodat", "fchmodat2", "creat", "open", "openat", "mknod", "mknodat")
LOOKS = (
    *MODES, "clone", "socket", "socketpair", "ioctl", "fcntl", "prctl", "prlimit64", "setpriority", "ioprio_set",
    "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr",
)  # fmt: skip
both = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)


def expected(machine: Machine, network: bool) -> dict[int, int]:
    rules = {name: KILL for names in policy.KILLED.values() for name in names.split()}
    for table in (policy.REFUSED, COMMAND_REFUSED):
        rules |= {name: refuse(error) for error, names in table.items() for name in names.split()}
    rules |= dict.fromkeys(COMMAND_ALLOWED.split(), ALLOW)
    rules |= dict.fromkeys(COMMAND_NETWORK.split(), ALLOW if network else EACCES)
    return {machine.numbers[name]: action for name, action in rules.items() if name in machine.numbers}


@both
@pytest.mark.parametrize("network", [False, True])
def test_every_number_has_the_action_its_name_says(machine: Machine, network: bool) -> None:
    code, rules = command_filter(machine, network=network), expected(machine, network)
    skipped = {machine.numbers[name] for name in LOOKS if name in machine.numbers}
    for number in set(range(601)) - skipped:
        otherwise = ALLOW if number < FIRST_UNKNOWN else refuse(errno.ENOSYS)
        assert judge(code, machine, number) == rules.get(number, otherwise), number


@both
def test_a_call_of_another_processor_kills(machine: Machine) -> None:
    code = command_filter(machine, network=True)
    for audit in (0x40000003, 0x40000028, *(each.audit for each in MACHINES.values() if each is not machine)):
        assert judge(code, machine, 39, audit=audit) == KILL
    assert judge(code, machine, 0x40000000 + 39) == KILL


@both
@pytest.mark.parametrize(
    ("call", "arguments", "action"),
    [
        ("execve", (1, 2, 3), ALLOW),
        ("kill", (1, 9), ALLOW),
        ("ptrace", (16, 1), KILL),
        ("clone", (0x11,), ALLOW),
        ("clone", (0x10000011,), KILL),
        ("socketpair", (1, 1, 0), ALLOW),
        ("socketpair", (1, 2, 0), EACCES),
        ("fchmodat", (-100, 0, 0o755), ALLOW),
        ("fchmodat", (-100, 0, 0o4755), EPERM),
        ("fchmod", (3, 0o2755), EPERM),
        ("openat", (-100, 0, 0o1102, 0o644), ALLOW),
        ("openat", (-100, 0, 0o102, 0o4755), EPERM),
        ("openat", (-100, 0, 0, 0o4755), ALLOW),
        ("openat", (-100, 0, 0o20200002, 0o6600), EPERM),
        ("mknodat", (-100, 0, 0o010644), ALLOW),
        ("mknodat", (-100, 0, 0o020644), EPERM),
        ("mknodat", (-100, 0, 0o060644), EPERM),
        ("mknodat", (-100, 0, 0o104755), EPERM),
        ("prctl", (15,), ALLOW),
        ("prctl", (4, 1), EPERM),
        ("prctl", (22, 2), EPERM),
        ("prlimit64", (0, 7, 1), ALLOW),
        ("prlimit64", (5, 7, 0), ALLOW),
        ("prlimit64", (5, 7, 1), EPERM),
        ("setpriority", (0, 0, 5), ALLOW),
        ("setpriority", (0, 1, 5), EPERM),
        ("setpriority", (2, 0, 5), EPERM),
        ("sched_setaffinity", (0,), ALLOW),
        ("sched_setaffinity", (1,), EPERM),
        ("ioctl", (1, 0x5412), refuse(errno.ENOTTY)),
        ("fcntl", (1, 8), EPERM),
        ("fcntl", (1, 1), ALLOW),
    ],
)
def test_it_looks_at_arguments(machine: Machine, call: str, arguments: tuple[int, ...], action: int) -> None:
    assert judge(command_filter(machine, network=False), machine, call, *arguments) == action


@both
@pytest.mark.parametrize("family", range(50))
def test_sockets_of_few_families_come_with_the_network(machine: Machine, family: int) -> None:
    without, with_ = (command_filter(machine, network=network) for network in (False, True))
    assert judge(without, machine, "socket", family, 1) == EACCES
    assert judge(with_, machine, "socket", family, 1) == (ALLOW if family in {1, 2, 10, 16} else EACCES)
    assert judge(with_, machine, "socket", 2, 3 | 0o2000000) == EACCES


@given(st.sampled_from(sorted(MACHINES)), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_no_mode_gives_the_owners_rights_away(machine: str, mode: int, flags: int) -> None:
    code = command_filter(MACHINES[machine], network=True)
    special = bool(mode & 0o6000)
    assert (judge(code, MACHINES[machine], "fchmodat", -100, 0, mode) == ALLOW) == (not special)
    creates = bool(flags & (0o100 | 0o20000000))
    assert (judge(code, MACHINES[machine], "openat", -100, 0, flags, mode) == ALLOW) == (not (special and creates))
