"""Fix a real project: make its failing tests pass with a small change of one function, and prove it by the whole test suite.

README.md describes the steps, what they are worth, and what is not done. ``fix_project`` is the way in:

    result = fix_project("my_project", test="pytest -q tests")
    if result.fixed:
        apply_change(result.change, result.project)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlx_selfdebug.fixing.applying import apply_change as apply_change
    from mlx_selfdebug.fixing.case import Effort as Effort
    from mlx_selfdebug.fixing.change import Change as Change
    from mlx_selfdebug.fixing.explaining import Explanation as Explanation
    from mlx_selfdebug.fixing.fix import FixSettings as FixSettings
    from mlx_selfdebug.fixing.fix import fix_project as fix_project
    from mlx_selfdebug.fixing.result import Counts as Counts
    from mlx_selfdebug.fixing.result import FixResult as FixResult
    from mlx_selfdebug.projects.command import TestCommand as TestCommand
    from mlx_selfdebug.projects.project import Project as Project
    from mlx_selfdebug.projects.suite import SuiteLimits as SuiteLimits

_MODULES = {  # for each public name, its module within mlx_selfdebug
    "Change": "fixing.change",
    "Counts": "fixing.result",
    "Effort": "fixing.case",
    "Explanation": "fixing.explaining",
    "FixResult": "fixing.result",
    "FixSettings": "fixing.fix",
    "Project": "projects.project",
    "SuiteLimits": "projects.suite",
    "TestCommand": "projects.command",
    "apply_change": "fixing.applying",
    "fix_project": "fixing.fix",
}
__all__ = [
    "Change",
    "Counts",
    "Effort",
    "Explanation",
    "FixResult",
    "FixSettings",
    "Project",
    "SuiteLimits",
    "TestCommand",
    "apply_change",
    "fix_project",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that a project's tests can be run before the code of models is imported."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"mlx_selfdebug.{_MODULES[name]}"), name)
