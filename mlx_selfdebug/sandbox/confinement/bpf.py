"""Assembles seccomp filters. Code is a tree: each piece ends in a verdict, so a branch never has to join another.

>>> len(program(branch(EQUAL, 39, verdict(KILL), verdict(ALLOW)), load=NUMBER)) // 8  # load, compare, two verdicts
4
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import pack

NUMBER, ARCHITECTURE = 0, 4
ALLOW, KILL = 0x7FFF0000, 0x80000000
EQUAL, AT_LEAST, ANY_BIT = 0x15, 0x35, 0x45
LOAD, _AND, _RETURN, _JUMP = 0x20, 0x54, 0x06, 0x05
MAX_INSTRUCTIONS = 4096
_FARTHEST = 255

Code = list[tuple[int, int, int, int]]
"""Instructions as the kernel has them: operation, jump if true, jump if false, constant."""


def verdict(action: int) -> Code:
    """What becomes of the call."""
    return [(_RETURN, 0, 0, action)]


def refuse(error: int) -> int:
    """The action that makes the call fail with this error number."""
    return 0x00050000 | error


def argument(index: int, code: Code, *, high: bool = False) -> Code:
    """``code``, with half of an argument to look at: the low one is all the kernel reads of an ``int``."""
    return [(LOAD, 0, 0, 16 + 8 * index + (4 if high else 0)), *code]


def masked(mask: int, code: Code) -> Code:
    """``code``, with only these bits of what was loaded."""
    return [(_AND, 0, 0, mask), *code]


def branch(test: int, constant: int, yes: Code, no: Code) -> Code:
    """``yes`` if the loaded value passes the test, else ``no``."""
    if len(yes) <= _FARTHEST:
        return [(test, 0, len(yes), constant), *yes, *no]
    # Conditional jumps reach 255 instructions; an unconditional one reaches any.
    return [(test, 1, 0, constant), (_JUMP, 0, 0, len(yes)), *yes, *no]


def one_of(values: Sequence[int], yes: Code, no: Code) -> Code:
    """``yes`` if the loaded value is any of these, compared one after the other; ValueError if they are more than 255."""
    last = len(values) - 1
    if last + len(yes) > _FARTHEST:
        raise ValueError(f"{len(values)} values and {len(yes)} instructions: a jump reaches {_FARTHEST}")
    tests = [(EQUAL, last - i, 0 if i < last else len(yes), value) for i, value in enumerate(values)]
    return [*tests, *yes, *no] if values else no


def choose(cases: Mapping[int, Code], otherwise: Code) -> Code:
    """The code of the loaded number, compared one after the other: the fewest instructions, so it is installed fastest."""
    groups: dict[tuple[tuple[int, int, int, int], ...], list[int]] = {}
    for number, code in sorted(cases.items()):
        groups.setdefault(tuple(code), []).append(number)
    for shared, numbers in groups.items():
        otherwise = one_of(numbers, list(shared), otherwise)
    return otherwise


def select(cases: Mapping[int, Code], otherwise: Code) -> Code:
    """As ``choose``, found by halving: some eight comparisons whatever the number, so it runs fastest."""
    starts: list[tuple[int, Code]] = [(0, otherwise)]
    for number in sorted(cases):
        _begin(starts, number, cases[number])
        _begin(starts, number + 1, otherwise)
    return _halve(starts)


def program(code: Code, load: int) -> bytes:
    """The filter as the kernel takes it; ValueError if it is longer than it may be."""
    if len(code) >= MAX_INSTRUCTIONS:
        raise ValueError(f"a filter of {len(code) + 1} instructions; at most {MAX_INSTRUCTIONS}")
    return b"".join(pack("HBBI", *instruction) for instruction in [(LOAD, 0, 0, load), *code])


def _begin(starts: list[tuple[int, Code]], number: int, code: Code) -> None:
    if starts[-1][0] == number:
        starts.pop()
    if not starts or starts[-1][1] != code:
        starts.append((number, code))


def _halve(starts: list[tuple[int, Code]]) -> Code:
    if len(starts) == 1:
        return starts[0][1]
    middle = len(starts) // 2
    return branch(AT_LEAST, starts[middle][0], _halve(starts[middle:]), _halve(starts[:middle]))
