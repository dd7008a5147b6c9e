"""Values show themselves: everything escaped, long things cut, and as frames where pandas is installed."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.evaluation.result import read_result
from mlx_selfdebug.notebook import ROWS_SHOWN, Rows
from mlx_selfdebug.store import Run
from mlx_selfdebug.testing import make_attempt
from mlx_selfdebug.values.pair import Pair

from .support.runs import HOSTILE, make_run
from .support.values import FAILED


class Cells(HTMLParser):
    """The texts of a table's cells, and the tags there are."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.texts += [""] if tag in ("td", "th") else []

    def handle_data(self, data: str) -> None:
        if self.texts:
            self.texts[-1] += data


TAGS = {"table", "thead", "tbody", "tr", "th", "td", "pre", "p"}
storable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00"), max_size=60)


@given(storable)
def test_any_code_stays_text(code: str) -> None:
    attempt = make_attempt(code=code)
    cells = Cells(attempt._repr_html_())
    assert cells.tags <= TAGS
    assert code in cells.texts or (code.startswith("\n") and code[1:] in cells.texts)


@given(st.text(max_size=60))
def test_even_half_a_character_does_not_break_a_table(code: str) -> None:
    Rows([make_attempt(code=code)])._repr_html_().encode("utf-8")


def test_a_list_of_attempts_is_a_table_of_its_first_rows(run: Run) -> None:
    for sample in range(ROWS_SHOWN + 5):
        run.add_attempt(make_attempt(sample=sample, code=HOSTILE * 9))
    attempts = run.attempts()
    html = attempts._repr_html_()
    cells = Cells(html)
    assert html.count("<tr>") == ROWS_SHOWN + 1
    assert f"{ROWS_SHOWN} of {ROWS_SHOWN + 5}" in html
    assert cells.tags <= TAGS
    assert max(map(len, cells.texts[:-1])) <= 80


def test_a_slice_is_a_table_too_and_a_list_as_ever() -> None:
    rows = Rows([make_attempt(sample=i) for i in range(4)])
    assert isinstance(rows[1:3], Rows)
    assert [a.sample for a in rows[1:3]] == [1, 2]
    assert rows[0] == make_attempt(sample=0)
    assert Rows([])._repr_html_() == "<p>no rows</p>"


def test_a_frame_has_a_row_an_attempt_with_natural_types() -> None:
    frame = Rows([make_attempt(), make_attempt(sample=1, verdict=FAILED)]).to_frame()
    assert list(frame.passed) == [True, False]
    assert frame.n_completion_tokens.sum() == 18
    assert frame.seed[0] == 2**62
    assert list(frame.outcome) == ["passed", "failed"]


def test_a_verdict_frames_its_failures() -> None:
    frame = FAILED.to_frame()
    assert frame.to_dict("records") == [
        {
            "check": "hidden[0]",
            "input": "3",
            "expected": "9",
            "got": "6",
            "error": "ValueError",
            "message": "no",
            "line": 2,
        }
    ]
    assert "ValueError" in FAILED._repr_html_()
    assert "ValueError" in FAILED.failures[0]._repr_html_()


def test_pairs_frame_their_texts() -> None:
    frame = Rows([Pair("repair", "python", "t", "asked", "said", ("a", "b"))]).to_frame()
    assert list(frame.columns) == ["kind", "domain", "task_id", "prompt", "target", "attempts", "task_prompt"]
    assert frame.attempts[0] == "a b"


def test_a_run_shows_its_stages_and_its_attempts_by_arm(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", tasks=5, pairs=3) as run:
        cells = Cells(run._repr_html_())
        assert "base/first" in cells.texts
        assert "200 s, 5.4 GB" in cells.texts
        assert len(run.to_frame()) == len(run.attempts())


def test_a_result_shows_every_arm_and_what_was_shown(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", tasks=5, pairs=3, others=("seed-1",)) as run:
        result = read_result(run)
    assert result
    frame = result.to_frame()
    assert list(frame.columns) == ["half", "model", "arm", "problems_solved", "problems", "checks_passed", "checks"]
    assert set(frame.model) == {"base", "adapter", "seed-1"}
    assert list(frame.groupby("half").size()) == [18, 21]  # of bugs there are no first drafts
    assert str(result.primary).split(";")[0] in result._repr_html_()


def test_without_pandas_a_frame_is_an_error_that_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="needs pandas") as caught:
        Rows([make_attempt()]).to_frame()
    assert "mlx-selfdebug[report]" in (caught.value.hint or "")
    assert Rows([make_attempt()])._repr_html_()
