"""Find what a sandboxed program may read: the interpreter's standard library and the shared libraries that it needs.

``reach.py`` also runs the source of this module in the interpreter of a project. So the module imports only the standard library,
and keeps to what Python 3.9 understands.
"""

from __future__ import annotations

import glob
import os
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_DATA = (
    "/etc/localtime",
    "/etc/ld.so.cache",
    "/usr/share/zoneinfo",
    "/usr/lib/locale",
    "/usr/share/locale/locale.alias",
)
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")


@dataclass(frozen=True)
class Layout:
    """The paths that a sandboxed program may read.

    All of them are absolute and exist. All are real paths except ``files``, since a library is found by the name of its link.
    """

    executable: str
    """The interpreter itself, outside any virtual environment."""
    stdlib: tuple[str, ...]
    """Folders of the standard library. Everything in them may be read except what is in ``hidden``."""
    hidden: tuple[str, ...] = ()
    """Folders inside ``stdlib`` and ``libraries`` that may not be read, such as site-packages."""
    libraries: tuple[str, ...] = ()
    """Folders of shared libraries. Everything in them may be read except what is in ``hidden``."""
    files: tuple[str, ...] = ()
    """Single files, devices and folders of data that may be read."""
    packages: tuple[str, ...] = ()
    """Extra packages that may be read."""


@dataclass(frozen=True)
class Plan:
    """What a zygote is confined to."""

    layout: Layout
    keep_fds: tuple[int, ...]
    """The only descriptors that stay open in the zygote. Descriptors 0 to 2 are closed as well unless they are listed."""
    without: frozenset[str] = frozenset()
    """Names of layers to leave out, for tests."""


def this_interpreter(packages: Sequence[str] = ()) -> Layout:
    """Return the layout of the running interpreter. If it belongs to a virtual environment, return that of the base interpreter.

    ``packages`` are the top-level names of packages that may be read. They are located without being imported. Raises ValueError if
    one is not installed.
    """
    stdlib = _stdlib()
    libraries = tuple(path for path in _library_folders() if path not in stdlib)
    return Layout(
        executable=os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
        stdlib=stdlib,
        hidden=_hidden(stdlib, libraries),
        libraries=libraries,
        files=tuple(path for path in (*_DEVICES, *_DATA, *_library_files(libraries)) if os.path.exists(path)),
        packages=tuple(path for name in packages for path in _package(name)),
    )


def _stdlib() -> tuple[str, ...]:
    # In a virtual environment, sysconfig would name the folders of the environment, so the base prefixes are put in.
    variables = dict.fromkeys(("base", "installed_base"), sys.base_prefix)
    variables |= dict.fromkeys(("platbase", "installed_platbase"), sys.base_exec_prefix)
    folders = [sysconfig.get_path(name, vars=variables) for name in ("stdlib", "platstdlib")]
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    return _outermost([*folders, *(path for path in sys.path if path.endswith(("lib-dynload", archive)))])


def _library_folders() -> tuple[str, ...]:
    if sys.platform == "darwin":
        return _homebrew()
    machine = sysconfig.get_config_var("MULTIARCH") or "none"
    return _outermost([f"/lib/{machine}", f"/usr/lib/{machine}", "/lib64", "/usr/lib64"])


def _homebrew() -> tuple[str, ...]:
    """Return the folders of all Homebrew packages if this Python comes from Homebrew, and none otherwise.

    Python's extension modules load libraries of other Homebrew packages, which lie beside Python's own.
    """
    parts = os.path.realpath(sys.base_prefix).split("/Cellar/")
    return _outermost([f"{parts[0]}/Cellar", f"{parts[0]}/opt"]) if len(parts) > 1 else ()


def _library_files(folders: tuple[str, ...]) -> list[str]:
    """Return single libraries from folders that hold much else as well, such as /usr/lib.

    Folders that may be read as a whole are left out. A library keeps the name of its link, by which the loader looks for it.
    """
    prefix = os.path.realpath(sys.base_prefix)
    own = os.path.join(prefix, "lib")
    patterns = [f"{folder}/*.so*" for folder in (own, "/lib", "/usr/lib") if os.path.realpath(folder) not in folders]
    framework = os.path.join(prefix, "Python")  # the library of a framework build
    mac = [*glob.glob(f"{glob.escape(own)}/*.dylib"), framework] if sys.platform == "darwin" else []
    paths = [path for pattern in patterns for path in glob.glob(pattern)]
    return sorted(
        {os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)) for path in paths + mac}
    )


def _hidden(*groups: tuple[str, ...]) -> tuple[str, ...]:
    """Return the folders of installed packages that lie directly in the given folders or in a ``python*`` folder there."""
    folders = [folder for group in groups for folder in group]
    patterns = [
        f"{glob.escape(folder)}{inner}/{name}"
        for folder in folders
        for inner in ("", "/python*")
        for name in _PACKAGE_FOLDERS
    ]
    return tuple(sorted(path for pattern in patterns for path in glob.glob(pattern) if os.path.isdir(path)))


def _package(name: str) -> list[str]:
    """Return the paths of an installed package. Raises ValueError if there is no such package."""
    # Imported here because the sandboxed processes import this module and need only the classes.
    from importlib.util import find_spec

    spec = find_spec(name) if name.isidentifier() else None
    locations = list(spec.submodule_search_locations or [spec.origin or ""]) if spec else []
    paths = [os.path.realpath(path) for path in locations if os.path.exists(path)]
    if not paths:
        raise ValueError(f"the package {name!r} is not installed in this interpreter ({sys.executable})")
    # A wheel installs the shared libraries that it brings in a folder beside the package.
    return paths + [path + ".libs" for path in paths if os.path.isdir(path + ".libs")]


def _outermost(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the real paths of the existing ones among ``paths``, sorted, without those that lie inside others."""
    real = sorted({os.path.realpath(path) for path in paths if os.path.exists(path)})
    return tuple(path for path in real if not any(path.startswith(other + "/") for other in real))
