"""Set up the candidate's process after the fork, with its descriptors, limits and confinement, and let it answer requests."""

from __future__ import annotations

import builtins
import gc
import os
import sys
from _sitebuiltins import Quitter
from pathlib import Path
from typing import NoReturn, Protocol, cast

from mlx_selfdebug.sandbox.confinement.system import ChildConfinement
from mlx_selfdebug.sandbox.processes.limits import close_from, renumber, set_limits
from mlx_selfdebug.sandbox.wire import codec

CHANNEL = 3
"""The descriptor of the channel to the grader."""
_READY = codec.pack_header(codec.READY, 0, 0)
_PRIVATE_MODULES = (
    ("_selfdebug_codec", "../wire/codec.py"),
    ("_selfdebug_unboxing", "unboxing.py"),
    ("_selfdebug_references", "references.py"),
    ("_selfdebug_programs", "programs.py"),
    ("_selfdebug_tracing", "tracing.py"),
    ("_selfdebug_answers", "answers.py"),
)
"""The modules that work in the candidate's process: the name under which each is imported, and its file.

They are loaded under names of their own, without the package around them. Each comes after those that it imports.
"""


class Answers(Protocol):
    """The module that answers requests, answers.py."""

    def warm_up(self) -> None:
        """Do in the zygote what every run does."""

    def serve(self, channel: int, output_bytes: int) -> NoReturn:
        """Load the candidate's source and answer requests until the channel closes."""


def load_private_modules() -> Answers:
    """Load the modules that work in the candidate's process, and return the one that answers requests.

    Each module gets a copy of the built-ins of its own, so that a program that patches built-ins does not break its own answers.
    """
    # These two are defined by the module site, without which the interpreter runs.
    builtins.exit, builtins.quit = Quitter("exit", "Ctrl-D (i.e. EOF)"), Quitter("quit", "Ctrl-D (i.e. EOF)")
    for name, file in _PRIVATE_MODULES:
        module = sys.modules[name] = type(sys)(name)
        module.__dict__["__builtins__"] = dict(vars(builtins))
        source = (Path(__file__).parent / file).read_text("utf-8")
        exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)
    return cast(Answers, module)


def main(
    answers: Answers, channel: int, cpu_s: int, address_space: int, output_bytes: int, confinement: ChildConfinement
) -> NoReturn:
    """Set up this process, tell the grader that it is ready, and answer requests until the channel closes.

    ``channel`` is the descriptor of the channel to the grader. ``cpu_s`` (processor seconds) and ``address_space`` (bytes) are the
    limits of this process, and 0 means no limit. A reply has at most ``output_bytes``.
    """
    renumber(channel)
    set_limits(cpu_s, address_space)
    confinement.apply()
    close_from(CHANNEL + 1)
    gc.enable()
    os.write(CHANNEL, _READY)
    answers.serve(CHANNEL, output_bytes)
    raise AssertionError("serving never ends")
