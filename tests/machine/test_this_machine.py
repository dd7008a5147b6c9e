from __future__ import annotations

import psutil

from mlx_selfdebug.machine.this_machine import hardware, read_machine, read_state
from mlx_selfdebug.machine.versions import installed_version, versions


def test_this_machine_is_described() -> None:
    found = read_machine()
    assert found.memory_bytes == psutil.virtual_memory().total
    assert found.system
    assert read_state().swap_used_bytes is not None
    assert hardware()["machine"] == found.architecture


def test_what_is_not_installed_has_no_version() -> None:
    assert installed_version("no-such-distribution") is None
    assert all(versions().values())
