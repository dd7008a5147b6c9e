from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlx_selfdebug.sandbox import Limits, TestRunner


@pytest.fixture(scope="session")
def runner() -> Iterator[TestRunner]:
    """Limits so wide that a busy machine never decides a test."""
    with TestRunner(workers=3, limits=Limits(wall_s=60, cpu_s=60)) as runner:
        yield runner
