"""Load sets of tasks. A task is a request for code, with the checks that decide whether an answer is right.

README.md beside this file describes the sets and the format of your own task files.

>>> from mlx_selfdebug.tasks import load_tasks
>>> load_tasks("starter")[:2]
TaskSet('starter', 2 tasks)
"""

from mlx_selfdebug.tasks.load import load_tasks
from mlx_selfdebug.tasks.task_set import TaskSet
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task

__all__ = ["Checks", "Task", "TaskSet", "load_tasks"]
