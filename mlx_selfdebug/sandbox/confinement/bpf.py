"""Assemble seccomp filters, which the kernel runs on every system call and whose verdict says what becomes of the call.

The functions here return code and take code as arguments, so a filter is built like a tree. Each path through it ends in a verdict,
so branches never have to join again.

>>> len(program(branch(EQUAL, 39, verdict(KILL), verdict(ALLOW)), load=NUMBER)) // 8  # load, compare, two verdicts
4
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import pack

# Offsets in ``struct seccomp_data``, which describes the call to be judged. Its six arguments of 64 bits begin at 16.
NUMBER, ARCHITECTURE = 0, 4
# SECCOMP_RET_ALLOW and SECCOMP_RET_KILL_PROCESS.
ALLOW, KILL = 0x7FFF0000, 0x80000000
# Operations of classic BPF (``linux/bpf_common.h``): the tests of a branch, and all others that are used.
EQUAL, AT_LEAST, ANY_BIT = 0x15, 0x35, 0x45
LOAD, _AND, _RETURN, _JUMP = 0x20, 0x54, 0x06, 0x05
MAX_INSTRUCTIONS = 4096
"""The number of instructions that the kernel accepts in one filter."""
_MAX_JUMP = 255
"""The number of instructions that a conditional jump can skip."""

Code = list[tuple[int, int, int, int]]
"""Instructions in the kernel's form: operation, jump if true, jump if false, constant."""


def verdict(action: int) -> Code:
    """Return the instruction that ends the filter with ``action``, such as ``ALLOW``, ``KILL`` or one from ``refuse``."""
    return [(_RETURN, 0, 0, action)]


def refuse(error: int) -> int:
    """Return the action that makes the call fail with this error number, which is SECCOMP_RET_ERRNO."""
    return 0x00050000 | error


def argument(index: int, code: Code, *, high: bool = False) -> Code:
    """Return code that loads one half of an argument, 32 bits, and then runs ``code``.

    The low half is enough for an ``int``, since the kernel ignores the rest of such an argument.
    """
    return [(LOAD, 0, 0, 16 + 8 * index + (4 if high else 0)), *code]


def masked(mask: int, code: Code) -> Code:
    """Return code that keeps only the bits of ``mask`` in the loaded value and then runs ``code``."""
    return [(_AND, 0, 0, mask), *code]


def branch(test: int, constant: int, yes: Code, no: Code) -> Code:
    """Return code that runs ``yes`` if the loaded value passes the test, and ``no`` if it does not.

    The test is ``EQUAL``, ``AT_LEAST`` or ``ANY_BIT``, and compares the value with ``constant``.
    """
    if len(yes) <= _MAX_JUMP:
        return [(test, 0, len(yes), constant), *yes, *no]
    # Conditional jumps reach 255 instructions; an unconditional one reaches any.
    return [(test, 1, 0, constant), (_JUMP, 0, 0, len(yes)), *yes, *no]


def one_of(values: Sequence[int], yes: Code, no: Code) -> Code:
    """Return code that runs ``yes`` if the loaded value equals one of ``values``, and ``no`` if it does not.

    The values are compared one after the other. Raises ValueError if they are too many for a jump to pass over them all.
    """
    last = len(values) - 1
    if last + len(yes) > _MAX_JUMP:
        raise ValueError(
            f"{len(values)} values and {len(yes)} instructions are too many: a jump can skip at most {_MAX_JUMP}"
        )
    # A test that succeeds skips the tests after it. One that fails goes on to the next, and the last one skips ``yes``.
    tests = [(EQUAL, last - i, 0 if i < last else len(yes), value) for i, value in enumerate(values)]
    return [*tests, *yes, *no] if values else no


def choose(cases: Mapping[int, Code], otherwise: Code) -> Code:
    """Return code that runs the case of the loaded number, or ``otherwise`` if there is none.

    The numbers are compared one after the other, grouped by their code. This takes the fewest instructions, so such a filter is the
    fastest to install.
    """
    groups: dict[tuple[tuple[int, int, int, int], ...], list[int]] = {}
    for number, code in sorted(cases.items()):
        groups.setdefault(tuple(code), []).append(number)
    for shared, numbers in groups.items():
        otherwise = one_of(numbers, list(shared), otherwise)
    return otherwise


def select(cases: Mapping[int, Code], otherwise: Code) -> Code:
    """Return code that does the same as ``choose``, by binary search.

    It makes about eight comparisons for any number, so such a filter is the fastest to run.
    """
    starts: list[tuple[int, Code]] = [(0, otherwise)]
    for number in sorted(cases):
        _begin(starts, number, cases[number])
        _begin(starts, number + 1, otherwise)
    return _halve(starts)


def program(code: Code, load: int) -> bytes:
    """Return the filter that loads the field at the offset ``load`` and then runs ``code``, in the kernel's binary form.

    Raises ValueError if it has more than ``MAX_INSTRUCTIONS``.
    """
    if len(code) >= MAX_INSTRUCTIONS:
        raise ValueError(f"the filter has {len(code) + 1} instructions; at most {MAX_INSTRUCTIONS} are allowed")
    return b"".join(pack("HBBI", *instruction) for instruction in [(LOAD, 0, 0, load), *code])


def _begin(starts: list[tuple[int, Code]], number: int, code: Code) -> None:
    """Let ``code`` apply from ``number`` on. Numbers must come in ascending order.

    ``starts`` holds the first number of each range together with its code.
    """
    if starts[-1][0] == number:
        starts.pop()
    if not starts or starts[-1][1] != code:
        starts.append((number, code))


def _halve(starts: list[tuple[int, Code]]) -> Code:
    """Return the binary search for the range in which the loaded number lies."""
    if len(starts) == 1:
        return starts[0][1]
    middle = len(starts) // 2
    return branch(AT_LEAST, starts[middle][0], _halve(starts[middle:]), _halve(starts[:middle]))
