"""Render the page of a run under way.

The browser loads the page once (:func:`frame`). Its script then asks for the parts that have changed, and replaces them. Most
parts are sections of the report. Only the head of the page, the newest repairs and the counts by arm are made here.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from mlx_selfdebug.reporting.live.attempts import Totals
from mlx_selfdebug.reporting.live.now import Now
from mlx_selfdebug.reporting.records import Records
from mlx_selfdebug.reporting.report.headline import headline
from mlx_selfdebug.reporting.report.items import repair_item
from mlx_selfdebug.reporting.report.page import environment, report_sections, script_text, style_sheet
from mlx_selfdebug.reporting.report.tables import Table
from mlx_selfdebug.values.attempt import Attempt

PARTS = (
    "sentence", "now", "repairs", "arms", "headline", "findings", "readings", "training", "memory", "collected", "overlap", "pairs",
    "settings",
)  # fmt: skip
"""The names of the parts, in the order of the page. Those after "headline" are sections of the report."""
QUICK = ("training", "memory")
"""The sections that need no attempts. They are rendered every time the run is looked at."""
SLOW = ("findings", "readings", "collected", "overlap", "pairs", "settings")
"""The sections for which all attempts are read. They are rendered less often."""
MAX_BYTES = 500_000
"""The largest size of the pairs and regressions in the page. It is smaller than in the report, since they are sent repeatedly."""


def frame(path: Path, title: str, version: int, parts: Mapping[str, str]) -> str:
    """Return the whole page, with its parts as they are at ``version``."""
    shown = {name: Markup(parts.get(name, "")) for name in PARTS}
    text: str = _template("watch.html.j2").render(
        path=path, title=title, version=version, parts=shown, style=Markup(_style()), script=Markup(_script())
    )
    return text


@cache
def content_security_policy() -> str:
    """Return the content security policy of the page.

    The browser runs only the script and applies only the style sheet that are in the page itself, which it recognizes by their
    digests. It sends requests only to the server of the page.
    """
    return (
        f"default-src 'none'; style-src {_digest(_style())}; script-src {_digest(_script())}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def head_parts(now: Now) -> dict[str, str]:
    """Return the parts "sentence" and "now", the head of the page."""
    macros = _macros()
    return {"sentence": _text(macros.sentence(now)), "now": _text(macros.now(now))}


def attempt_parts(totals: Totals, repairs: Sequence[tuple[Attempt, Attempt]]) -> dict[str, str]:
    """Return the parts "repairs" and "arms". ``repairs`` are pairs of a failed attempt and the attempt that was made from it."""
    rows = [
        [arm, f"{counts.attempts:,}", f"{counts.passed:,}", f"{counts.repairs:,}", f"{counts.repaired:,}", f"{counts.n_tokens:,}"]
        for arm, counts in totals.by_arm.items()
    ]  # fmt: skip
    table = Table(["arm", "attempts", "passed", "repairs", "of these passed", "generated tokens"], rows)
    macros, items = _macros(), [repair_item(failed, repair) for failed, repair in repairs]
    return {"repairs": _text(macros.repairs(items)), "arms": _text(macros.arms(table))}


def quick_parts(records: Records) -> dict[str, str]:
    """Return the sections in ``QUICK`` by name."""
    return report_sections(records, QUICK)


def slow_parts(records: Records) -> dict[str, str]:
    """Return the sections in ``SLOW`` and the part "headline", which is empty until the run is evaluated, by name."""
    headline_html = _text(_macros().headline(headline(records))) if records.evidence else ""
    return {"headline": headline_html, **report_sections(records, SLOW, MAX_BYTES)}


def _digest(text: str) -> str:
    """Return the source expression by which a policy allows an inline script or style of exactly this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _style() -> str:
    return style_sheet() + _read("watch.css")


@cache
def _script() -> str:
    return script_text() + _read("watch.js")


def _macros() -> Any:
    """Return the macros of ``parts.html.j2`` as functions that return HTML."""
    return _template("parts.html.j2").module


@cache
def _template(name: str) -> Any:
    return environment().from_string(_read(name))


def _text(markup: object) -> str:
    return str(markup).strip()


def _read(name: str) -> str:
    return files("mlx_selfdebug.reporting.live").joinpath("templates", name).read_text(encoding="utf-8")
