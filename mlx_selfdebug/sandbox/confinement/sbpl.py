"""Write the parts of Apple's sandbox profile language: quoted texts, the spellings of a path, and rules.

A rule names operations and filters, and applies if any of the filters matches. A rule without a filter says what applies where no
filter matches. This module only writes rules; ``seatbelt.py`` and ``seatbelt_command.py`` decide what they allow.

    >>> print(rule("allow", ["file-read*"], [*subpaths(["/usr/lib"]), *literals(["/dev/null"])]))
    (allow file-read*
        (subpath "/usr/lib")
        (literal "/dev/null"))
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence

_LINKS = ("/etc", "/tmp", "/var")
"""Links into /private that every Mac has.

The kernel compares paths after following links, so a rule that names a link never matches.
"""


def quote(text: str) -> str:
    """Return ``text`` as a string literal.

    Raises ValueError if ``text`` contains a control character or cannot be encoded as UTF-8.
    """
    if any(character < " " or character == "\x7f" for character in text):
        raise ValueError(f"a sandbox profile cannot name {text!r}: it holds a control character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"a sandbox profile cannot name {text!r}: it is not UTF-8") from None
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def real_path(path: str) -> str:
    """Return ``path`` after following the links into /private that exist on every Mac.

    Raises ValueError unless the path is absolute and free of ``.``, ``..`` and ``//``.
    """
    if not path.startswith("/") or path.startswith("//") or os.path.normpath(path) != path:
        raise ValueError(f"a sandbox profile needs absolute, normal paths (no '.', '..' or '//'), not {path!r}")
    linked = any(path == link or path.startswith(f"{link}/") for link in _LINKS)
    return f"/private{path}" if linked else path


def spellings(paths: Iterable[str]) -> tuple[str, ...]:
    """Return each real path as it is, with composed accents and with decomposed ones, without repeating equal spellings.

    The kernel compares bytes, and which form a volume keeps depends on its age and on the program that named the file.
    """
    real = [real_path(path) for path in paths]
    forms = [(path, unicodedata.normalize("NFC", path), unicodedata.normalize("NFD", path)) for path in real]
    return tuple(dict.fromkeys(form for group in forms for form in group))


def ancestors(paths: Iterable[str]) -> tuple[str, ...]:
    """Return every folder above one of ``paths`` except the root, sorted."""
    folders = set()
    for path in paths:
        while (path := os.path.dirname(path)) != "/":
            folders.add(path)
    return tuple(sorted(folders))


def literals(paths: Iterable[str]) -> list[str]:
    """Return filters that match exactly these files and folders."""
    return [f"(literal {quote(path)})" for path in spellings(paths)]


def subpaths(paths: Iterable[str]) -> list[str]:
    """Return filters that match these files and folders and everything in them."""
    return [f"(subpath {quote(path)})" for path in spellings(paths)]


def rule(action: str, operations: Sequence[str], filters: Sequence[str] = ()) -> str:
    """Return one rule as text, with each filter on a line of its own. ``action`` is ``allow`` or ``deny``."""
    return "".join([f"({action} {' '.join(operations)}", *(f"\n    {text}" for text in filters), ")"])
