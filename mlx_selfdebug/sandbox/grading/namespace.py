"""Build the namespace in which the code of the checks runs.

In it, ``random`` is seeded, ``print`` prints nothing and ``input`` fails. ``pytest`` is a small module of our own, and the tools of
tools.py, such as ``raises``, are builtins. ``isinstance`` and ``callable`` take a handle of a candidate's object (see handles.py)
for the object itself.
"""

from __future__ import annotations

import builtins
import random
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from mlx_selfdebug.sandbox.grading.handles import own_callable, own_isinstance
from mlx_selfdebug.sandbox.grading.tools import TOOLS, pytest_module

SEED = 0
"""The seed of the random numbers that checks draw."""


def trusted_namespace(name: str = "checks") -> dict[str, Any]:
    """Return globals for the code of checks, in a module called ``name``.

    Each call makes a new ``random``, so that a verdict is the same in every run and threads share no state.
    """
    own_modules = {"random": _seeded_random(), "pytest": pytest_module()}

    def import_(
        module: str,
        globals_: Mapping[str, object] | None = None,
        locals_: Mapping[str, object] | None = None,
        names: Sequence[str] | None = None,
        level: int = 0,
    ) -> ModuleType:
        if module in own_modules and level == 0:
            return own_modules[module]
        return builtins.__import__(module, globals_, locals_, names or (), level)

    own_builtins = {
        **vars(builtins),
        **TOOLS,
        "__import__": import_,
        "print": _silent,
        "input": _no_input,
        "isinstance": own_isinstance,
        "callable": own_callable,
    }
    return {"__name__": name, "__builtins__": own_builtins}


def _seeded_random() -> ModuleType:
    """Return a module like ``random`` whose functions draw from a generator of their own, seeded with ``SEED``."""
    module = ModuleType("random")
    generator = random.Random(SEED)
    for name in random.__all__:
        # The classes, such as Random, are those of the real module. The functions are methods of the generator.
        module.__dict__[name] = getattr(random if name[0].isupper() else generator, name)
    return module


def _silent(*_: object, **__: object) -> None:
    return None


def _no_input(*_: object) -> str:
    raise EOFError("checks cannot ask for input")
