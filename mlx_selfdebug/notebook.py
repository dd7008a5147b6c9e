"""How values look in a notebook: as small tables of HTML, and as data frames where pandas is installed.

    attempts = sd.collect(run, model, tasks)      # a table: the first rows, long texts cut
    attempts.to_frame().groupby("task_id").passed.mean()

Everything is escaped: what a model wrote stays text. Colours are the notebook's own, light or dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Protocol, SupportsIndex, TypeVar, overload

from mlx_selfdebug.errors import UsageError

ROWS_SHOWN = 20
CELL = 80
"""Characters of a cell in a table of many rows."""
WHOLE = 20_000
"""Characters of a text that is shown by itself."""


class Record(Protocol):
    def to_record(self) -> dict[str, Any]:
        """Flat: column -> text, number or truth value."""


T = TypeVar("T", bound=Record)


class Shown:
    """A value that shows itself. Give it ``to_record``."""

    def to_record(self) -> dict[str, Any]:
        raise NotImplementedError

    def to_frame(self) -> Any:
        """A pandas frame of one row. Raises UsageError where pandas is missing."""
        return frame([self.to_record()])

    def _repr_html_(self) -> str:
        return sheet(self.to_record())


class Rows(list[T]):
    """A list of records that shows itself as a table; a slice of it is one too."""

    @overload
    def __getitem__(self, key: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, key: slice) -> Rows[T]: ...
    def __getitem__(self, key: SupportsIndex | slice) -> T | Rows[T]:
        found = super().__getitem__(key)
        return Rows(found) if isinstance(key, slice) else found  # type: ignore[arg-type, return-value]

    def to_frame(self) -> Any:
        """A pandas frame, one row each. Raises UsageError where pandas is missing."""
        return frame([value.to_record() for value in self])

    def _repr_html_(self) -> str:
        return table([value.to_record() for value in self[:ROWS_SHOWN]], len(self))


def sheet(record: Mapping[str, Any]) -> str:
    """One record as an HTML table, a field a row."""
    rows = [f"<tr><th>{escape(key)}</th><td>{_whole(value)}</td></tr>" for key, value in record.items()]
    return f"<table>{''.join(rows)}</table>"


def frame(records: Sequence[Mapping[str, Any]]) -> Any:
    """Records as a pandas frame. Raises UsageError where pandas is missing."""
    try:
        import pandas as pd
    except ImportError:
        raise UsageError("to_frame() needs pandas", hint="pip install 'mlx-selfdebug[report]'") from None
    return pd.DataFrame.from_records([dict(record) for record in records])


def table(records: Sequence[Mapping[str, Any]], total: int | None = None) -> str:
    """Records as an HTML table; ``total`` says how many there are if these are the first of them."""
    if not records:
        return "<p>nothing</p>"
    head = "".join(f"<th>{escape(key)}</th>" for key in records[0])
    rows = ["".join(f"<td>{escape(_cell(value))}</td>" for value in record.values()) for record in records]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    more = f"<p>{len(records)} of {total}</p>" if total is not None and total > len(records) else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cell(value: Any) -> str:
    text = " ".join(_plain(value).split())
    return text if len(text) <= CELL else text[: CELL - 1] + "…"


def _whole(value: Any) -> str:
    text = _plain(value)
    if len(text) > WHOLE:
        text = text[:WHOLE] + f"… ({len(text) - WHOLE} more characters)"
    return f"<pre>{escape(text)}</pre>" if "\n" in text else escape(text)


def _plain(value: Any) -> str:
    """``-`` for what is not known; what no page can hold is written out."""
    return "-" if value is None else str(value).encode("utf-8", "backslashreplace").decode()
