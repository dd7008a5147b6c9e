"""Let an adapter that was exported to PEFT's format be turned back into mlx-lm's format, byte by byte.

An adapter in mlx-lm's format is two files, ``adapter_config.json`` and ``adapters.safetensors``. PEFT's format holds their numbers,
but not the text of the first file, nor the order in which the arrays stand in the second. So the exporter (``exporting/peft.py``)
puts a small record into PEFT's own ``adapter_config.json``:

    "auto_mapping": {"mlx_selfdebug": {
        "settings": "{\\"fine_tune_type\\": \\"lora\\", ...",     the text of mlx-lm's adapter_config.json
        "header": "eNq9m...",                                  the header of adapters.safetensors, compressed, in base64
        "sha256": "3fd1..."}}                                  the SHA-256 of adapters.safetensors

PEFT drops settings that it does not know, but keeps ``auto_mapping`` as it is, and does not use it for an adapter whose task is
known. If the adapter was trained further with PEFT, its weights no longer have the SHA-256, and the record is ignored.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx

import numpy as np

from mlx_selfdebug.models.peft import PeftLayer

MAX_HEADER_BYTES = 100 << 20
"""The maximum length of the header of a safetensors file, as the format defines it."""
_DTYPES = {"F32": mx.float32, "F16": mx.float16, "BF16": mx.bfloat16}
"""The dtypes that an adapter's arrays may have, by their names in a safetensors file."""
_RECORD_ERRORS = (ValueError, KeyError, TypeError, AttributeError, zlib.error, RecursionError)
"""The errors that may be raised if a record has another content than :func:`make_record` writes."""


@dataclass(frozen=True)
class Original:
    """The two files of an adapter in mlx-lm's format."""

    settings: bytes
    """The content of adapter_config.json."""
    weights: bytes
    """The content of adapters.safetensors."""


def make_record(settings: Path, weights: Path) -> dict[str, str]:
    """Return the record of an adapter in mlx-lm's format, given its adapter_config.json and its adapters.safetensors."""
    with weights.open("rb") as file:
        header = file.read(int.from_bytes(file.read(8), "little"))
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "settings": settings.read_bytes().decode("utf-8"),
        "header": base64.b64encode(zlib.compress(header, 9)).decode("ascii"),
        "sha256": sha256,
    }


def restore(record: Mapping[str, Any] | None, layers: Mapping[str, PeftLayer]) -> Original | None:
    """Return the two files of the adapter from which ``layers`` were exported, made again from its ``record``.

    Returns None if there is no record, if the record is damaged, or if the layers have changed since the export.
    """
    if record is None:
        return None
    arrays = {f"{name}.{leaf}": array for name, layer in layers.items() for leaf, array in _leaves(layer).items()}
    try:
        unpacker = zlib.decompressobj()
        header = unpacker.decompress(base64.b64decode(record["header"]), MAX_HEADER_BYTES)
        weights = _weights_file(header, arrays)
        settings = str(record["settings"]).encode("utf-8")
        if not isinstance(json.loads(settings), dict):
            return None
    except _RECORD_ERRORS:
        return None
    return Original(settings, weights) if hashlib.sha256(weights).hexdigest() == record.get("sha256") else None


def _leaves(layer: PeftLayer) -> dict[str, mx.array]:
    """Return the arrays of a layer by their names in mlx-lm."""
    m = {} if layer.m is None else {"m": layer.m}
    return {"lora_a": layer.lora_a, "lora_b": layer.lora_b, **m}


def _weights_file(header: bytes, arrays: Mapping[str, mx.array]) -> bytes:
    """Return the content of a safetensors file with this header and these arrays.

    Raises one of ``_RECORD_ERRORS`` if the header and the arrays do not fit together.
    """
    entries = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
    parts = [len(header).to_bytes(8, "little"), header]
    # PEFT may have widened 16-bit weights to float32, which is undone without loss.
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        array = arrays[name].astype(_DTYPES[entry["dtype"]])
        parts.append(np.array(array.view(mx.uint8), copy=False).tobytes())
    return b"".join(parts)
