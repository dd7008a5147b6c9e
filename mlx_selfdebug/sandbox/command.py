"""Run a command of a project, such as its test suite, in confinement.

    from mlx_selfdebug.sandbox import run_confined

    done = run_confined([".venv/bin/python", "-m", "pytest"], folder="scratch/project")
    done.ending, done.exit_code, done.stdout

The command is a Python interpreter with its arguments.

- It can read the interpreter's installation, its virtual environment and ``readable``.
- It can write in ``folder``, ``writable`` and a private temporary folder.
- It can start its own interpreter, ``programs`` and no other program.
- It has no network unless that is allowed.
- It sees neither the home folder nor the environment variables nor the processes of the user.

All processes that it has started are gone when ``run_confined`` returns, and also if the calling program is killed. README.md says
which limits are exact, and what is not covered.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache

from mlx_selfdebug.errors import SandboxError
from mlx_selfdebug.sandbox.command_probes import probe_command
from mlx_selfdebug.sandbox.findings_cache import cached_findings, file_identity
from mlx_selfdebug.sandbox.isolation import Isolation, Level, level_of, require_level
from mlx_selfdebug.sandbox.limits import CommandLimits
from mlx_selfdebug.sandbox.prepared_command import CommandRequest, interpreter_of, prepare_command
from mlx_selfdebug.sandbox.processes.confined import run
from mlx_selfdebug.sandbox.processes.outcome import Command, Ending, Outcome

_DEFAULT_LIMITS = CommandLimits()
NAMESPACES = frozenset({"namespaces", "bubblewrap"})
"""The layers that give a command process numbers and a view of the file system of its own. One of them is enough."""


@dataclass(frozen=True)
class Completed:
    """How a confined command ended."""

    ending: Ending
    """What ended the command.

    - ``exited``: the command ended by itself.
    - ``killed``: a signal ended it.
    - ``policy``: the sandbox ended it, because it made a system call that only an attack makes.
    - ``timed_out``, ``output``, ``memory``, ``processes``, ``disk``: it exceeded this limit.
    """
    exit_code: int | None
    """The exit code of the command, or None if a signal ended it."""
    signal: int | None
    """The number of the signal that ended the command, or None if it exited."""
    reason: str
    """What ended the command, in a few words, or an empty text if it exited."""
    stdout: str
    """The end of what all its processes wrote to standard output, up to ``CommandLimits.tail_bytes``."""
    stderr: str
    """The end of what all its processes wrote to standard error, up to the same length."""
    output_bytes: int
    """The number of bytes that were written to standard output and standard error together."""
    wall_s: float
    """Seconds from the start of the command to its end."""
    cpu_s: float
    """Processor seconds of all its processes together."""
    peak_bytes: int
    """The most memory, in bytes, that its processes were seen to hold together."""
    isolation: Level
    """How well commands of this interpreter are isolated on this machine."""

    @classmethod
    def from_outcome(cls, outcome: Outcome, isolation: Level) -> Completed:
        """Return the same outcome, with the status split into an exit code and a signal and with the outputs as text."""
        return cls(
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
            isolation=isolation,
        )

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
    """Run a command in confinement, wait until it ends or exceeds a limit, and return how it ended.

    Args:
        argv: The path of a Python interpreter and its arguments.
        folder: The working folder, in which the command may write: a scratch copy (see ``scratch.py``), not the project itself.
        seen_at: The path at which the command sees ``folder``, which needs namespaces. If it is the path of the project, an
            editable install of the project leads to the scratch copy.
        readable: Further files and folders that the command may read.
        programs: Programs that the command may start besides its interpreter. What they need to read has to be in ``readable``.
        writable: Further folders in which the command may write.
        environment: Variables to set. They are added to ``HOME``, ``LC_ALL``, ``LD_ORIGIN_PATH``, ``PATH``, ``TMPDIR`` and
            ``USER``, which they may replace.
        limits: The resources that the command may use.
        allow_network: Whether the command may use the network of this machine, and with it the services that run here.
        level: The weakest isolation that is accepted. Nothing is run if this machine gives less.
        without: Names of layers to leave out, for tests.

    Raises SandboxError if the isolation is weaker than ``level`` or the command cannot be started, and ValueError if a path does
    not exist or an argument would be a mistake, such as to let the command write in the home folder.
    """
    request = CommandRequest(
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
    with prepare_confined(request, level) as (command, isolation):
        return Completed.from_outcome(run(command), isolation)


@contextmanager
def prepare_confined(request: CommandRequest, level: Level) -> Iterator[tuple[Command, Level]]:
    """Yield the command for a request, with all layers that work here, and the level of its isolation.

    The private folder of the command exists until the block ends. Raises SandboxError if the isolation is weaker than ``level``,
    and ValueError like ``prepare_command``.
    """
    isolation = describe_command_isolation(
        interpreter_of(request.argv), allow_network=request.network, without=request.without
    )
    require_level(isolation, level)
    request = replace(
        request, required=isolation.in_force - {"bubblewrap"}, bubblewrap="bubblewrap" in isolation.in_force
    )
    with prepare_command(request) as command:
        if command.folder != os.path.realpath(request.folder) and not isolation.in_force & NAMESPACES:
            raise SandboxError(
                f"{request.folder} cannot be shown at {request.seen_at} without namespaces, which this machine does not offer",
                hint="leave out seen_at, and let PYTHONPATH name the scratch copy",
            )
        yield command, isolation.level


@cache
def describe_command_isolation(
    interpreter: str, *, allow_network: bool = False, without: frozenset[str] = frozenset(), afresh: bool = False
) -> Isolation:
    """Probe how well this machine isolates commands of this interpreter, and return what was found.

    Probing takes a few seconds. The result is kept until this process ends and, if every probe was stopped, for a day
    (``findings_cache.py``); with ``afresh`` the probes are made again. Raises SandboxError if no confined command can be started
    at all.
    """
    probed = ("commands", interpreter, file_identity(interpreter), allow_network, sorted(without))
    findings = cached_findings(
        probed, lambda: probe_command(interpreter, network=allow_network, without=without), afresh=afresh
    )
    return Isolation(level_of(findings), dict(findings.layers), findings.in_force, findings.probes)
