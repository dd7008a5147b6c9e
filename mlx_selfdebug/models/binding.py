"""Bind a name in a module to another value for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def bound(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    """Bind ``module.name`` to ``value`` inside the block, and to its earlier value after it.

    mlx-lm's models look their functions up in their modules. So a function can be replaced in this way, without a copy of the
    model. The binding holds for the whole process, so the block should contain as little as possible.
    """
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
