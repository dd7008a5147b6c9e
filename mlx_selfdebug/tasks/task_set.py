"""Define ``TaskSet``, a named sequence of tasks with unique ids.

>>> from mlx_selfdebug.tasks import Task
>>> tasks = TaskSet("mine", [Task("mine/a", "python", "Return 1.", "one")])
>>> tasks, tasks[:0], tasks.by_id["mine/a"].entry_point
(TaskSet('mine', 1 task), TaskSet('mine', 0 tasks), 'one')
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import overload

from mlx_selfdebug.values.task import Task


class TaskSet(Sequence[Task]):
    """A named, immutable sequence of tasks. A slice of it is a TaskSet of the same name."""

    def __init__(self, name: str, tasks: Iterable[Task]) -> None:
        """Collect ``tasks`` in their order. Raises ValueError if two of them share an id."""
        self.name = name
        self._tasks = tuple(tasks)
        if len(self.by_id) != len(self._tasks):
            raise ValueError(f"task set {name!r}: two tasks share an id")

    @cached_property
    def by_id(self) -> Mapping[str, Task]:
        """The tasks by their ids."""
        return MappingProxyType({task.id: task for task in self._tasks})

    def spread(self, n: int) -> TaskSet:
        """Return ``n`` tasks that are evenly spaced over the set, in order; the whole set if ``n`` is 0 or at least its size."""
        if n == 0 or n >= len(self):
            return self
        return TaskSet(self.name, (self._tasks[i * len(self) // n] for i in range(n)))

    def __len__(self) -> int:
        return len(self._tasks)

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> TaskSet: ...
    def __getitem__(self, index: int | slice) -> Task | TaskSet:
        if isinstance(index, slice):
            return TaskSet(self.name, self._tasks[index])
        return self._tasks[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskSet) and (self.name, self._tasks) == (other.name, other._tasks)

    def __hash__(self) -> int:
        return hash((self.name, self._tasks))

    def __repr__(self) -> str:
        return f"TaskSet({self.name!r}, {len(self)} task{'' if len(self) == 1 else 's'})"
