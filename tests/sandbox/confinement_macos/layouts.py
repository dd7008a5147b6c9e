"""How interpreters and projects lie on Macs, written by hand: where the files of each are, and what must stay out of reach."""

from __future__ import annotations

from dataclasses import dataclass

from mlx_selfdebug.sandbox.confinement.layout import Layout

DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
DATA = ("/etc/localtime", "/usr/share/zoneinfo")


@dataclass(frozen=True)
class Installation:
    """``starts`` are the programs that run when it is started; ``home`` is the user's folder."""

    layout: Layout
    starts: tuple[str, ...]
    home: str = "/Users/ana"

    @property
    def stdlib(self) -> str:
        return self.layout.stdlib[0]


def _unix(
    prefix: str, home: str = "/Users/ana", libraries: tuple[str, ...] = (), packages: tuple[str, ...] = ()
) -> Installation:
    executable, stdlib = f"{prefix}/bin/python3.12", f"{prefix}/lib/python3.12"
    layout = Layout(
        executable,
        (stdlib, f"{prefix}/lib/python312.zip"),
        (f"{stdlib}/site-packages",),
        libraries,
        (*DEVICES, *DATA, f"{prefix}/lib/libpython3.12.dylib"),
        packages,
    )
    return Installation(layout, (executable,), home)


def _framework(home: str, libraries: tuple[str, ...] = (), packages: tuple[str, ...] = ()) -> Installation:
    executable, stdlib = f"{home}/bin/python3.12", f"{home}/lib/python3.12"
    layout = Layout(
        executable,
        (stdlib,),
        (f"{stdlib}/site-packages",),
        libraries,
        (*DEVICES, *DATA, f"{home}/lib/libssl.3.dylib", f"{home}/Python"),
        packages,
    )
    return Installation(layout, (executable, f"{home}/Resources/Python.app/Contents/MacOS/Python"))


_PYTHON_ORG = "/Library/Frameworks/Python.framework/Versions/3.12"
_CELLAR = "/opt/homebrew/Cellar"
_VENV_PACKAGES = "/Users/ana/work/.venv/lib/python3.12/site-packages"

INSTALLATIONS = {
    "venv_on_framework": _framework(_PYTHON_ORG, packages=(f"{_VENV_PACKAGES}/numpy",)),
    "homebrew": _framework(
        f"{_CELLAR}/python@3.12/3.12.7_1/Frameworks/Python.framework/Versions/3.12",
        libraries=(_CELLAR, "/opt/homebrew/opt"),
    ),
    "uv": _unix("/Users/ana/.local/share/uv/python/cpython-3.12.7-macos-aarch64-none"),
    "pyenv": _unix(
        "/Users/ana/.pyenv/versions/3.12.7", libraries=("/opt/homebrew/Cellar/openssl@3/3.4.0/lib", "/opt/homebrew/opt")
    ),
    "conda": _unix(
        "/Users/ana/miniconda3/envs/train",
        libraries=("/Users/ana/miniconda3/envs/train/lib",),
        packages=("/Users/ana/miniconda3/envs/train/lib/python3.12/site-packages/numpy",),
    ),
    "spaces_accents_quotes": _unix(
        '/Volumes/Ana\u2019s "Big" Disk/caf\u00e9 \\ bar/python 3', home="/Users/An\u00e4 M"
    ),
    "behind_links": _unix("/var/tools/py", libraries=("/tmp/lib",)),
}
"""By name of golden file. The last lies behind /var and /tmp, links into /private on every Mac."""

PROJECT = "/Users/ana/projects/shapes"
ENVIRONMENT = f"{PROJECT}/.venv"
SCRATCH = "/private/var/folders/x1/abc/T/mlx-selfdebug-501/scratch-1/shapes"
TEMPORARY = "/private/var/folders/x1/abc/T/mlx-selfdebug-501/command-1"
