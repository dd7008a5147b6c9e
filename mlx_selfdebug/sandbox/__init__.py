"""Run untrusted programs against checks, and the commands of a project, in confinement.

``TestRunner`` tests programs. A program that it reports as passed did pass. ``run_confined`` and ``confined_session`` run a
command, such as a test suite, in a scratch copy of its project. README.md says what both protect against and what they do not
cover.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlx_selfdebug.sandbox.command import Completed as Completed
    from mlx_selfdebug.sandbox.command import describe_command_isolation as describe_command_isolation
    from mlx_selfdebug.sandbox.command import run_confined as run_confined
    from mlx_selfdebug.sandbox.executed import Executed as Executed
    from mlx_selfdebug.sandbox.executed import ExecutedCall as ExecutedCall
    from mlx_selfdebug.sandbox.isolation import describe_isolation as describe_isolation
    from mlx_selfdebug.sandbox.isolation import isolation_notice as isolation_notice
    from mlx_selfdebug.sandbox.limits import CommandLimits as CommandLimits
    from mlx_selfdebug.sandbox.limits import Limits as Limits
    from mlx_selfdebug.sandbox.runner import TestRunner as TestRunner
    from mlx_selfdebug.sandbox.scratch import Scratch as Scratch
    from mlx_selfdebug.sandbox.scratch import scratch_copy as scratch_copy
    from mlx_selfdebug.sandbox.session import Session as Session
    from mlx_selfdebug.sandbox.session import confined_session as confined_session
    from mlx_selfdebug.values.verdict import ErrorFact as ErrorFact
    from mlx_selfdebug.values.verdict import Failure as Failure
    from mlx_selfdebug.values.verdict import Verdict as Verdict

_MODULES = {
    "CommandLimits": "sandbox.limits",
    "Completed": "sandbox.command",
    "ErrorFact": "values.verdict",
    "Executed": "sandbox.executed",
    "ExecutedCall": "sandbox.executed",
    "Failure": "values.verdict",
    "Limits": "sandbox.limits",
    "Scratch": "sandbox.scratch",
    "Session": "sandbox.session",
    "TestRunner": "sandbox.runner",
    "Verdict": "values.verdict",
    "confined_session": "sandbox.session",
    "describe_command_isolation": "sandbox.command",
    "describe_isolation": "sandbox.isolation",
    "isolation_notice": "sandbox.isolation",
    "run_confined": "sandbox.command",
    "scratch_copy": "sandbox.scratch",
}
__all__ = [
    "CommandLimits",
    "Completed",
    "ErrorFact",
    "Executed",
    "ExecutedCall",
    "Failure",
    "Limits",
    "Scratch",
    "Session",
    "TestRunner",
    "Verdict",
    "confined_session",
    "describe_command_isolation",
    "describe_isolation",
    "isolation_notice",
    "run_confined",
    "scratch_copy",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for.

    The sandboxed processes import modules of the folders below this one. They would otherwise load the code that starts such
    processes as well.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"mlx_selfdebug.{_MODULES[name]}"), name)
