"""Set up the candidate's process after the fork, with descriptors, limits and confinement, and then let it serve."""

from __future__ import annotations

import builtins
import gc
import os
import sys
from _sitebuiltins import Quitter
from pathlib import Path
from typing import Any, NoReturn

from mlx_selfdebug.sandbox.confinement.system import ChildConfinement
from mlx_selfdebug.sandbox.processes.limits import close_from, renumber, set_limits
from mlx_selfdebug.sandbox.wire import codec

CHANNEL = 3
"""The descriptor of the channel to the grader."""
_READY = codec.pack_header(codec.READY, 0, 0)
_PRIVATE = (
    ("_selfdebug_codec", "../wire/codec.py"),
    ("_selfdebug_unboxing", "unboxing.py"),
    ("_selfdebug_references", "references.py"),
    ("_selfdebug_programs", "programs.py"),
    ("_selfdebug_tracing", "tracing.py"),
    ("_selfdebug_answers", "answers.py"),
)


def load_private_modules() -> Any:
    """Load the modules that serve in the candidate's process, and return the one that answers requests.

    Each module gets a copy of the built-ins of its own, so that a program that patches built-ins does not break its own answers.
    """
    # The interpreter runs without the module site, which would define these two.
    builtins.exit, builtins.quit = Quitter("exit", "Ctrl-D (i.e. EOF)"), Quitter("quit", "Ctrl-D (i.e. EOF)")
    for name, file in _PRIVATE:
        module = sys.modules[name] = type(sys)(name)
        module.__dict__["__builtins__"] = dict(vars(builtins))
        source = (Path(__file__).parent / file).read_text("utf-8")
        exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)
    return module


def main(
    answers: Any, channel: int, cpu_s: int, address_space: int, output_bytes: int, confinement: ChildConfinement
) -> NoReturn:
    """Set up this process, tell the grader that it is ready, and answer requests until the channel closes."""
    renumber(channel)
    set_limits(cpu_s, address_space)
    confinement.apply()
    close_from(CHANNEL + 1)
    gc.enable()
    os.write(CHANNEL, _READY)
    answers.serve(CHANNEL, output_bytes)
    raise AssertionError("serving never ends")
