"""The candidate's process, from the fork until it serves: descriptors, limits, confinement."""

from __future__ import annotations

import builtins
import gc
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from mlx_selfdebug.sandbox.confinement.system import ChildConfinement
from mlx_selfdebug.sandbox.processes.limits import close_from, renumber, set_limits
from mlx_selfdebug.sandbox.wire import codec

CHANNEL = 3
_READY = codec.pack_header(codec.READY, 0, 0)
_PRIVATE = (
    ("_selfdebug_codec", "../wire/codec.py"),
    ("_selfdebug_references", "references.py"),
    ("_selfdebug_programs", "programs.py"),
    ("_selfdebug_tracing", "tracing.py"),
    ("_selfdebug_answers", "answers.py"),
)


def load_private_modules() -> Any:
    """The module that serves, and the codec, with the built-ins they were born with: a program that patches built-ins
    does not break its own answers.
    """
    for name, file in _PRIVATE:
        module = sys.modules[name] = type(sys)(name)
        module.__dict__["__builtins__"] = dict(vars(builtins))
        source = (Path(__file__).parent / file).read_text("utf-8")
        exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)
    return module


def main(
    answers: Any, channel: int, cpu_s: int, address_space: int, output_bytes: int, confinement: ChildConfinement
) -> NoReturn:
    renumber(channel)
    set_limits(cpu_s, address_space)
    confinement.apply()
    close_from(CHANNEL + 1)
    gc.enable()
    os.write(CHANNEL, _READY)
    answers.serve(CHANNEL, output_bytes)
    raise AssertionError("serving never ends")
