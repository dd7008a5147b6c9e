"""One profile a kind of installation, to be read. After a wanted change: ``UPDATE_GOLDEN=1 python -m pytest tests/sandbox``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlx_selfdebug.sandbox.confinement.seatbelt import profile

from .layouts import INSTALLATIONS

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_the_profile_is_the_one_that_was_read(name: str) -> None:
    text = profile(INSTALLATIONS[name].layout, executables=[])
    path = GOLDEN / f"{name}.sb"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")


def test_every_golden_file_has_its_installation() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(INSTALLATIONS)
