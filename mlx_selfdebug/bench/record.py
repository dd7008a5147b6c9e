"""Store the measurements of one model on one machine, with every trial, as one JSON file.

The name of the file says what was measured, such as ``apple-m4-10-gpu-16-gb-qwen2.5-coder-0.5b.json``.
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
"""The version of the file format. Files of another version are refused."""


@dataclass(frozen=True)
class Record:
    """The measurements of one model on one machine."""

    machine: Machine
    """The hardware and the operating system."""
    device: str
    """The MLX backend: "metal", "cuda" or "cpu"."""
    model: str
    """The alias or the repository of the model, or the name of a local folder."""
    origin: str
    """The repository and revision, or the hash, of the exact weights; "folder" for the weights of a local folder."""
    parameters: int
    """The number of parameters that are multiplied with every token."""
    weights_bytes: int
    """The size of these parameters on disk, in bytes."""
    date: str
    """The day of the measurement, as YYYY-MM-DD in UTC."""
    versions: Mapping[str, str | None]
    """The versions of the packages that matter, by name; None for a package that is not installed."""
    blas: str
    """The name of the library that multiplies matrices on the CPU."""
    isolation: str
    """The level to which the sandbox confines programs."""
    size: Mapping[str, Any]
    """The settings and counts that determine the amount of work in a stage. Only records of the same size are compared."""
    stages: tuple[StageTrials, ...]
    """The trials of each stage that was measured."""

    def stage(self, name: str) -> StageTrials:
        """Return the trials of the stage ``name``. If it was not measured, they are empty."""
        return next((stage for stage in self.stages if stage.name == name), StageTrials(name))

    @property
    def file_name(self) -> str:
        """The name of the record's file, which says the machine, the model and, except for Metal, the backend."""
        machine = self.machine
        cores = f"{machine.gpu_cores} gpu" if machine.gpu_cores else f"{machine.cores or 0} cores"
        memory = f"{round(machine.memory_bytes / 2**30)} gb"
        text = f"{machine.chip or machine.architecture} {cores} {memory} {Path(self.model).name}"
        backend = "" if self.device == "metal" else f" {self.device}"
        return re.sub(r"[^a-z0-9.]+", "-", f"{text}{backend}".lower()).strip("-.") + ".json"

    def to_dict(self) -> dict[str, Any]:
        """Return the record as the JSON data of its file."""
        return {"format": FORMAT, **plain(self)}

    def save(self, folder: str | Path) -> Path:
        """Write the record into ``folder``, and return the path of its file.

        An earlier record of the same machine, model and backend is replaced. Raises StoreError if the folder cannot be created or
        the file cannot be written.
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
    """Return the record that the JSON data of a file describes. Raises ValueError, which lists everything that does not fit."""
    if not isinstance(data, dict) or "format" not in data:
        raise ValueError("it is not an object with a format")
    if data["format"] != FORMAT:
        raise ValueError(f"the format is {data['format']!r}, but only {FORMAT} can be read")
    record: Record = parse(Record, {name: value for name, value in data.items() if name != "format"})
    return record


def read_records(folder: str | Path) -> list[Record]:
    """Return all records in ``folder``, in the order of their file names.

    Raises FormatError, which lists every JSON file that is not a record.
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
