"""Decide from where an exception was raised whether it shows that the checks themselves are broken."""

from __future__ import annotations

from mlx_selfdebug.sandbox.grading import namespace

_CHECKS_FILES = ("<setup>", "<checks>")
_NAMESPACE_FILE = namespace.__file__


def is_missing_name(error: BaseException) -> bool:
    """Return whether the error is about a name or module that the checks lack.

    A local name that is not bound yet does not count: that may be due to a value that the candidate returned.
    """
    if not isinstance(error, NameError | ImportError) or isinstance(error, UnboundLocalError):
        return False
    return "free variable" not in str(error) and _last_file(error) in _CHECKS_FILES


def _last_file(error: BaseException) -> str:
    """Return the file of the innermost frame that does not belong to the import machinery."""
    tb, file = error.__traceback__, ""
    while tb is not None:
        name = tb.tb_frame.f_code.co_filename
        file = name if name in _CHECKS_FILES or not _is_import(name) else file
        tb = tb.tb_next
    return file


def _is_import(file: str) -> bool:
    return file.startswith("<frozen importlib") or file == _NAMESPACE_FILE
