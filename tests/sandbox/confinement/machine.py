"""A seccomp filter's machine in Python, so that filters of any processor can be tried on any other."""

from __future__ import annotations

from struct import iter_unpack, pack, unpack_from

from mlx_selfdebug.sandbox.confinement.syscalls import Machine


def judge(code: bytes, machine: Machine, call: str | int, *arguments: int, audit: int | None = None) -> int:
    """The action for a call by name or number."""
    number = machine.numbers[call] if isinstance(call, str) else call
    six = [value & 2**64 - 1 for value in (*arguments, *(0,) * (6 - len(arguments)))]
    return run(code, pack("<IIQ6Q", number, machine.audit if audit is None else audit, 0, *six))


def run(code: bytes, data: bytes) -> int:
    instructions = list(iter_unpack("<HBBI", code))
    accumulator, at = 0, 0
    while True:
        operation, yes, no, constant = instructions[at]
        at += 1
        if operation == 0x06:
            return constant
        if operation == 0x20:
            accumulator = unpack_from("<I", data, constant)[0]
        elif operation == 0x54:
            accumulator &= constant
        elif operation == 0x05:
            at += constant
        else:
            tests = {0x15: accumulator == constant, 0x35: accumulator >= constant, 0x45: bool(accumulator & constant)}
            at += yes if tests[operation] else no
