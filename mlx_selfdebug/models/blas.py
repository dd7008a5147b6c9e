"""Load a fast BLAS for the CPU backend on Linux, before mlx is imported.

The ``mlx-cpu`` wheel contains the reference BLAS. A library that is loaded earlier with ``RTLD_GLOBAL`` takes its
place, which makes float32 matrix products up to 100 times faster (896x4864 by 1024 rows on two cores: 52 ms instead of
5158 ms). The library has to be loaded before the first ``import mlx.core`` of the process. This module does not import
mlx.

    from mlx_selfdebug.models.blas import load_blas
    load_blas()        # Blas(name='openblas', path='/usr/lib/x86_64-linux-gnu/libopenblas.so.0', core='Zen')
"""

from __future__ import annotations

import _ctypes
import ctypes
import importlib.metadata
import logging
import os
import site
import sys
import warnings
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from mlx_selfdebug.errors import ModelError

logger = logging.getLogger(__name__)

BlasName = Literal["openblas", "mkl", "other", "reference", "accelerate", "cuda"]

OVERRIDE = "MLX_SELFDEBUG_BLAS"
"""The environment variable that names a library to use instead of searching."""
_OPENBLAS = ("libopenblasp.so.0", "libopenblas.so.0")
_MKL = ("libmkl_rt.so.3", "libmkl_rt.so.2")
_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu/openblas-pthread",
    "/usr/lib/aarch64-linux-gnu/openblas-pthread",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
    "/opt/OpenBLAS/lib",
)
"""The folders where Linux distributions and OpenBLAS's own installation put the library."""
_CORE_TYPE = "OPENBLAS_CORETYPE"
"""The environment variable that makes OpenBLAS take the kernels for a kind of processor."""
_OLD_CORES = frozenset({"Prescott", "Core2", "Penryn", "Dunnington", "Atom", "Nehalem"})
"""OpenBLAS's names for Intel processors without AVX."""
_NEEDED_FLAGS = {
    "SKYLAKEX": ("avx512f", "avx512cd", "avx512dq", "avx512bw", "avx512vl", "avx2", "fma"),
    "HASWELL": ("avx2", "fma"),
}
"""The instruction sets, as Linux names them, that OpenBLAS's kernels for a kind of processor need. The fastest come first."""
_INSTALL = "Install one: `apt-get install libopenblas0-pthread` (Debian, Ubuntu) or `pip install mkl`."


class SlowBlasWarning(UserWarning):
    """A warning that mlx runs on the reference BLAS: results are right, but about 100 times slower than they could be."""


@dataclass(frozen=True)
class Blas:
    """The BLAS that mlx's CPU backend uses."""

    name: BlasName
    path: str | None = None
    """The file of the fast BLAS in this process; None if mlx uses the library that it was built with."""
    core: str = ""
    """The kind of processor for which OpenBLAS has chosen its kernels, such as "SkylakeX"; "" if it is not known."""


@cache
def load_blas() -> Blas:
    """Load the first fast BLAS that is found, and return it.

    This happens once per process: later calls return what the first call returned. Nothing is loaded on macOS, where mlx
    uses Accelerate, or where mlx's CUDA backend is installed. ``MLX_SELFDEBUG_BLAS`` names a library to use instead of
    searching. If there is no fast BLAS, or if mlx was imported before, a :class:`SlowBlasWarning` is issued.

    Raises:
        ModelError: ``MLX_SELFDEBUG_BLAS`` names a file that cannot be loaded or is not a BLAS.
    """
    if sys.platform != "linux":
        return Blas("accelerate")
    if _has_cuda():
        return Blas("cuda")
    if mapped := _already_mapped():
        return mapped
    return choose_blas(_candidates(), override=os.environ.get(OVERRIDE, ""), mlx_is_imported="mlx.core" in sys.modules)


def choose_blas(candidates: Iterable[str], *, override: str = "", mlx_is_imported: bool = False) -> Blas:
    """Load a fast BLAS and return it: the library ``override`` if that is given, or else the first of ``candidates`` that is one.

    Nothing is loaded if mlx has been imported, because that would be too late. In this case, and if there is no fast BLAS, a
    :class:`SlowBlasWarning` is issued. Raises ModelError if ``override`` is not a BLAS that can be loaded.
    """
    if mlx_is_imported:
        _warn("mlx was imported before a fast BLAS could be loaded. Import mlx_selfdebug.models.backend before mlx.")
        return Blas("reference")
    if override:
        blas = _try_to_load(override)
        if blas is None:
            raise ModelError(
                f"{OVERRIDE}={override} is not a BLAS library that can be loaded",
                hint=f"unset {OVERRIDE}, or set it to a libopenblas.so.0 or libmkl_rt.so.2",
            )
        return blas
    for name in candidates:
        if (blas := _try_to_load(name)) is not None:
            return blas
    _warn(f"No OpenBLAS or MKL was found: matrix products on the CPU will be about 100 times slower. {_INSTALL}")
    return Blas("reference")


def _warn(message: str) -> None:
    """Issue a :class:`SlowBlasWarning`."""
    warnings.warn(message, SlowBlasWarning, stacklevel=4)  # The warning shows the caller of load_blas.


def _candidates() -> Iterator[str]:
    """Yield the libraries to try, in order: names for the loader's own search, and files in known folders.

    The known folders are ``_FOLDERS``, then the folder of this Python, and then the folder of the user's own packages.
    """
    yield from _OPENBLAS
    folders = [*map(Path, _FOLDERS), Path(sys.prefix) / "lib", Path(site.getuserbase()) / "lib"]
    for names in (_OPENBLAS, _MKL):
        yield from (str(folder / name) for folder in folders for name in names if (folder / name).is_file())
    yield from _MKL


def _try_to_load(name: str) -> Blas | None:
    """Load the library ``name`` for the whole process and return it, or return None if it does not exist or is of no use.

    A library is of use if it has the CBLAS symbols with 32-bit integers that mlx calls.
    """
    try:
        loaded = ctypes.CDLL(name)
        if not hasattr(loaded, "cblas_sgemm"):
            return None
        loaded = with_better_kernels(loaded, name)
        ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return None
    blas = replace(_already_mapped() or Blas("other", name), core=core_of(loaded))
    logger.debug("loaded the BLAS %s from %s", blas.name, blas.path)
    return blas


def core_of(library: ctypes.CDLL) -> str:
    """Return the kind of processor for which a loaded OpenBLAS has chosen its kernels, or "" for any other library."""
    try:
        get_core_name = library.openblas_get_corename
    except AttributeError:
        return ""
    get_core_name.restype = ctypes.c_char_p
    return (get_core_name() or b"").decode(errors="replace")


def with_better_kernels(library: ctypes.CDLL, name: str) -> ctypes.CDLL:
    """Load the library ``name`` again with faster kernels if it is an OpenBLAS that has chosen kernels without AVX.

    OpenBLAS up to 0.3.24 chooses such kernels on Intel processors that are newer than itself, and is four times slower with them
    (its issue 4267). The environment variable that names the kernels is only read while the library is loaded. If the user has
    set this variable, nothing is changed. Returns the library that is loaded in the end.
    """
    if _CORE_TYPE in os.environ or core_of(library) not in _OLD_CORES:
        return library
    for core in better_cores(processor_flags()):
        _ctypes.dlclose(library._handle)
        os.environ[_CORE_TYPE] = core
        try:
            library = ctypes.CDLL(name)
        finally:
            del os.environ[_CORE_TYPE]
        if core_of(library) not in _OLD_CORES:
            break
    return library


def better_cores(flags: Container[str]) -> list[str]:
    """Return the kinds of processors whose kernels a processor with these ``flags`` can run, the fastest kernels first."""
    return [core for core, needed in _NEEDED_FLAGS.items() if all(flag in flags for flag in needed)]


def processor_flags() -> frozenset[str]:
    """Return the instruction sets of this processor, as Linux names them. On other systems, the set is empty."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))


def _already_mapped() -> Blas | None:
    """Return the fast BLAS that is mapped in this process, no matter whether this module or LD_PRELOAD loaded it.

    NumPy's private copy of OpenBLAS does not count. Its file name is different.
    """
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return None
    for path in (line.split(maxsplit=5)[-1] for line in lines if ".so" in line):
        base = path.rsplit("/", 1)[-1]
        if base.startswith("libopenblas"):
            return Blas("openblas", path)
        if base.startswith("libmkl_rt"):
            return Blas("mkl", path)
    return None


def _has_cuda() -> bool:
    """Return whether a wheel of mlx's CUDA backend is installed."""
    return any((dist.name or "").lower().startswith("mlx-cuda") for dist in importlib.metadata.distributions())
