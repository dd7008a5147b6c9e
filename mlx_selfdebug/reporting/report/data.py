"""Turn the records of a run into plain data for JSON, with the verdicts that follow from them.

Numbers that are not finite become None, because JSON has no form for them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from mlx_selfdebug.config import flatten
from mlx_selfdebug.evaluation.evidence import Evidence, HalfEvidence
from mlx_selfdebug.reporting.records import Records
from mlx_selfdebug.reporting.report.headline import headline


def report_data(records: Records) -> dict[str, Any]:
    """Return the report as a dictionary. Its keys are "headline" and the fields of :class:`Records`.

    The field ``attempts`` is left out, because ``mlx-selfdebug runs export`` writes the attempts.
    """
    names = [item.name for item in fields(records) if item.name not in ("attempts", "config", "evidence")]
    data = {name: _plain(getattr(records, name)) for name in names}
    evidence = records.evidence
    return {
        "headline": _plain(headline(records)),
        **data,
        "config": flatten(records.config),
        "evidence": _evidence(evidence) if evidence else None,
    }


def _evidence(evidence: Evidence) -> dict[str, Any]:
    """Return the evidence as plain data. ``_plain`` converts only fields, so what properties compute is added here and below."""
    data = _half(evidence)
    if evidence.gate:
        data["gate"] = _plain(evidence.gate.to_dict())
    return data | {"bugs": _half(evidence.bugs) if evidence.bugs else None}


def _half(half: HalfEvidence) -> dict[str, Any]:
    """Return the evidence of one half as plain data, with the verdicts of its contrasts."""
    data: dict[str, Any] = _plain(half)
    if half.primary:
        data["primary"] |= {"verdict": half.primary.verdict, "p_values": list(half.primary.p_values)}
    for entry, contrast in zip(data["contrasts"], half.contrasts, strict=True):
        entry |= {"gain": contrast.gain, "verdict": contrast.verdict}
    for entry, searching in zip(data["searching"], half.searching, strict=True):
        entry["verdict"] = searching.verdict
    return data


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it: dataclasses and mappings as dictionaries, sequences as lists, paths as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
