"""Models: from a name to a network and its tokenizer. Nothing heavy is imported before it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlx_selfdebug.models.catalog import ALIASES as ALIASES
    from mlx_selfdebug.models.load import Model as Model
    from mlx_selfdebug.models.load import load_model as load_model
    from mlx_selfdebug.models.resolve import ResolvedModel as ResolvedModel
    from mlx_selfdebug.models.resolve import resolve_model as resolve_model

_HOMES = {
    "ALIASES": "catalog",
    "Model": "load",
    "ResolvedModel": "resolve",
    "load_model": "load",
    "resolve_model": "resolve",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
