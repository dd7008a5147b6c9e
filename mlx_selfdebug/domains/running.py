"""Open a test runner with the packages that the domains of the given tasks need for their tests."""

from __future__ import annotations

from collections.abc import Iterable

from mlx_selfdebug.config import SandboxConfig
from mlx_selfdebug.domains import packages_of
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.values.task import Task


def open_runner(config: SandboxConfig, tasks: Iterable[Task] = (), *, allow_weak_sandbox: bool = False) -> TestRunner:
    """Open a test runner within the limits of ``config``, whose programs can import what the domains of ``tasks`` need.

    The caller has to close it. Raises SandboxError if programs cannot be fully confined on this machine, unless a weak sandbox is
    allowed, and UsageError if a domain needs a package that is not installed.
    """
    packages = packages_of({task.domain for task in tasks})
    limits = Limits(wall_s=config.wall_s, cpu_s=config.cpu_s, memory_bytes=config.memory_mb * 10**6)
    return TestRunner(config.workers, limits, "none" if allow_weak_sandbox else "full", packages=packages)
