"""The words of Apple's sandbox profile language: quoting, the spellings of a path, rules. Knows nothing of what is allowed.

A rule names operations and filters, any of which may match; without a filter it states what holds where no filter matches.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence

_LINKS = ("/etc", "/tmp", "/var")
"""Links of every Mac into /private. The kernel compares paths after following links, so a rule that names one never matches."""


def quote(text: str) -> str:
    """``text`` as a string literal; ValueError names what cannot be one: a control character or a name that is not UTF-8."""
    if any(character < " " or character == "\x7f" for character in text):
        raise ValueError(f"a sandbox profile cannot name {text!r}: it holds a control character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"a sandbox profile cannot name {text!r}: it is not UTF-8") from None
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def real_path(path: str) -> str:
    """``path`` with the links of every Mac followed; ValueError unless it is absolute and free of ``.``, ``..`` and ``//``."""
    if not path.startswith("/") or path.startswith("//") or os.path.normpath(path) != path:
        raise ValueError(f"a sandbox profile needs absolute, normal paths, not {path!r}")
    linked = any(path == link or path.startswith(f"{link}/") for link in _LINKS)
    return f"/private{path}" if linked else path


def spellings(paths: Iterable[str]) -> tuple[str, ...]:
    """Each real path once, with composed and with decomposed accents: the kernel compares bytes, and which of them a volume
    keeps depends on its age and on who named the file.
    """
    real = [real_path(path) for path in paths]
    forms = [(path, unicodedata.normalize("NFC", path), unicodedata.normalize("NFD", path)) for path in real]
    return tuple(dict.fromkeys(form for group in forms for form in group))


def ancestors(paths: Iterable[str]) -> tuple[str, ...]:
    """Every folder on the way to ``paths``, the root left out, in sorted order."""
    found = set()
    for path in paths:
        while (path := os.path.dirname(path)) != "/":
            found.add(path)
    return tuple(sorted(found))


def literals(paths: Iterable[str]) -> list[str]:
    """Filters that match these very files and folders."""
    return [f"(literal {quote(path)})" for path in spellings(paths)]


def subpaths(paths: Iterable[str]) -> list[str]:
    """Filters that match these files and folders and all that is in them."""
    return [f"(subpath {quote(path)})" for path in spellings(paths)]


def rule(action: str, operations: Sequence[str], filters: Sequence[str] = ()) -> str:
    """One rule on as many lines as it has filters."""
    return "".join([f"({action} {' '.join(operations)}", *(f"\n    {each}" for each in filters), ")"])
