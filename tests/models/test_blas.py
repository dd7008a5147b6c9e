from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.models import blas

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="BLAS is loaded on Linux only")


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "always", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=dict(blas.os.environ) | environment, check=False)


NOTHING = ("libnothing.so.0",)


def test_without_a_fast_blas_it_warns_and_says_what_to_install() -> None:
    with pytest.warns(blas.SlowBlasWarning, match="libopenblas0-pthread.*pip install mkl"):
        assert blas.choose_blas(NOTHING) == blas.Blas("reference")


def test_it_is_loaded_once_however_often_it_is_asked_for() -> None:
    assert blas.load_blas() is blas.load_blas()


def test_mlx_imported_before_is_told_as_too_late() -> None:
    with pytest.warns(blas.SlowBlasWarning, match="before mlx"):
        assert blas.choose_blas(NOTHING, mlx_is_imported=True) == blas.Blas("reference")


def test_an_override_that_is_no_library_is_refused() -> None:
    with pytest.raises(ModelError, match=r"MLX_SELFDEBUG_BLAS=/nonexistent/lib\.so"):
        blas.choose_blas(NOTHING, override="/nonexistent/lib.so")


def test_nothing_is_loaded_on_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas.sys, "platform", "darwin")
    assert blas.load_blas.__wrapped__() == blas.Blas("accelerate")


@linux_only
def test_nothing_is_loaded_where_the_cuda_backend_is_installed(tmp_path: Path) -> None:
    installed = tmp_path / "mlx_cuda_13-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: mlx-cuda-13\nVersion: 1.0\n")
    code = "from mlx_selfdebug.models.blas import load_blas; print(load_blas())"
    assert python(code, PYTHONPATH=str(tmp_path)).stdout == "Blas(name='cuda', path=None, core='')\n"


@linux_only
def test_the_library_found_is_mapped_before_mlx() -> None:
    code = (
        "from mlx_selfdebug.models.backend import blas, mx\n"
        "maps = open('/proc/self/maps').read()\n"
        "print(blas.name, blas.path is None or blas.path in maps, mx.sum(mx.ones(3)).item())"
    )
    name, mapped, total = python(code).stdout.split()
    assert (mapped, total) == ("True", "3.0")
    assert name in {"openblas", "mkl", "reference", "cuda"}


@linux_only
def test_an_override_is_what_gets_loaded(tmp_path: Path) -> None:
    found = python("from mlx_selfdebug.models.blas import load_blas; print(load_blas().path)").stdout.strip()
    if found == "None":
        pytest.skip("no BLAS here to name")
    link = tmp_path / "libopenblas-of-mine.so"
    link.symlink_to(found)
    code = "from mlx_selfdebug.models.blas import load_blas; print(load_blas().name)"
    assert python(code, MLX_SELFDEBUG_BLAS=str(link)).stdout.strip() == python(code).stdout.strip()


AVX2 = {"sse2", "avx", "avx2", "fma"}
AVX512 = {*AVX2, "avx512f", "avx512cd", "avx512dq", "avx512bw", "avx512vl"}


@pytest.mark.parametrize(
    ("flags", "cores"),
    [(AVX512, ["SKYLAKEX", "HASWELL"]), (AVX2, ["HASWELL"]), (AVX512 - {"avx512vl"}, ["HASWELL"]), ({"sse2"}, [])],
)
def test_kernels_are_chosen_by_the_instructions_that_the_processor_has(flags: set[str], cores: list[str]) -> None:
    assert blas.better_cores(flags) == cores


@linux_only
def test_an_openblas_that_chose_kernels_of_an_old_processor_is_loaded_again(tmp_path: Path) -> None:
    if not blas.better_cores(blas.processor_flags()):
        pytest.skip("this processor has no newer kernels")
    # The first load sees the variable, as if OpenBLAS did not know this processor, and the second does not.
    code = (
        "import ctypes, os\n"
        "from mlx_selfdebug.models.blas import core_of, with_better_kernels, _candidates\n"
        "os.environ['OPENBLAS_CORETYPE'] = 'PRESCOTT'\n"
        "for name in _candidates():\n"
        "    try: library = ctypes.CDLL(name)\n"
        "    except OSError: continue\n"
        "    before = core_of(library)\n"
        "    kept = core_of(with_better_kernels(library, name))\n"
        "    del os.environ['OPENBLAS_CORETYPE']\n"
        "    print(before, kept, core_of(with_better_kernels(library, name)), os.environ.get('OPENBLAS_CORETYPE'))\n"
        "    break\n"
    )
    words = python(code).stdout.split()
    if not words or words[0] != "Prescott":
        pytest.skip("no OpenBLAS here that has several kernels")
    assert words[1] == "Prescott"  # what the user has named is kept
    assert words[2] in {"SkylakeX", "Haswell"}
    assert words[3] == "None"


def test_importing_the_models_room_imports_no_mlx() -> None:
    code = (
        "import sys, mlx_selfdebug.models, mlx_selfdebug.models.resolve, mlx_selfdebug.models.wheels\n"
        "import mlx_selfdebug.models.gguf_import, mlx_selfdebug.models.hub\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('mlx', 'mlx_lm', 'transformers')])"
    )
    assert python(code).stdout.strip() == "[]"
