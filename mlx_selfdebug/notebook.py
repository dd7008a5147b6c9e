"""Show values in a notebook as small HTML tables, and turn them into data frames where pandas is installed.

    attempts = sd.collect(run, model, tasks)      # a table: the first rows, long texts cut
    attempts.to_frame().groupby("task_id").passed.mean()

Everything is escaped, so what a model wrote stays text. Colours are the notebook's own, light or dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Protocol, SupportsIndex, TypeVar, overload

from mlx_selfdebug.errors import UsageError

ROWS_SHOWN = 20
"""The number of rows that the table of a long list shows."""
MAX_CELL = 80
"""The maximum number of characters of a cell in a table of many rows."""
MAX_TEXT = 20_000
"""The maximum number of characters of a text that is shown by itself."""


class Record(Protocol):
    """A value that can be written as one row of a table."""

    def to_record(self) -> dict[str, Any]:
        """Return the value as a flat dictionary from columns to texts, numbers or booleans."""


T = TypeVar("T", bound=Record)


class Shown:
    """A value that shows itself in a notebook. Subclasses define ``to_record``."""

    def to_record(self) -> dict[str, Any]:
        raise NotImplementedError

    def to_frame(self) -> Any:
        """Return a pandas frame of one row. Raises UsageError if pandas is not installed."""
        return frame([self.to_record()])

    def _repr_html_(self) -> str:
        return sheet(self.to_record())


class Rows(list[T]):
    """A list of records that shows itself as a table in a notebook. A slice of it does so too."""

    @overload
    def __getitem__(self, key: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, key: slice) -> Rows[T]: ...
    def __getitem__(self, key: SupportsIndex | slice) -> T | Rows[T]:
        item = super().__getitem__(key)
        return Rows(item) if isinstance(key, slice) else item  # type: ignore[arg-type, return-value]

    def to_frame(self) -> Any:
        """Return a pandas frame with one row per record. Raises UsageError if pandas is not installed."""
        return frame([value.to_record() for value in self])

    def _repr_html_(self) -> str:
        return table([value.to_record() for value in self[:ROWS_SHOWN]], len(self))


def sheet(record: Mapping[str, Any]) -> str:
    """Return one record as an HTML table with one row per field."""
    rows = [f"<tr><th>{escape(key)}</th><td>{_long_cell(value)}</td></tr>" for key, value in record.items()]
    return f"<table>{''.join(rows)}</table>"


def frame(records: Sequence[Mapping[str, Any]]) -> Any:
    """Return records as a pandas frame. Raises UsageError if pandas is not installed."""
    try:
        import pandas as pd
    except ImportError:
        raise UsageError("to_frame() needs pandas", hint="pip install 'mlx-selfdebug[report]'") from None
    return pd.DataFrame.from_records([dict(record) for record in records])


def table(records: Sequence[Mapping[str, Any]], total: int | None = None) -> str:
    """Return records as an HTML table. If these are only the first, ``total`` says how many there are."""
    if not records:
        return "<p>no rows</p>"
    head = "".join(f"<th>{escape(key)}</th>" for key in records[0])
    rows = ["".join(f"<td>{escape(_cell(value))}</td>" for value in record.values()) for record in records]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    more = f"<p>{len(records)} of {total}</p>" if total is not None and total > len(records) else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cell(value: Any) -> str:
    text = " ".join(_plain(value).split())
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def _long_cell(value: Any) -> str:
    """Return the value as HTML, cut only if it is longer than ``MAX_TEXT``."""
    text = _plain(value)
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT] + f"… ({len(text) - MAX_TEXT} more characters)"
    return f"<pre>{escape(text)}</pre>" if "\n" in text else escape(text)


def _plain(value: Any) -> str:
    """Return a value as text: ``-`` for None, and characters that no page can hold written out as escapes."""
    return "-" if value is None else str(value).encode("utf-8", "backslashreplace").decode()
