"""The corpus as user nobody, for ``test_hostile_commands.py``: prints what went wrong as JSON."""

from __future__ import annotations

import json
import os
import sys

NOBODY = 65534


def main() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    from mlx_selfdebug.sandbox import describe_command_isolation
    from tests.sandbox.command.corpus import ATTEMPTS, PROGRAMS
    from tests.sandbox.command.running import not_contained, outside, run_all, statuses_of

    with outside() as there:
        futures = run_all(PROGRAMS, sys.executable, there)
        found = {
            "uid": os.getuid(),
            "level": describe_command_isolation(sys.executable).level,
            "not contained": not_contained(ATTEMPTS, statuses_of(ATTEMPTS, sys.executable, there)),
            "wrong": {name: future.result() for name, future in futures.items() if future.result()},
            "outside": there.changes(),
        }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
