from __future__ import annotations

from typing import Any

from mlx_selfdebug.bench.record import Record
from mlx_selfdebug.bench.trial import StageTrials, Trial
from mlx_selfdebug.machine.this_machine import Machine

AIR = Machine("macOS 26.1 (25B78)", "arm64", "Apple M4", 10, 16 * 2**30, 4, 6, 10)
SERVER = Machine("Debian GNU/Linux 12, Linux 6.1", "x86_64", "AMD EPYC", 2, 24 * 2**30)


def trial(wall_s: float = 2.0, **changes: Any) -> Trial:
    return Trial(**{"wall_s": wall_s, "rates": {}, "peak_bytes": 10**9, "mlx_peak_bytes": 5 * 10**8, **changes})


def make_record(machine: Machine = SERVER, device: str = "cpu", **changes: Any) -> Record:
    sample = [
        trial(rates={"decode_alone_tokens_per_s": speed, "decode_tokens_per_s": 4 * speed}) for speed in (9, 10, 11)
    ]
    stages = (
        StageTrials("load", (trial(1.0), trial(2.0), trial(3.0))),
        StageTrials("sample", tuple(sample)),
        StageTrials("train", (trial(rates={"train_tokens_per_s": 500.0}, peak_bytes=3 * 10**9),)),
    )
    values: dict[str, Any] = {
        "machine": machine,
        "device": device,
        "model": "qwen2.5-coder-0.5b",
        "origin": "hub:x@1",
        "parameters": 494_000_000,
        "weights_bytes": 278_000_000,
        "date": "2026-11-24",
        "versions": {"mlx": "0.32.4"},
        "blas": "openblas",
        "isolation": "full",
        "size": {"drafts": 16},
        "stages": stages,
    }
    return Record(**{**values, **changes})
