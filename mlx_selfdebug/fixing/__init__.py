"""Repair a real project: make its failing tests pass with a small change of one function, and prove it by its whole test suite.

README.md says how it goes about it, what it is worth, and what it does not do.
"""

from mlx_selfdebug.fixing.applying import apply_change
from mlx_selfdebug.fixing.change import Change
from mlx_selfdebug.fixing.explaining import Explained
from mlx_selfdebug.fixing.fix import FixSettings, fix_project
from mlx_selfdebug.fixing.notebook import fix
from mlx_selfdebug.fixing.project import Project, TestCommand
from mlx_selfdebug.fixing.proposing import Effort
from mlx_selfdebug.fixing.result import Counts, FixResult
from mlx_selfdebug.fixing.suite import SuiteLimits

__all__ = [
    "Change",
    "Counts",
    "Effort",
    "Explained",
    "FixResult",
    "FixSettings",
    "Project",
    "SuiteLimits",
    "TestCommand",
    "apply_change",
    "fix",
    "fix_project",
]
