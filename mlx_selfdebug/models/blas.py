"""Load a fast BLAS for the CPU backend on Linux, before mlx is imported.

The ``mlx-cpu`` wheel contains the reference BLAS. A library that was loaded earlier with ``RTLD_GLOBAL`` takes its
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
_CORE_TYPE = "OPENBLAS_CORETYPE"
_OLD_CORES = frozenset({"Prescott", "Core2", "Penryn", "Dunnington", "Atom", "Nehalem"})
"""What OpenBLAS calls processors of Intel without AVX."""
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

    This happens once per process: later calls return the first call's answer. Nothing is loaded on macOS, where mlx
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
    """Load the library that ``override`` names, or else the first of ``candidates`` that is a fast BLAS, and return it.

    Nothing is loaded if mlx has been imported, since it would be too late. Then, or if there is no fast BLAS, a
    :class:`SlowBlasWarning` is issued. Raises ModelError if ``override`` is not a BLAS that can be loaded.
    """
    if mlx_is_imported:
        _warn("mlx was imported before a fast BLAS could be loaded. Import mlx_selfdebug.models.backend before mlx.")
        return Blas("reference")
    if override:
        return _load_override(override)
    return next((library for name in candidates if (library := _try(name)) is not None), None) or _nothing_found()


def _load_override(path: str) -> Blas:
    library = _try(path)
    if library is None:
        raise ModelError(
            f"{OVERRIDE}={path} is not a BLAS library that can be loaded",
            hint=f"unset {OVERRIDE}, or set it to a libopenblas.so.0 or libmkl_rt.so.2",
        )
    return library


def _nothing_found() -> Blas:
    _warn(f"No OpenBLAS or MKL was found: matrix products on the CPU will be about 100 times slower. {_INSTALL}")
    return Blas("reference")


def _warn(message: str) -> None:
    warnings.warn(message, SlowBlasWarning, stacklevel=5)


def _candidates() -> Iterator[str]:
    """Yield names for the loader's own search, and files in the distribution's folders and then under this Python's prefix."""
    yield from _OPENBLAS
    folders = [*map(Path, _FOLDERS), Path(sys.prefix) / "lib", Path(site.getuserbase()) / "lib"]
    for names in (_OPENBLAS, _MKL):
        yield from (str(folder / name) for folder in folders for name in names if (folder / name).is_file())
    yield from _MKL


def _try(name: str) -> Blas | None:
    """Load ``name`` for the whole process if it exists and has the 32-bit-integer CBLAS symbols that mlx calls."""
    try:
        loaded = ctypes.CDLL(name)
        if not hasattr(loaded, "cblas_sgemm"):
            return None
        loaded = with_better_kernels(loaded, name)
        ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return None
    library = replace(_already_mapped() or Blas("other", name), core=core_of(loaded))
    logger.debug("loaded the BLAS %s from %s", library.name, library.path)
    return library


def core_of(library: ctypes.CDLL) -> str:
    """Return the kind of processor for which a loaded OpenBLAS has chosen its kernels; "" if it is another library."""
    try:
        name = library.openblas_get_corename
    except AttributeError:
        return ""
    name.restype = ctypes.c_char_p
    return (name() or b"").decode(errors="replace")


def with_better_kernels(library: ctypes.CDLL, name: str) -> ctypes.CDLL:
    """Load OpenBLAS again for the instructions that this processor has, if it has chosen kernels from before there was AVX2.

    OpenBLAS up to 0.3.24 does so on Intel processors that are newer than itself, and is four times slower then (its issue 4267).
    The environment variable that names the kernels is only read while the library is loaded. One that the user has set is kept.
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
    """Return the kinds of processors whose kernels run on one with these ``flags``, the fastest first."""
    needed = {
        "SKYLAKEX": ("avx512f", "avx512cd", "avx512dq", "avx512bw", "avx512vl", "avx2", "fma"),
        "HASWELL": ("avx2", "fma"),
    }
    return [core for core, names in needed.items() if all(name in flags for name in names)]


def processor_flags() -> frozenset[str]:
    """Return the names of the instructions that this processor has, as Linux lists them; none elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))


def _already_mapped() -> Blas | None:
    """Return the fast BLAS that this process has mapped, whether we loaded it or LD_PRELOAD did.

    NumPy's private copy has another file name and is not taken for one.
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
    return any((dist.name or "").lower().startswith("mlx-cuda") for dist in importlib.metadata.distributions())
