"""Check Python and MLX, and measure how fast MLX multiplies matrices here."""

from __future__ import annotations

import platform
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mlx_selfdebug.doctor.finding import Finding, judged, ok
from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.machine.versions import installed_version

if TYPE_CHECKING:
    from mlx_selfdebug.training.fused_attention import Shape

MIN_PYTHON = (3, 11)
"""The oldest version of Python that the package runs on."""
MIN_GFLOPS = 10.0
"""A CPU that multiplies matrices more slowly than this most likely has no optimized BLAS."""
MATRIX_SIZE = 1024
"""The number of rows and columns of the matrices that are multiplied."""
REFERENCE_S = 0.5
"""A product that takes longer than this many seconds shows that there is no optimized BLAS, so it is not repeated."""
_BLAS_REMEDY = "sudo apt-get install libopenblas0-pthread   (or: pip install mkl)"


def examine_software(training_gb: float) -> Iterator[Finding]:
    """Yield the findings about Python, the packages and MLX's backend. ``training_gb`` is the memory budget of training."""
    is_old = sys.version_info < MIN_PYTHON
    yield judged("Python", platform.python_version(), (is_old, "problem", "make clean && make PYTHON=python3.12"))
    for name in ("mlx-selfdebug", "mlx", "mlx-lm"):
        version = installed_version(name)
        yield judged(name, version or "-", (version is None, "problem", _install()))
    yield from _backend(training_gb)


def _install() -> str:
    return "pip install mlx-selfdebug" if sys.platform == "darwin" else "pip install 'mlx-selfdebug[cpu]'   (or [cuda])"


def _backend(training_gb: float) -> Iterator[Finding]:
    """Yield the findings about MLX's backend. mlx is imported only here, so that a machine without it gets the other findings."""
    try:
        with warnings.catch_warnings():
            # The warning about a slow BLAS is not shown, because it becomes a finding below.
            warnings.simplefilter("ignore")
            from mlx_selfdebug.models.backend import blas, device_name, mx
    except ModelError as error:
        yield Finding("backend", "problem", "-", f"{error}: {_install()}")
        return
    device = device_name()
    no_gpu = sys.platform == "darwin" and device == "cpu"
    yield judged("backend", device, (no_gpu, "problem", "MLX finds no Metal GPU: run it outside a virtual machine"))
    gflops = measure_gflops()
    speed = f"{gflops:.0f} GFLOP/s"
    if device != "cpu":
        yield ok("matrix products", speed)
        if device == "metal":
            yield working_set(mx.device_info(), training_gb)
        from mlx_selfdebug.training.fused_attention import Shape

        # The shape of the default model.
        yield training_attention(Shape(heads=14, key_heads=2, size=64, value_size=64, dtype=mx.bfloat16))
        return
    name = f"{blas.name} for {blas.core}" if blas.core else blas.name
    yield judged("BLAS", f"{name}, {speed}", (gflops < MIN_GFLOPS, "warning", _BLAS_REMEDY))
    compiler = shutil.which("g++") or shutil.which("c++")
    yield judged(
        "C++ compiler", compiler or "-", (not compiler, "warning", "sudo apt-get install g++   (gains a few percent)")
    )


def working_set(info: Mapping[str, str | int], training_gb: float) -> Finding:
    """Check how much memory Metal lets one process keep resident. ``info`` is what ``mx.device_info()`` returns."""
    size = info.get("max_recommended_working_set_size")
    if not isinstance(size, int):
        return ok("GPU memory", "-")
    is_small = size < training_gb * 1e9
    remedy = (
        f"sudo sysctl iogpu.wired_limit_mb={round(training_gb * 1e9 / 2**20)}, or --budget-training-gb {size / 1e9:.0f}"
    )
    return judged("GPU memory", f"{size / 1e9:.1f} GB", (is_small, "warning", remedy))


def training_attention(shape: Shape) -> Finding:
    """Tell which attention a training uses for ``shape``, by trying MLX's own beside ours."""
    from mlx_selfdebug.training.attention import causal_attention
    from mlx_selfdebug.training.fused_attention import is_better, try_both

    try:
        ours, theirs = try_both(shape, causal_attention)
    except (RuntimeError, ValueError) as error:
        return ok("training attention", f"ours (MLX's own: {error})")
    name = "MLX's own" if is_better(ours, theirs) else "ours"
    figures = (
        f"{theirs.peak_bytes / ours.peak_bytes:.2f} times our peak, error {theirs.error:.1e} against {ours.error:.1e}"
    )
    return ok("training attention", f"{name} (MLX's own has {figures})")


def measure_gflops(size: int = MATRIX_SIZE, repeats: int = 3) -> float:
    """Return the GFLOP/s of the fastest of several float32 products of two ``size`` x ``size`` matrices.

    A product takes 2 size^3 operations. Of ``repeats`` + 1 products, the fastest counts.
    """
    from mlx_selfdebug.models.backend import mx  # isort: skip

    left, right = mx.random.normal((size, size)), mx.random.normal((size, size))
    mx.eval(left, right)
    best = float("inf")
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        mx.eval(left @ right)
        best = min(best, time.perf_counter() - begin)
        if best > REFERENCE_S:
            break
    return 2 * size**3 / best / 1e9
