"""Adapters whose weights nobody reads."""

from __future__ import annotations

import json
from pathlib import Path

WEIGHTS = b"\x02\0\0\0\0\0\0\0{}" + bytes(5000)
SETTINGS = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": {"rank": 8, "scale": 2.0, "dropout": 0.0}}


def write_adapter(folder: Path, **settings: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapters.safetensors").write_bytes(WEIGHTS)
    (folder / "adapter_config.json").write_text(json.dumps({**SETTINGS, **settings}))
    return folder
