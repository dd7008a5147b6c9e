from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from mlx_selfdebug.sandbox.confinement.layout import Layout, this_interpreter
from mlx_selfdebug.sandbox.confinement.linux import LAYERS
from tests.sandbox.confinement.room import Room, outside

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="confines on Linux")


@pytest.fixture(scope="session")
def names() -> Iterator[dict[str, Any]]:
    """What probes may try to reach."""
    with outside() as reachable:
        yield reachable | paths_of(this_interpreter())


@pytest.fixture(scope="session")
def possible() -> tuple[str, ...]:
    """The layers this machine allows."""
    return layers_here()


@cache
def layers_here() -> tuple[str, ...]:
    if sys.platform != "linux":
        return ()
    with Room() as room:
        return room.layers


def paths_of(layout: Layout) -> dict[str, str]:
    stdlib = layout.stdlib[0]
    return {"SITE": next(iter(layout.hidden), f"{stdlib}/site-packages"), "STDLIB": stdlib}


def is_root() -> bool:
    return os.getuid() == 0


def subsets() -> list[frozenset[str]]:
    return [frozenset(name for i, name in enumerate(LAYERS) if bits >> i & 1) for bits in range(1 << len(LAYERS))]
