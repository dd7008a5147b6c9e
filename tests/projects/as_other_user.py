"""The attacks as user nobody, for ``test_hostile_suites.py``: prints what went wrong as JSON."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

NOBODY = 65534


def main() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    from mlx_selfdebug.sandbox import describe_command_isolation
    from tests.projects.hostile_place import Place
    from tests.projects.hostile_tests import ATTACKS

    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), "unittest")
        with place.open() as suite:
            found = {name: wrong for name in ATTACKS if (wrong := place.attacked(suite, name))}
    level = describe_command_isolation(sys.executable).level
    json.dump({"uid": os.getuid(), "level": level, "wrong": found}, sys.stdout)


if __name__ == "__main__":
    main()
