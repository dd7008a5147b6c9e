"""Check proofs with Lean 4.

    with open_lean() as lean:
        lean.check(Theorem("t", "theorem t : 1 + 1 = 2"), "rfl").result().proved

A theorem counts as proved if Lean ends with exit code 0, reports no error and warns of no ``sorry``, and if it says of the theorem
that it rests on no axioms but those of Lean itself and those that are allowed (``lean_report.py``). Only what comes with Lean can
be imported, so there is no Mathlib.

We could not run Lean where this was written. So a checker first checks four proofs whose verdicts are known, and does
not open if it gets another verdict.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.proving.checker import GRACE_S, Checker, Installation, Served, new_name, printed
from mlx_selfdebug.proving.lean_report import AXIOMS, UNPROVED, Report, lean_file
from mlx_selfdebug.proving.lean_script import tactics_of
from mlx_selfdebug.proving.servers.lean import PROCESSES
from mlx_selfdebug.proving.theorem import CheckedProof, Theorem
from mlx_selfdebug.sandbox.command import NAMESPACES, describe_command_isolation
from mlx_selfdebug.sandbox.isolation import Level

INSTALL = "install elan, then: elan default stable (https://lean-lang.org/install)"
MEMORY_BYTES = 2 << 30
"""Bytes of memory that Lean is told to use at most. On Linux it cannot see, confined, how much it uses."""
MAPPED_BYTES = 4 << 30
"""Bytes that Lean may map for itself on Linux. It maps its library and much that it does not use, so this has to be large."""
_SESSION_BYTES = 5 << 30
_THREADS = 512
_SELF_TEST_S = 60.0
_VERSION = re.compile(r"Lean \(version (\d+)\.([^\s,)]+)")
_TRUE = Theorem("self_test", "theorem self_test (a b : Nat) : a + b = b + a")
_FALSE = Theorem("self_test", "theorem self_test : 1 = 2", ("axiom self_test_absurd : False",))


@cache
def installation() -> tuple[Installation, str]:
    """Return where Lean is installed, and its version. Raises UsageError if it is not on the path, or is not Lean 4."""
    found = shutil.which("lean")
    if found is None:
        raise UsageError("Lean is not installed: there is no lean on the path", hint=INSTALL)
    said = printed([found, "--version"], INSTALL)
    version = _VERSION.search(said)
    if version is None:
        raise UsageError(f"{found} --version does not say that it is Lean: {said.strip()[:200]!r}", hint=INSTALL)
    if int(version[1]) < 4:
        raise UsageError(f"{found} is Lean {version[1]}.{version[2]}; Lean 4 is needed", hint=INSTALL)
    # The program on the path may be elan's, which starts that of a toolchain.
    prefix = printed([found, "--print-prefix"], INSTALL).strip()
    program = os.path.join(prefix, "bin", "lean")
    if not os.path.isabs(prefix) or not os.access(program, os.X_OK):
        raise UsageError(f"{found} --print-prefix does not say where Lean is installed: {prefix[:200]!r}", hint=INSTALL)
    return Installation(os.path.realpath(program), (os.path.realpath(prefix),)), f"{version[1]}.{version[2]}"


class Lean(Checker[list[str]]):
    """A checker that asks Lean. ``open_lean`` makes one."""

    name = "Lean"

    def _find(self) -> Served:
        where, _ = installation()
        arguments = (where.program, str(MEMORY_BYTES), str(MAPPED_BYTES))
        return Served("lean", arguments, where, _SESSION_BYTES, _THREADS, seen_at=_place_of_folder())

    def _examine(self) -> str:
        where, version = installation()
        if trouble := self._trouble():
            raise UsageError(f"{where.program}, Lean {version}, cannot be relied on here: {trouble}", hint=INSTALL)
        return version

    def _read(self, script: str) -> list[str]:
        return tactics_of(script)

    def _check(self, theorem: Theorem, script: list[str], wall_s: float) -> CheckedProof:
        report = self._report(theorem, script, wall_s)
        if report.ended in ("", "crashed") and report.may_blame_theorem:
            self._require_readable(theorem, wall_s)
        return report.verdict(AXIOMS | theorem.axioms)

    def _report(self, theorem: Theorem, script: list[str], wall_s: float) -> Report:
        file = lean_file(theorem, script, new_name())
        return Report.from_answer(file, self._ask({"source": file.text, "wall_s": wall_s}, wall_s + GRACE_S))

    def _require_readable(self, theorem: Theorem, wall_s: float) -> None:
        """Raise UsageError if Lean finds an error where nothing but the theorem is there to be read."""
        report = self._report(theorem, ["sorry"], wall_s)
        error = report.first_error
        if error or (report.ended in ("", "crashed") and report.exit_code != 0):
            said = " ".join((error.text if error else report.said).split())
            raise UsageError(f"Lean cannot read the theorem {theorem.name}: {said or 'it gives no reason'}")

    def _trouble(self) -> str:
        """Check proofs whose verdicts are known. Return which verdict was wrong, or an empty string."""

        def tried(theorem: Theorem, line: str) -> CheckedProof:
            return self._report(theorem, [line], _SELF_TEST_S).verdict(AXIOMS)

        right = tried(_TRUE, "exact Nat.add_comm a b")
        if not right.proved:
            return f"a right proof is not accepted ({_outcome(right)})"
        wrong = tried(_TRUE, "rfl")
        if wrong.proved or wrong.line != 1:
            return f"a wrong proof does not fail at its line ({_outcome(wrong)})"
        unproved = tried(_TRUE, "sorry")
        if unproved.message != UNPROVED:
            return f"sorry is not noticed ({_outcome(unproved)})"
        assumed = tried(_FALSE, "exact False.elim self_test_absurd")
        if "rests on self_test_absurd," not in assumed.message:
            return f"an axiom is not noticed ({_outcome(assumed)})"
        return ""


@contextmanager
def open_lean(level: Level = "full", workers: int | None = None) -> Iterator[Lean]:
    """Give a checker until the block ends, with as many processes as processors unless ``workers`` says otherwise.

    Raises UsageError if Lean is not installed, is too old, or judges one of four known proofs otherwise than expected. Raises
    SandboxError if its processes are isolated less well than ``level``.
    """
    lean = Lean(level, workers)
    try:
        yield lean
    finally:
        lean.close()


def _outcome(proof: CheckedProof) -> str:
    """Return what came out of a proof, in a few words."""
    return "it is accepted" if proof.proved else ": ".join(filter(None, (proof.ending, proof.message)))


def _place_of_folder() -> str | None:
    """Return where a confined process sees its working folder.

    On Linux, Lean learns from a link below /proc where it is installed, and a process in namespaces of its own sees no /proc. So it
    sees its working folder there, and the server writes the link.
    """
    if sys.platform != "linux":
        return None
    return PROCESSES if describe_command_isolation(sys.executable).in_force & NAMESPACES else None
