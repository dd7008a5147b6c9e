"""Run a command of a project confined, such as its test suite.

    from mlx_selfdebug.sandbox import run_confined

    done = run_confined([".venv/bin/python", "-m", "pytest"], folder="scratch/project")
    done.ending, done.exit_code, done.stdout

The command is a Python interpreter with its arguments. It can read the interpreter's installation, its virtual environment and
``readable``; it can write in ``folder``, ``writable`` and a private temporary folder; it can start its own interpreter, those of
``programs`` and no other program; it has no network unless that is allowed. It sees no home, no environment variables and no outer
process. All that it has started is gone when ``run_confined`` returns, and also if the calling program is killed.

README.md says which limits are exact, and what is not covered.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache

from mlx_selfdebug.errors import SandboxError
from mlx_selfdebug.sandbox.command_probes import probe_command
from mlx_selfdebug.sandbox.isolation import Isolation, Level, level_of, require_level
from mlx_selfdebug.sandbox.limits import CommandLimits
from mlx_selfdebug.sandbox.prepared_command import Wanted, interpreter_of, prepared
from mlx_selfdebug.sandbox.processes.confined import run
from mlx_selfdebug.sandbox.processes.outcome import Command, Ending, Outcome
from mlx_selfdebug.sandbox.remembered import remembered, seen

_DEFAULT_LIMITS = CommandLimits()
NAMESPACES = frozenset({"namespaces", "bubblewrap"})
"""The layers with which a command has a view of the file system, and process numbers, of its own."""


@dataclass(frozen=True)
class Completed:
    """How a confined command ended."""

    ending: Ending
    """``exited``, ``killed``, ``timed_out``, ``output``, ``memory``, ``processes``, ``disk`` or ``policy``."""
    exit_code: int | None
    """The exit code of the command, or None if a signal ended it."""
    signal: int | None
    """The number of the signal that ended the command, or None if it exited."""
    reason: str
    """What ended the command, in a few words, unless it exited."""
    stdout: str
    """The end of what all its processes wrote to standard output, up to ``CommandLimits.tail_bytes``."""
    stderr: str
    output_bytes: int
    """The number of all bytes that were written to both."""
    wall_s: float
    cpu_s: float
    """Processor seconds of all its processes together."""
    peak_bytes: int
    """The most memory that its processes were seen to hold together."""
    isolation: Level
    """How well commands of this interpreter are isolated on this machine."""

    @property
    def succeeded(self) -> bool:
        """Whether the command ended by itself with exit code 0. A test suite that does so may still have cheated."""
        return self.ending == "exited" and self.exit_code == 0


def run_confined(
    argv: Sequence[str],
    *,
    folder: str | os.PathLike[str],
    seen_at: str | os.PathLike[str] | None = None,
    readable: Sequence[str | os.PathLike[str]] = (),
    programs: Sequence[str | os.PathLike[str]] = (),
    writable: Sequence[str | os.PathLike[str]] = (),
    environment: Mapping[str, str] | None = None,
    limits: CommandLimits = _DEFAULT_LIMITS,
    allow_network: bool = False,
    level: Level = "full",
    without: frozenset[str] = frozenset(),
) -> Completed:
    """Run a command confined, wait until it ends or exceeds a limit, and return how it ended.

    Args:
        argv: The path of a Python interpreter and its arguments.
        folder: The working folder, in which the command may write: a scratch copy (see ``scratch.py``), not the project itself.
        seen_at: The path at which the command sees ``folder``, where there are namespaces. With the path of the project here, an
            editable install of the project leads to the scratch copy.
        readable: Further files and folders that the command may read.
        programs: Programs that the command may start beside its interpreter. What they need to read has to be in ``readable``.
        writable: Further folders that it may write in.
        environment: Variables beside ``HOME``, ``LC_ALL``, ``LD_ORIGIN_PATH``, ``PATH``, ``TMPDIR`` and ``USER``, or for these.
        limits: The resources that the command may use.
        allow_network: Whether it may use the network of this machine, which includes its local services.
        level: The isolation that is required. Nothing is run if this machine gives less.
        without: Names of layers to leave out, for tests.

    Raises SandboxError if the isolation is weaker than ``level`` or the command cannot be started, and ValueError if an argument
    makes no sense.
    """
    wanted = Wanted(
        argv=tuple(argv),
        folder=os.fspath(folder),
        seen_at=os.fspath(seen_at or ""),
        readable=tuple(os.fspath(path) for path in readable),
        programs=tuple(os.fspath(path) for path in programs),
        writable=tuple(os.fspath(path) for path in writable),
        environment=environment or {},
        limits=limits,
        network=allow_network,
        without=without,
    )
    with confinable(wanted, level) as (command, isolation):
        return completed(run(command), isolation)


@contextmanager
def confinable(wanted: Wanted, level: Level) -> Iterator[tuple[Command, Level]]:
    """Give the command that is wanted, and how well it will be isolated. What it needs on the disk exists until the block ends.

    Raises SandboxError if the isolation is weaker than ``level``, and ValueError if something is wanted that makes no sense.
    """
    isolation = describe_command_isolation(
        interpreter_of(wanted.argv), allow_network=wanted.network, without=wanted.without
    )
    require_level(isolation, level)
    with_layers = replace(
        wanted, required=isolation.in_force - {"bubblewrap"}, bubblewrap="bubblewrap" in isolation.in_force
    )
    with prepared(with_layers) as command:
        if command.folder != os.path.realpath(wanted.folder) and not isolation.in_force & NAMESPACES:
            raise SandboxError(
                f"{wanted.folder} cannot be shown at {wanted.seen_at} without namespaces, which this machine does not offer",
                hint="leave out seen_at, and let PYTHONPATH name the scratch copy",
            )
        yield command, isolation.level


@cache
def describe_command_isolation(
    interpreter: str, *, allow_network: bool = False, without: frozenset[str] = frozenset(), afresh: bool = False
) -> Isolation:
    """Return how well commands of this interpreter are isolated on this machine, which the probes find out.

    Probing takes a few seconds. The result is kept until this process ends and, if it is the best, for a day (``remembered.py``);
    with ``afresh`` the probes are made again. Raises SandboxError if no confined command can be started at all.
    """
    what = ("commands", interpreter, seen(interpreter), allow_network, sorted(without))
    findings = remembered(
        what, lambda: probe_command(interpreter, network=allow_network, without=without), afresh=afresh
    )
    return Isolation(level_of(findings), dict(findings.layers), findings.in_force, findings.probes)


def completed(outcome: Outcome, level: Level) -> Completed:
    """Return how a command ended in the words of the public function."""
    return Completed(
        ending=outcome.ending,
        exit_code=outcome.status if outcome.status >= 0 else None,
        signal=-outcome.status if outcome.status < 0 else None,
        reason=outcome.reason,
        stdout=outcome.stdout.text(),
        stderr=outcome.stderr.text(),
        output_bytes=outcome.stdout.n_bytes + outcome.stderr.n_bytes,
        wall_s=outcome.wall_s,
        cpu_s=outcome.cpu_s,
        peak_bytes=outcome.peak_bytes,
        isolation=level,
    )
