"""Replace a function of a module or a class while a ``with`` block runs, so that mlx-lm can be changed without a copy of it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def bound(owner: ModuleType | type, name: str, value: Any) -> Iterator[None]:
    """Bind ``owner.name`` to ``value`` inside the ``with`` block, and bind it to its earlier value again afterwards.

    This replaces functions that mlx-lm's models call, because the models look them up at each call. The binding
    holds for the whole process, so the block should contain as little as possible.
    """
    original = inspect.getattr_static(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)
