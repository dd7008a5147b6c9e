"""Check proofs with Lean 4.

    with open_lean() as lean:
        lean.check(Theorem("t", "theorem t : 1 + 1 = 2"), "rfl").result().proved

A theorem counts as proved if all of this holds:

- Lean ends with exit code 0.
- It reports no error, and no warning about ``sorry``, the word that leaves a goal unproved.
- It says that the theorem rests on no axioms except those of Lean itself and those that the theorem allows.

``lean_report.py`` reads these answers. Only the modules that come with Lean can be imported, so there is no Mathlib.

This module was written without access to a Lean. So a checker begins with a self-test: it checks four proofs whose verdicts are
known, and cannot be opened if one of the verdicts is wrong.
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
from mlx_selfdebug.proving.checker import GRACE_S, Checker, Installation, ServerSetup, output_of, random_name
from mlx_selfdebug.proving.lean_report import AXIOMS, UNPROVED, Report, lean_file
from mlx_selfdebug.proving.lean_script import tactics_of
from mlx_selfdebug.proving.servers.lean import PROCESSES
from mlx_selfdebug.proving.theorem import CheckedProof, Theorem
from mlx_selfdebug.sandbox.command import NAMESPACES, describe_command_isolation
from mlx_selfdebug.sandbox.isolation import Level

INSTALL = "install elan, then: elan default stable (https://lean-lang.org/install)"
MEMORY_BYTES = 2 << 30
"""Bytes of memory that Lean is told to use at most. On Linux it does not obey: confined, it cannot see how much it uses."""
MAPPED_BYTES = 4 << 30
"""Bytes that Lean may map for itself on Linux. It maps its library and much that it does not use, so this has to be large."""
_SESSION_BYTES = 5 << 30
"""Bytes of memory that the server and Lean may hold together. This is above ``MAPPED_BYTES``, so Lean meets that limit first."""
_THREADS = 512
"""The number of processes and threads that the server and Lean may have at one time."""
_SELF_TEST_S = 60.0
"""Seconds that each proof of the self-test may take."""
_VERSION = re.compile(r"Lean \(version (\d+)\.([^\s,)]+)")
_TRUE = Theorem("self_test", "theorem self_test (a b : Nat) : a + b = b + a")
_FALSE = Theorem("self_test", "theorem self_test : 1 = 2", ("axiom self_test_absurd : False",))


@cache
def installation() -> tuple[Installation, str]:
    """Return where Lean is installed, and its version. Raises UsageError if it is not on the path, or is not Lean 4."""
    on_path = shutil.which("lean")
    if on_path is None:
        raise UsageError("Lean is not installed: there is no lean on the path", hint=INSTALL)
    printed = output_of([on_path, "--version"], INSTALL)
    version = _VERSION.search(printed)
    if version is None:
        raise UsageError(f"{on_path} --version does not say that it is Lean: {printed.strip()[:200]!r}", hint=INSTALL)
    if int(version[1]) < 4:
        raise UsageError(f"{on_path} is Lean {version[1]}.{version[2]}; Lean 4 is needed", hint=INSTALL)
    # The program on the path may be elan, the manager of Lean's toolchains. It starts the Lean of one toolchain.
    prefix = output_of([on_path, "--print-prefix"], INSTALL).strip()
    program = os.path.join(prefix, "bin", "lean")
    if not os.path.isabs(prefix) or not os.access(program, os.X_OK):
        raise UsageError(
            f"{on_path} --print-prefix does not say where Lean is installed: {prefix[:200]!r}", hint=INSTALL
        )
    return Installation(os.path.realpath(program), (os.path.realpath(prefix),)), f"{version[1]}.{version[2]}"


class Lean(Checker[list[str]]):
    """A checker of proofs that uses Lean 4. Open one with ``open_lean``."""

    name = "Lean"

    def _server_setup(self) -> ServerSetup:
        lean, _ = installation()
        return ServerSetup(
            server="lean",
            arguments=(lean.program, str(MEMORY_BYTES), str(MAPPED_BYTES)),
            installation=lean,
            memory_bytes=_SESSION_BYTES,
            processes=_THREADS,
            seen_at=_place_of_folder(),
        )

    def _require_usable(self) -> str:
        lean, version = installation()
        if trouble := self._self_test():
            raise UsageError(f"{lean.program}, Lean {version}, cannot be relied on here: {trouble}", hint=INSTALL)
        return version

    def _parse(self, script: str) -> list[str]:
        return tactics_of(script)

    def _check(self, theorem: Theorem, script: list[str], wall_s: float) -> CheckedProof:
        report = self._report(theorem, script, wall_s)
        if report.ended in ("", "crashed") and report.may_blame_theorem:
            self._require_readable(theorem, wall_s)
        return report.verdict(AXIOMS | theorem.axioms)

    def _report(self, theorem: Theorem, script: list[str], wall_s: float) -> Report:
        """Have Lean check the lines of a script, and return its report."""
        file = lean_file(theorem, script, random_name())
        return Report.from_answer(file, self._ask({"source": file.text, "wall_s": wall_s}, wall_s + GRACE_S))

    def _require_readable(self, theorem: Theorem, wall_s: float) -> None:
        """Raise UsageError if the theorem itself is wrong.

        It is checked with ``sorry`` in place of the proof, which Lean accepts for any theorem that it can read.
        """
        report = self._report(theorem, ["sorry"], wall_s)
        error = report.first_error
        if error or (report.ended in ("", "crashed") and report.exit_code != 0):
            reason = " ".join((error.text if error else report.stderr).split())
            raise UsageError(f"Lean cannot read the theorem {theorem.name}: {reason or 'it gives no reason'}")

    def _self_test(self) -> str:
        """Check four proofs whose verdicts are known. Return which verdict was wrong, or an empty string."""

        def check(theorem: Theorem, line: str) -> CheckedProof:
            return self._report(theorem, [line], _SELF_TEST_S).verdict(AXIOMS)

        right = check(_TRUE, "exact Nat.add_comm a b")
        if not right.proved:
            return f"a right proof is not accepted ({_outcome(right)})"
        wrong = check(_TRUE, "rfl")
        if wrong.proved or wrong.line != 1:
            return f"a wrong proof does not fail at its line ({_outcome(wrong)})"
        unproved = check(_TRUE, "sorry")
        if unproved.message != UNPROVED:
            return f"sorry is not noticed ({_outcome(unproved)})"
        assumed = check(_FALSE, "exact False.elim self_test_absurd")
        if "rests on self_test_absurd," not in assumed.message:
            return f"an axiom is not noticed ({_outcome(assumed)})"
        return ""


@contextmanager
def open_lean(level: Level = "full", workers: int | None = None) -> Iterator[Lean]:
    """Open a checker and yield it. It is closed when the block ends.

    It has ``workers`` processes, by default as many as there are processors. Raises UsageError if Lean is not installed, is too
    old, or fails the self-test, and SandboxError if its processes are isolated less well than ``level``.
    """
    lean = Lean(level, workers)
    try:
        yield lean
    finally:
        lean.close()


def _outcome(proof: CheckedProof) -> str:
    """Return the verdict on a proof in a few words, such as "timed_out" or "unsolved goals"."""
    return "it is accepted" if proof.proved else ": ".join(filter(None, (proof.ending, proof.message)))


def _place_of_folder() -> str | None:
    """Return the path at which the confined process sees its working folder, or None for the folder's own path.

    On Linux, Lean reads the link ``/proc/PID/exe`` to find out where it is installed. A process in namespaces of its own has no
    /proc. So its working folder is shown at /proc, and the server makes the link in it.
    """
    if sys.platform != "linux":
        return None
    return PROCESSES if describe_command_isolation(sys.executable).in_force & NAMESPACES else None
