"""A program that behaves like Lean's command line for a handful of files.

It knows what some lines of a script would do, and prints messages as Lean prints them with ``--json``. It is made from what Lean's
sources say (``src/util/shell.cpp``, ``Lean/Message.lean``, ``Lean/Elab/Print.lean``), not from what a Lean was seen to do.
"""

# ruff: noqa: T201

import json
import os
import re
import sys
import time

VERSION = "4.9.0"
BLIND = ""
"""What this Lean gets wrong: ``right``, ``wrong``, ``sorry`` or ``axiom``."""

CLOSING = {
    "exact Nat.add_comm a b": [],
    "omega": ["propext", "Classical.choice", "Quot.sound"],
    "exact False.elim self_test_absurd": ["self_test_absurd"],
    "exact em p": ["mine.em"],
    "sorry": ["sorryAx"],
}
UNSOLVED = "unsolved goals\ncase zero\n⊢ 0 + b = b + 0\n\ncase succ\na b : Nat\nih : a + b =\n  b + a\n⊢ a + 1 + b = b + (a + 1)"
WRONG = "The rfl tactic failed. The left-hand side\n  a + b\nis not equal to the right-hand side\n  b + a\na b : Nat\n⊢ a + b = b + a"


def say(severity: str, line: int, data: str, column: int = 0) -> None:
    place = {"fileName": sys.argv[-1], "caption": "", "kind": "[anonymous]", "keepFullRange": False}
    print(json.dumps({"severity": severity, "pos": {"line": line, "column": column}, "data": data, **place}))


def check(lines: list[str]) -> int:
    by = next(n for n, line in enumerate(lines, 1) if line == "  := by")
    last = next(n for n, line in enumerate(lines, 1) if line.startswith("#print axioms "))
    assert lines[last - 2] == "set_option pp.fullNames true"
    name = lines[last - 1].split()[-1]
    theorem = next(n for n, line in enumerate(lines, 1) if re.search(rf"theorem (\w+\.)*{name}\b", line))
    if lines[0] == "import Mathlib":
        say("error", 1, "unknown module prefix 'Mathlib'")
        return 1
    if lines[theorem - 1].endswith("+"):
        say("error", theorem + 1, "unexpected token ':='; expected term", 2)
        return 1
    used: list[str] = []
    closed = False
    for n in range(by + 1, last - 2):
        line = lines[n - 1].strip()
        if line == "rfl" and BLIND != "wrong":
            say("error", n, WRONG, 2)
            return 1
        if line == "wait":
            time.sleep(60)
        if line == "flood":
            for _ in range(300_000):
                say("information", n, "a message that is not short at all, and is repeated very often")
        if line == "grow":
            kept = bytearray(1 << 40)
            print(len(kept))
        if line == "swell":
            say("error", n, "(kernel) excessive memory consumption detected at 'interpreter'")
            return 1
        if line == "die":
            os.abort()
        if line == "break off":
            say("error", last - 1, "unexpected token 'set_option'; expected term")
            return 1
        if line == "is refused by the kernel":
            say("error", theorem, "(kernel) declaration has metavariables '_example'")
            return 1
        if line == "answers itself":
            say("information", n, f"'{name}' does not depend on any axioms")
            return 0
        if line == "answers twice":
            say("information", last, f"'{name}' does not depend on any axioms")
        if line == "answers for another":
            say("information", last, "'other' does not depend on any axioms")
            return 0
        if line == "prints an answer":
            answer = {
                "severity": "information",
                "pos": {"line": last},
                "data": f"'{name}' does not depend on any axioms",
            }
            print(json.dumps(answer), file=sys.stderr)
            return 0
        if line == "warns":
            say("warning", n, "unused variable `h`")
        if line == "sorry" and BLIND != "sorry":
            say("warning", theorem, "declaration uses 'sorry'", 8)
        closed = closed or line in CLOSING or line == "rfl"
        used += CLOSING.get(line, [])
    if not closed or BLIND == "right":
        say("error", by, UNSOLVED, 5)
        return 1
    if BLIND in ("sorry", "axiom"):
        used = [axiom for axiom in used if axiom not in ("sorryAx", "self_test_absurd")]
    answer = f"depends on axioms: [{','.join(used)}]".replace(",", ",\n ") if used else "does not depend on any axioms"
    say("information", last, f"'{name}' {answer}")
    return 0


def main() -> int:
    if sys.argv[1:] == ["--version"]:
        print(f"Lean (version {VERSION}, x86_64-unknown-linux-gnu, commit 8f9843a4a5fe, Release)")
        return 0
    if sys.argv[1:] == ["--print-prefix"]:
        print(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
        return 0
    if sys.platform == "linux":
        try:
            os.readlink(f"/proc/{os.getpid()}/exe")
        except OSError:
            print("error: failed to locate application", file=sys.stderr)
            return 1
    json_option, memory, file = sys.argv[1:]
    assert json_option == "--json"
    assert re.fullmatch(r"-M\d+", memory)
    with open(file, encoding="utf-8") as source:
        lines = source.read().splitlines()
    try:
        return check(lines)
    except MemoryError:
        print("INTERNAL PANIC: out of memory", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
