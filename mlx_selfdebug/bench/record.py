"""Store the measurements of one machine and one model, with every trial, as one JSON file.

Such a file is benchmarks/results/apple-m4-10-gpu-16-gb-qwen2.5-coder-0.5b.json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_selfdebug.bench.trial import StageTrials
from mlx_selfdebug.errors import FormatError, StoreError
from mlx_selfdebug.machine.this_machine import Machine
from mlx_selfdebug.store.codec import parse, plain
from mlx_selfdebug.store.files import write_atomically

FORMAT = 2


@dataclass(frozen=True)
class Record:
    """The measurements of one model on one machine."""

    machine: Machine
    device: str
    """The MLX backend: "metal", "cuda" or "cpu"."""
    model: str
    origin: str
    """The exact weights, by repository and revision or by hash, or "folder" for weights of a local folder."""
    parameters: int
    """The parameters that are multiplied with every token."""
    weights_bytes: int
    """The size of those parameters on disk."""
    date: str
    """The day of the measurement, as YYYY-MM-DD in UTC."""
    versions: Mapping[str, str | None]
    """The versions of the packages that matter, by name."""
    blas: str
    isolation: str
    """The level of confinement of the sandbox."""
    size: Mapping[str, Any]
    """The settings and counts of the work. Records of different sizes are not compared."""
    stages: tuple[StageTrials, ...]

    def stage(self, name: str) -> StageTrials:
        return next((stage for stage in self.stages if stage.name == name), StageTrials(name))

    @property
    def file_name(self) -> str:
        machine = self.machine
        cores = f"{machine.gpu_cores} gpu" if machine.gpu_cores else f"{machine.cores or 0} cores"
        memory = f"{round(machine.memory_bytes / 2**30)} gb"
        text = f"{machine.chip or machine.architecture} {cores} {memory} {Path(self.model).name}"
        backend = "" if self.device == "metal" else f" {self.device}"
        return re.sub(r"[^a-z0-9.]+", "-", f"{text}{backend}".lower()).strip("-.") + ".json"

    def to_dict(self) -> dict[str, Any]:
        return {"format": FORMAT, **plain(self)}

    def save(self, folder: str | Path) -> Path:
        """Write the record into ``folder``, in place of an earlier one of the same machine and model, and return its path.

        Raises StoreError.
        """
        path = Path(folder) / self.file_name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{path.parent} cannot be created: {error.strerror}", hint="choose another folder with --results"
            ) from error
        write_atomically(path, json.dumps(self.to_dict(), indent=1) + "\n")
        return path


def parse_record(data: Any) -> Record:
    """Build a record from the data of its file. Raises ValueError, which lists everything that does not fit."""
    if not isinstance(data, dict) or "format" not in data:
        raise ValueError("it is not an object with a format")
    if data["format"] != FORMAT:
        raise ValueError(f"the format is {data['format']!r}, but only {FORMAT} can be read")
    record: Record = parse(Record, {name: value for name, value in data.items() if name != "format"})
    return record


def read_records(folder: str | Path) -> list[Record]:
    """Read every record in ``folder``, in the order of the file names.

    Raises FormatError, which lists every file that is not a record.
    """
    records, problems = [], []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            records.append(parse_record(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError) as error:
            problems.append(f"{path} is not a record of `mlx-selfdebug bench`: {error}")
    if problems:
        raise FormatError("\n  ".join(problems), hint="remove or repair these files")
    return records
