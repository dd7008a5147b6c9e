"""Tell from the place where an exception was raised whether the checks themselves are broken."""

from __future__ import annotations

from mlx_selfdebug.sandbox.grading import namespace

_CHECKS_FILES = ("<setup>", "<checks>")
_NAMESPACE_FILE = namespace.__file__


def is_missing_name(error: BaseException) -> bool:
    """Return whether the checks raised this error because they use a name or a module that does not exist.

    A local name without a value does not count, since whether it gets one may depend on what the candidate returned. Python raises
    UnboundLocalError for it, or a NameError about a "free variable" if an inner function uses it.
    """
    if not isinstance(error, NameError | ImportError) or isinstance(error, UnboundLocalError):
        return False
    return "free variable" not in str(error) and _raising_file(error) in _CHECKS_FILES


def _raising_file(error: BaseException) -> str:
    """Return the file of the innermost frame that does not belong to the import machinery."""
    traceback, raising_file = error.__traceback__, ""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        # The checks' ``__import__`` is defined in namespace.py and belongs to that machinery.
        if not (file.startswith("<frozen importlib") or file == _NAMESPACE_FILE):
            raising_file = file
        traceback = traceback.tb_next
    return raising_file
