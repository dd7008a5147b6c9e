"""Both filters on both processors, call by call, in the Python machine."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from struct import pack_into

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.sandbox.confinement import bpf, policy
from mlx_selfdebug.sandbox.confinement.bpf import ALLOW, KILL, refuse
from mlx_selfdebug.sandbox.confinement.syscalls import FIRST_UNKNOWN, MACHINES, Machine
from tests.sandbox.confinement.machine import judge, run

PID = 4321
HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"),
    "aarch64": ("/usr/include/asm-generic/unistd.h",),
}
PLAIN = [(name, KILL) for names in policy.KILLED.values() for name in names.split()]
PLAIN += [(name, refuse(error)) for error, names in policy.REFUSED.items() for name in names.split()]
CHILD = [(name, KILL) for name in policy.CHILD_KILLED.split()]
CHILD += [(name, refuse(errno.EPERM)) for name in policy.CHILD_REFUSED.split()]
ZYGOTE_LOOKS = ["clone", "open", "openat", "socket", "socketpair", "ioctl", "fcntl", "prlimit64"]
CHILD_LOOKS = f"clone prlimit64 prctl {policy.CHILD_SELF_KILLED} {policy.CHILD_SELF_REFUSED}".split()

both = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)


def child_code(machine: Machine) -> bytes:
    filter_ = policy.child_filter(machine)
    code = bytearray(filter_.code)
    for offset in filter_.pid_offsets:
        pack_into("I", code, offset, PID)
    return bytes(code)


@both
@pytest.mark.parametrize("stage", ["zygote", "child"])
def test_every_number_has_the_action_its_name_says(machine: Machine, stage: str) -> None:
    code = policy.zygote_filter(machine) if stage == "zygote" else child_code(machine)
    rules, looked_at = (PLAIN, ZYGOTE_LOOKS) if stage == "zygote" else (CHILD, CHILD_LOOKS)
    expected = {machine.numbers[name]: action for name, action in rules if name in machine.numbers}
    skipped = {machine.numbers[name] for name in looked_at if name in machine.numbers}
    for number in range(601):
        if number not in skipped:
            otherwise = ALLOW if number < FIRST_UNKNOWN else refuse(errno.ENOSYS)
            assert judge(code, machine, number) == expected.get(number, otherwise), number


@both
def test_a_call_of_another_processor_kills(machine: Machine) -> None:
    for code in (policy.zygote_filter(machine), child_code(machine)):
        for audit in (0x40000003, 0x40000028, *(each.audit for each in MACHINES.values() if each is not machine)):
            assert judge(code, machine, 39, audit=audit) == KILL
        assert judge(code, machine, 0x40000000 + 39) == KILL


@both
@pytest.mark.parametrize(
    ("call", "arguments", "action"),
    [
        ("clone", (0x11,), ALLOW),
        ("clone", (0x3D0F00,), ALLOW),
        ("clone", (0x10000011,), KILL),
        ("clone", (0x3D0F00 | 0x20000,), KILL),
        ("openat", (0, 0, 0), ALLOW),
        ("openat", (0, 0, 0o1001), ALLOW),
        ("openat", (0, 0, 0o1000), refuse(errno.EACCES)),
        ("openat", (0, 0, 0o2001000), refuse(errno.EACCES)),
        ("socket", (2, 1, 0), KILL),
        ("socket", (10, 2, 0), KILL),
        ("socket", (1, 1, 0), refuse(errno.EACCES)),
        ("socket", (16, 3, 0), refuse(errno.EACCES)),
        ("socketpair", (1, 1 | 0o2004000, 0), ALLOW),
        ("socketpair", (1, 2, 0), refuse(errno.EACCES)),
        ("socketpair", (2, 1, 0), KILL),
        ("ioctl", (0, 0x5401), ALLOW),
        ("ioctl", (0, 0x5412), refuse(errno.ENOTTY)),
        ("ioctl", (0, 0x8901), refuse(errno.ENOTTY)),
        ("fcntl", (0, 3), ALLOW),
        ("fcntl", (0, 8), refuse(errno.EPERM)),
        ("prlimit64", (77, 7, 0), ALLOW),
        ("prlimit64", (0, 7, 1 << 40), ALLOW),
        ("prlimit64", (77, 7, 1 << 40), KILL),
        ("prlimit64", (77, 7, 8), KILL),
    ],
)
def test_the_zygotes_filter_looks_at_arguments(
    machine: Machine, call: str, arguments: tuple[int, ...], action: int
) -> None:
    assert judge(policy.zygote_filter(machine), machine, call, *arguments) == action


@both
@pytest.mark.parametrize(
    ("call", "arguments", "action"),
    [
        ("clone", (0x3D0F00,), ALLOW),
        ("clone", (0x11,), KILL),
        ("clone", (0x4111,), KILL),
        ("prctl", (15,), ALLOW),
        ("prctl", (1,), refuse(errno.EPERM)),
        ("prctl", (4,), refuse(errno.EPERM)),
        ("prctl", (22,), refuse(errno.EPERM)),
        ("prlimit64", (0, 7, 0), ALLOW),
        ("prlimit64", (0, 7, 8), refuse(errno.EPERM)),
        ("prlimit64", (0, 7, 1 << 32), refuse(errno.EPERM)),
        *((call, (PID, 9), ALLOW) for call in policy.CHILD_SELF_KILLED.split()),
        *((call, (pid, 9), KILL) for call in policy.CHILD_SELF_KILLED.split() for pid in (0, 1, -1, -PID, PID + 1)),
        *((call, (pid,), ALLOW) for call in policy.CHILD_SELF_REFUSED.split() for pid in (0, PID)),
        *((call, (1,), refuse(errno.EPERM)) for call in policy.CHILD_SELF_REFUSED.split()),
    ],
)
def test_the_childs_filter_looks_at_arguments(
    machine: Machine, call: str, arguments: tuple[int, ...], action: int
) -> None:
    assert judge(child_code(machine), machine, call, *arguments) == action


@both
def test_the_filters_stay_short(machine: Machine) -> None:
    assert len(policy.zygote_filter(machine)) // 8 < 350
    assert len(policy.child_filter(machine).code) // 8 < 80


@both
def test_the_numbers_are_those_of_the_kernels_header(machine: Machine) -> None:
    header = next((path for path in map(Path, HEADERS[machine.name]) if path.exists()), None)
    if header is None:
        pytest.skip("no kernel headers installed")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\s", header.read_text())
    numbers = {name: int(number) for name, number in reversed(found)}
    unknown = {name for name in machine.numbers if name not in numbers}
    assert {name: numbers[name] for name in machine.numbers if name not in unknown} == {
        name: number for name, number in machine.numbers.items() if name not in unknown
    }
    # Newer than some installed headers.
    assert unknown <= {"fchmodat2", "statmount", "listmount", "lsm_set_self_attr"}


def test_calls_from_424_on_have_one_number_everywhere() -> None:
    first, second = (machine.numbers for machine in MACHINES.values())
    shared = [name for name in first if name in second and first[name] >= 424]
    assert len(shared) > 15
    assert [first[name] for name in shared] == [second[name] for name in shared]


def test_every_name_of_the_policy_has_a_number() -> None:
    names = {name for name, _ in PLAIN + CHILD} | {*ZYGOTE_LOOKS, *CHILD_LOOKS}
    assert names <= MACHINES["x86_64"].numbers.keys()


@given(st.dictionaries(st.integers(0, 600), st.integers(1, 5), max_size=200), st.integers(0, 700))
def test_each_number_is_found_in_a_filter_of_either_shape(cases: dict[int, int], number: int) -> None:
    data = number.to_bytes(4, "little") + bytes(60)
    for shape in (bpf.select, bpf.choose):
        code = shape({key: bpf.verdict(value) for key, value in cases.items()}, bpf.verdict(9))
        assert run(bpf.program(code, load=bpf.NUMBER), data) == cases.get(number, 9)


def test_a_filter_longer_than_the_kernel_takes_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 4096"):
        bpf.program(bpf.verdict(ALLOW) * bpf.MAX_INSTRUCTIONS, load=bpf.NUMBER)
