"""Python, MLX, and how fast it multiplies here."""

from __future__ import annotations

import platform
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Mapping

from mlx_selfdebug.doctor.finding import Finding, judged, ok
from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.machine.versions import installed_version

OLDEST_PYTHON = (3, 11)
SLOW_GFLOPS = 10.0
SIZE = 1024
_BLAS_MEND = "sudo apt-get install libopenblas0-pthread   (or: pip install mkl)"


def examine_software(training_gb: float) -> Iterator[Finding]:
    old = sys.version_info < OLDEST_PYTHON
    yield judged("Python", platform.python_version(), (old, "problem", "make clean && make PYTHON=python3.12"))
    for name in ("mlx-selfdebug", "mlx", "mlx-lm"):
        version = installed_version(name)
        yield judged(name, version or "-", (version is None, "problem", _install()))
    yield from _backend(training_gb)


def _install() -> str:
    return "pip install mlx-selfdebug" if sys.platform == "darwin" else "pip install 'mlx-selfdebug[cpu]'   (or [cuda])"


def _backend(training_gb: float) -> Iterator[Finding]:
    """mlx is imported here and nowhere before, so that a machine without it is still told the rest."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a slow BLAS is a finding, below
            from mlx_selfdebug.models.backend import blas, device_name, mx
    except ModelError as error:
        yield Finding("backend", "problem", "-", f"{error}: {_install()}")
        return
    device = device_name()
    no_gpu = sys.platform == "darwin" and device == "cpu"
    yield judged("backend", device, (no_gpu, "problem", "MLX finds no Metal GPU: run outside a virtual machine"))
    gflops = measure_gflops()
    speed = f"{gflops:.0f} GFLOP/s"
    if device != "cpu":
        yield ok("matrix products", speed)
        if device == "metal":
            yield working_set(mx.device_info(), training_gb)
        return
    yield judged("BLAS", f"{blas.name}, {speed}", (gflops < SLOW_GFLOPS, "warning", _BLAS_MEND))
    compiler = shutil.which("g++") or shutil.which("c++")
    yield judged(
        "C++ compiler", compiler or "-", (not compiler, "warning", "sudo apt-get install g++   (a few percent)")
    )


def working_set(info: Mapping[str, str | int], training_gb: float) -> Finding:
    """What Metal lets one process keep at hand, of ``mx.device_info()``."""
    size = info.get("max_recommended_working_set_size")
    if not isinstance(size, int):
        return ok("GPU memory", "-")
    small = size < training_gb * 1e9
    mend = (
        f"sudo sysctl iogpu.wired_limit_mb={round(training_gb * 1e9 / 2**20)}, or --budget-training-gb {size / 1e9:.0f}"
    )
    return judged("GPU memory", f"{size / 1e9:.1f} GB", (small, "warning", mend))


def measure_gflops(size: int = SIZE, repeats: int = 3) -> float:
    """Best of ``repeats`` float32 products of two ``size`` x ``size`` matrices where MLX computes: 2 size^3 operations each."""
    from mlx_selfdebug.models.backend import mx  # isort: skip

    left, right = mx.random.normal((size, size)), mx.random.normal((size, size))
    mx.eval(left, right)
    best = float("inf")
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        mx.eval(left @ right)
        best = min(best, time.perf_counter() - begin)
        if best > 0.5:  # the reference BLAS: one is enough
            break
    return 2 * size**3 / best / 1e9
