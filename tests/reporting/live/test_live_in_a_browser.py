"""The page of a run under way in headless Chromium: it follows the run, and reads well dark and light, narrow and by keyboard."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.reporting.live import LiveServer, watcher
from mlx_selfdebug.reporting.report import write_report
from mlx_selfdebug.store import Family, ProgressFile, Run
from mlx_selfdebug.values.step import Step

from ...support.browser import CONTRASTS, be_a_phone, be_as_before, headless, needs_browser, prefer
from ...support.runs import HOSTILE, make_run
from ...support.serving import serving
from .test_attempts import draft, repair_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

pytestmark = [needs_browser, pytest.mark.slow]

WIDTHS = """
const pictures = document.querySelectorAll("#part-training svg[role=img], #part-memory svg[role=img]");
return [...pictures].map((picture) => picture.getBoundingClientRect().width);
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with headless(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run that is watched here is not slowed down by anything, so it may be looked at as often as one likes."""
    for name in ("LOOK_S", "RENDER_S"):
        monkeypatch.setattr(watcher, name, 0.3)
    for name in ("LOOK_SHARE", "RENDER_SHARE"):
        monkeypatch.setattr(watcher, name, 1.0)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A run in the middle of its evaluation."""
    with make_run(tmp_path / "a run", tasks=8, pairs=6) as run:
        run.add_stage_time("rewards", 1.0, 10**9, done=False)
        run.remember(Family.MACHINE.key("rewards"), {"versions": {}, "hardware": {}})
        yield run


@pytest.fixture
def server(run: Run) -> Iterator[LiveServer]:
    with serving(run.path) as server:
        yield server


@pytest.fixture
def page(browser: Any, server: LiveServer) -> Iterator[Any]:
    browser.get(server.url)
    yield browser
    be_as_before(browser)
    # The page is left before its server ends, which it would complain of.
    browser.get("about:blank")
    browser.get_log("browser")


def eventually(seen: Callable[[], object], seconds: float = 15.0) -> bool:
    end = time.monotonic() + seconds
    while not seen() and time.monotonic() < end:
        time.sleep(0.1)
    return bool(seen())


# The page may replace an element at any moment, so elements are found and used in one step.


def text_of(page: Any, selector: str) -> str:
    return str(page.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector))


def text(page: Any, part: str) -> str:
    return text_of(page, f"#part-{part}")


def focus(page: Any, selector: str) -> Any:
    """The element, which has the focus, and so is not replaced."""
    page.execute_script("document.querySelector(arguments[0]).focus()", selector)
    return page.switch_to.active_element


def test_nothing_goes_wrong_in_the_console_and_nothing_forges_the_page(page: Any) -> None:
    assert eventually(lambda: text(page, "settings"))
    time.sleep(2.5)
    assert page.get_log("browser") == []
    assert "forged" not in page.title


def test_the_page_changes_as_the_run_goes_on(page: Any, run: Run) -> None:
    assert "Training by rewards." in text(page, "sentence")
    with ProgressFile(run.path).stage("rewards", 40, "steps") as stage:
        stage.advance(10, "going well")
        failed = draft(0, code=f"x = {HOSTILE!r}\n")
        run.add_attempt(failed)
        run.add_attempt(repair_of(failed, code="x = 1\n"))
        run.add_step(Step(100, 0.125, 500, 1e-4, 0.8, 10.0))
        assert eventually(lambda: "loss\n0.125" in text(page, "now"))
        assert eventually(lambda: "repair, passed: test/square" in text(page, "repairs"))
        assert page.execute_script("return document.querySelector('progress').max") == 40
        assert page.title.startswith(("0 %", "25 %"))
    assert "forged" not in page.title
    assert page.get_log("browser") == []


def test_every_picture_of_a_stage_under_way_is_drawn(page: Any) -> None:
    # Asked for at once, because the page may replace a picture at any moment.
    widths = page.execute_script(WIDTHS)
    assert len(widths) >= 5
    assert min(widths) > 300


def test_what_the_reader_has_unfolded_and_filtered_stays_so(page: Any, run: Run) -> None:
    for sample in range(2):
        run.add_attempt(draft(sample))
        run.add_attempt(repair_of(draft(sample)))
    assert eventually(lambda: "(collect, sample 1, " in text(page, "repairs"))
    assert eventually(lambda: page.find_elements(By.CSS_SELECTOR, "#pair-list > .item"))
    focus(page, "#part-repairs summary").send_keys(Keys.ENTER)
    opened = text_of(page, "#part-repairs details[open] > summary")
    focus(page, "#pair-task").send_keys("train/3")
    assert text_of(page, "#pair-count") == "1 of 6"
    page.execute_script("document.activeElement.blur()")
    run.add_attempt(draft(7))
    run.add_attempt(repair_of(draft(7)))
    run.replace_pairs([*run.pairs(), run.pairs()[0]])
    assert eventually(lambda: "(collect, sample 7, " in text(page, "repairs"))
    assert text_of(page, "#part-repairs details[open] > summary") == opened != ""
    assert eventually(lambda: text_of(page, "#pair-count") == "1 of 7")


def test_a_part_that_the_reader_is_in_waits(page: Any, run: Run) -> None:
    run.add_attempt(draft(0))
    run.add_attempt(repair_of(draft(0)))
    assert eventually(lambda: "(collect, sample 0, " in text(page, "repairs"))
    focus(page, "#part-repairs summary").send_keys(Keys.ENTER)
    run.add_attempt(draft(1))
    run.add_attempt(repair_of(draft(1)))
    time.sleep(5.0)
    assert page.switch_to.active_element.tag_name == "summary"
    assert "(collect, sample 1, " not in text(page, "repairs")
    page.execute_script("document.activeElement.blur()")
    assert eventually(lambda: "(collect, sample 1, " in text(page, "repairs"))


def test_a_finished_run_links_its_report(browser: Any, tmp_path: Path) -> None:
    with make_run(tmp_path / "run", tasks=8, pairs=6) as run:
        write_report(run)
        run.summary_path.write_text("{}")
    with serving(run.path) as server:
        browser.get(server.url)
        assert eventually(lambda: browser.find_elements(By.ID, "arms"))
        assert "This run is finished." in text(browser, "sentence")
        focus(browser, "#part-now a").send_keys(Keys.ENTER)
        assert eventually(lambda: browser.current_url.endswith("/report.html"))
        assert browser.find_elements(By.CSS_SELECTOR, "#pair-list > .item")
        assert browser.get_log("browser") == []
        browser.get("about:blank")


def test_the_page_waits_for_a_run_and_shows_it_when_it_begins(browser: Any, tmp_path: Path) -> None:
    with serving(tmp_path / "run") as server:
        browser.get(server.url)
        assert "Waiting for the run to begin." in text(browser, "sentence")
        with Run(tmp_path / "run") as run:
            run.remember(Family.MACHINE.key("collect"), {"versions": {}, "hardware": {}})
            assert eventually(lambda: "Collecting attempts." in text(browser, "sentence"))
        shutil.rmtree(run.path)
        assert eventually(lambda: "Waiting for the run to begin." in text(browser, "sentence"))
        browser.get("about:blank")


def test_a_server_that_has_ended_is_told(browser: Any, run: Run) -> None:
    with serving(run.path) as server:
        browser.get(server.url)
        assert not browser.find_element(By.ID, "lost").is_displayed()
    assert eventually(lambda: browser.find_element(By.ID, "lost").is_displayed())
    assert "no longer kept up to date" in browser.find_element(By.ID, "lost").text
    browser.get_log("browser")
    browser.get("about:blank")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(page: Any, scheme: str) -> None:
    prefer(page, scheme)
    ratio, *which = page.execute_script(CONTRASTS)
    assert ratio >= 4.5, which


def test_a_phone_scrolls_one_way_only(page: Any, run: Run) -> None:
    run.add_attempt(draft(0))
    run.add_attempt(repair_of(draft(0)))
    assert eventually(lambda: text(page, "repairs") and text(page, "settings"))
    be_a_phone(page)
    assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_without_javascript_it_can_be_read_and_is_loaded_again_now_and_then(page: Any, server: LiveServer) -> None:
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    page.get(server.url)
    assert page.find_element(By.ID, "part-sentence").is_displayed()
    assert page.find_elements(By.CSS_SELECTOR, "#part-memory svg")
    assert page.find_elements(By.CSS_SELECTOR, "head meta[http-equiv=refresh]")
