"""The report holds what the run holds, escapes it, and needs nothing beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.evaluation.primary import Conclusion
from mlx_selfdebug.reporting.records import Records, read_records
from mlx_selfdebug.reporting.report import report_data, report_html, report_markdown, write_report
from mlx_selfdebug.reporting.report.diff import MAX_LINES, diff_lines
from mlx_selfdebug.reporting.report.headline import headline
from mlx_selfdebug.reporting.words import verdict_text
from mlx_selfdebug.store import Family, Key, Run, open_stored
from mlx_selfdebug.testing import make_attempt
from mlx_selfdebug.values.pair import KINDS, Pair

from ..support.runs import HOSTILE, make_run


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Records]:
    path = tmp_path_factory.mktemp("report") / "run"
    make_run(path, others=("seed-1",)).close()
    with open_stored(path) as run:
        yield read_records(run)


@pytest.fixture(scope="module")
def page(records: Records) -> str:
    return report_html(records)


class Reader(HTMLParser):
    """The texts, tags and ids of a page; tags must be closed in order."""

    VOID = ("meta", "input", "br", "img", "link", "line", "circle", "rect")

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_every_section_is_there_and_every_tag_is_closed(page: str) -> None:
    reader = Reader(page)
    assert reader.open == []
    sections = ["arms", "contrasts", "tokens", "repairs", "regressions", "training", "memory", "collected"]
    sections += [
        "overlap",
        "pairs",
        "settings",
        "bugs-arms",
        "bugs-contrasts",
        "bugs-tokens",
        "bugs-repairs",
        "readings",
    ]
    assert set(sections) <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))


def test_the_page_refers_to_nothing_outside_itself(page: str) -> None:
    assert not re.search(r"""(?:src|href)=["'](?!\#)|@import|url\(|https?:(?!//www\.w3\.org)""", page)


def test_what_a_model_wrote_stays_text(page: str) -> None:
    reader = Reader(page)
    assert reader.tags.count("script") == 1
    assert "img" not in reader.tags
    assert any(HOSTILE in text for text in reader.texts)


def test_the_headline_is_the_verdict(records: Records, page: str) -> None:
    assert records.evidence is not None
    assert records.evidence.primary is not None
    assert verdict_text(records.evidence.primary) in Reader(page).texts


def test_every_model_and_arm_is_in_page_markdown_and_data(records: Records, page: str) -> None:
    assert records.evidence is not None
    markdown, data = report_markdown(records), report_data(records)
    for arm, plain in zip(records.evidence.arms, data["evidence"]["arms"], strict=True):
        solved, total = arm.score.problems
        assert arm.name in page
        assert f"{solved}/{total}" in page
        assert f"| {arm.model} |" in markdown
        assert plain["score"]["problems"] == [solved, total]


def test_both_halves_are_in_page_markdown_and_data(records: Records, page: str) -> None:
    assert records.evidence is not None
    assert records.evidence.bugs is not None
    markdown, data = report_markdown(records), report_data(records)
    found = headline(records).lines
    verdicts_of_half = (
        r", there is (no )?evidence that the trained model .*; there is (no )?evidence that searching .* for "
    )
    assert re.match(f"On the models' own failures{verdicts_of_half}", found[0])
    assert re.match(f"On bugs put into right code{verdicts_of_half}", found[1])
    plain = " ".join(Reader(page).texts)
    for line in found:
        assert line in plain
        assert line in markdown
    for operator in set(records.evidence.bugs.operators.values()):
        assert f'<th scope="row">{operator}</th>' in page
        assert f"| {operator} |" in markdown
    for title in (
        "## Bugs, by arm",
        "## Bugs: repaired, by the operator that made them",
        "## Bugs: declared contrasts",
    ):
        assert title in markdown
    for head in ("wrong accepted", "read", "tries"):
        assert f"| {head} |" in markdown
    for arm, plain_arm in zip(records.evidence.bugs.arms, data["evidence"]["bugs"]["arms"], strict=True):
        assert plain_arm["score"]["problems"] == list(arm.score.problems)
        assert plain_arm["wrong_accepted"]["count"] == arm.wrong_accepted.count
    verdicts = [one.verdict for one in records.evidence.bugs.searching]
    assert [one["verdict"] for one in data["evidence"]["bugs"]["searching"]] == verdicts


def test_what_the_model_read_is_shaded_and_listed_and_stays_text(records: Records, page: str) -> None:
    [one] = records.readings
    section = page.partition('<section id="readings">')[2].partition("</section>")[0]
    reader = Reader(section)
    assert reader.open == []
    assert not {"script", "img"} & set(reader.tags)
    assert HOSTILE in "".join(reader.texts)
    assert '<span class="s6" title="6.2 nats; rather &#39; 0&#39; or ' in section
    assert "style=" not in section
    cells = [text for text in reader.texts if text.strip()]
    row = cells.index("2")
    assert cells[row + 1] == "' 7'"
    assert cells[row + 2].startswith("' 0' or ")
    assert cells[row + 3] == "6.2"
    added = section.partition('<span class="add">')[2].partition("</span>")[0]
    assert "total = <b>0</b>" in added
    assert f"{one.task_id}: a bug" in reader.texts


def test_what_the_model_read_is_in_markdown_as_marked_text_that_no_backtick_ends(records: Records) -> None:
    section = report_markdown(records).partition("## What the model reads")[2].partition("\n## ")[0]
    fences = re.findall(r"^(`{3,})\w*$", section, flags=re.MULTILINE)
    assert len(fences) == 6
    assert min(map(len, fences[:2])) == 4
    assert "    total = [7 -> 0]\n" in section
    assert "\n+     total = 0\n" in section


def test_what_the_model_read_is_in_the_data(records: Records) -> None:
    [one] = report_data(records)["readings"]
    assert [shade["nats"] for shade in one["shades"]] == [0.0, 6.25, 1.5, 0.25]


def test_a_run_without_readings_has_no_section_of_them(tmp_path: Path) -> None:
    with make_run(tmp_path / "old", tasks=6, bugs=0, hard=False) as run:
        records = read_records(run)
    assert records.readings == ()
    assert "What the model reads" not in report_html(records) + report_markdown(records)


def test_the_page_of_a_run_of_before_there_were_bugs_has_one_half(tmp_path: Path) -> None:
    with make_run(tmp_path / "old", tasks=6, bugs=0, hard=False) as run:
        page = write_report(run).read_text(encoding="utf-8")
    reader = Reader(page)
    assert "arms" in reader.ids
    assert "bugs-arms" not in reader.ids
    assert not any("On bugs" in text for text in reader.texts)


def test_the_data_is_json_without_anything_that_is_no_number(records: Records) -> None:
    broken = replace(records, steps=(replace(records.steps[0], loss=float("nan")),))
    data = json.loads(json.dumps(report_data(broken), allow_nan=False))
    assert data["steps"][0]["loss"] is None
    assert data["evidence"]["primary"]["verdict"] in get_args(Conclusion)


def test_a_loss_that_is_no_number_leaves_a_gap(records: Records) -> None:
    steps = [replace(step, loss=float("nan")) if step.step == 5 else step for step in records.steps]
    page = report_html(replace(records, steps=tuple(steps)))
    assert "nan" not in page.lower().replace("finance", "")


@pytest.mark.parametrize(
    ("wall_s", "memory"), [(0.2, [(0.0, 10**9)]), (0.7, [(0.0, 10**9), (0.3, 10**9), (0.6, 10**9)])]
)
def test_the_memory_of_a_stage_of_under_a_second_is_in_the_table_and_not_drawn(
    tmp_path: Path, wall_s: float, memory: list[tuple[float, int]]
) -> None:
    with Run(tmp_path / "run") as run:
        run.add_stage_time("collect", wall_s, 10**9, done=True, memory=memory)
        run.add_stage_time("train", 2.0, 2 * 10**9, done=True, memory=[(0.0, 10**9), (1.0, 2 * 10**9)])
        page = report_html(read_records(run))
    section = page.partition('<section id="memory">')[2].partition("</section>")[0]
    assert '<th scope="row">collect</th>' in section
    assert re.findall(r"<h3>(\w+): peak", section) == ["train"]
    assert re.findall(r'<path class="c0 d1 stroke" d="M[^"L]+L', section)


def test_what_a_run_was_begun_from_and_which_processes_died_is_told(tmp_path: Path) -> None:
    with make_run(tmp_path / "run") as run:
        run.remember(Key.BRANCH_OF, "runs/before")
        run.remember(Family.DEATH.key("train.1.1790000000"), {"reason": "killed by SIGKILL", "after_s": 90.0})
        plan = {"shape": {"max_tokens": 256, "recompute": True}, "peak_bytes": 3 * 10**9}
        run.remember(Family.PLAN.key("0"), plan)
        records = read_records(run)
    for text in (report_html(records), report_markdown(records)):
        assert "runs/before" in text
        assert "256 tokens at a time, layers recomputed; 3.00 GB estimated" in text
        assert "a process of train died" in text
        assert "killed by SIGKILL" in text


def test_pairs_of_every_kind_can_be_chosen(page: str) -> None:
    assert all(f"<option>{kind}</option>" in page for kind in KINDS)


def test_all_regressions_are_told_in_full(records: Records, page: str) -> None:
    assert records.evidence is not None
    assert records.evidence.regressions
    for one in records.evidence.regressions:
        assert f"{one.task_id}: {one.kind}" in page.replace("&#39;", "'")


def test_pairs_that_do_not_fit_are_counted(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlx_selfdebug.reporting.report.page.MAX_BYTES", 20_000)
    page = report_html(records)
    assert re.search(r"\d+ more are left out for size: <code>mlx-selfdebug runs pairs", page)


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [((), "No stage is finished yet."), (("collect",), "Attempts are collected, but no adapter is trained yet."),
     (("collect", "train"), "The adapter is trained, but not evaluated yet.")],
)  # fmt: skip
def test_a_run_that_is_not_finished_says_how_far_it_is_and_how_to_go_on(
    tmp_path: Path, stages: tuple[str, ...], sentence: str
) -> None:
    with Run(tmp_path / "run") as run:
        run.replace_pairs([Pair("repair", "python", "test/square", "Fix it.", "return 1\n```", ("a", "b"))])
        for stage in stages:
            run.add_stage_time(stage, 1.0, 10**9, done=True)
        page = write_report(run).read_text(encoding="utf-8")
        markdown = report_markdown(read_records(run))
    for text in (page, markdown):
        assert sentence in text
        assert f"mlx-selfdebug run --run {run.path}" in text


def test_the_report_of_a_run_can_be_had_while_it_is_written(tmp_path: Path) -> None:
    with Run(tmp_path / "run") as run:
        run.add_attempt(make_attempt())
        run.flush()
        with open_stored(run.path) as stored:
            assert "1" in report_html(read_records(stored))


lines = st.lists(st.sampled_from(["a = 1", "a = 2", "b = a + 1", "return b", "", "    x"]), max_size=8)


@given(lines, lines)
def test_a_diff_gives_back_both_codes(before: list[str], after: list[str]) -> None:
    found = diff_lines("\n".join(before), "\n".join(after))
    assert [line.text for line in found if line.sign != "+"] == "\n".join(before).splitlines()
    assert [line.text for line in found if line.sign != "-"] == "\n".join(after).splitlines()


def test_a_diff_that_is_cut_short_says_so() -> None:
    long = "x = 1\n" * (MAX_LINES + 1)
    assert diff_lines(long, long)[-1].text == f"... (lines after the first {MAX_LINES} are not shown)"
    assert diff_lines("a\n" * MAX_LINES, "a\n" * MAX_LINES)[-1].text == "a"


def test_the_words_that_changed_are_marked() -> None:
    removed, added = diff_lines("return x + 1", "return x + 2")
    assert [text for text, changed in removed.parts if changed] == ["1"]
    assert [text for text, changed in added.parts if changed] == ["2"]
