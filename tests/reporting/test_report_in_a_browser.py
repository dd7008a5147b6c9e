"""The page in headless Chromium: drawn, dark and light, narrow, by keyboard, on paper, without JavaScript."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.reporting.report import write_report

from ..support.browser import CONTRASTS, be_a_phone, be_as_before, headless, needs_browser, prefer
from ..support.runs import HOSTILE, make_run

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

pytestmark = needs_browser


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    with make_run(tmp_path_factory.mktemp("browser") / "run", pairs=12, others=("seed-1",)) as run:
        return write_report(run).absolute().as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with headless(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    browser.get(url)
    yield browser
    be_as_before(browser)


def test_nothing_goes_wrong_in_the_console(page: Any) -> None:
    assert page.get_log("browser") == []
    assert HOSTILE not in page.title
    assert page.title != "forged"


def test_every_picture_is_drawn(page: Any) -> None:
    charts = page.find_elements(By.CSS_SELECTOR, ".chart svg")
    assert len(charts) >= 7
    for chart in charts:
        assert chart.size["width"] > 300
        assert chart.size["height"] > 60
        drawn = chart.find_elements(By.CSS_SELECTOR, "path.stroke, circle.fill, rect.fill")
        assert any(one.size["width"] > 0 for one in drawn), chart.get_attribute("aria-label")


def background(page: Any) -> tuple[int, ...]:
    text = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    return tuple(int(part) for part in text[4:-1].split(","))


def test_it_is_dark_where_dark_is_wanted(page: Any) -> None:
    found = {}
    for scheme in ("light", "dark"):
        prefer(page, scheme)
        found[scheme] = sum(background(page))
    assert found["light"] > 700
    assert found["dark"] < 120


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(page: Any, scheme: str) -> None:
    prefer(page, scheme)
    ratio, *which = page.execute_script(CONTRASTS)
    assert ratio >= 4.5, which


def test_a_phone_scrolls_one_way_only(page: Any) -> None:
    be_a_phone(page)
    assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def visible_pairs(page: Any) -> list[str]:
    items = page.find_elements(By.CSS_SELECTOR, "#pair-list > .item")
    return [item.get_attribute("data-task") for item in items if item.is_displayed()]


def test_pairs_are_filtered_and_opened_by_keyboard_alone(page: Any) -> None:
    body = page.switch_to.active_element
    for _ in range(400):
        body.send_keys(Keys.TAB)
        body = page.switch_to.active_element
        if body.get_attribute("id") == "pair-task":
            break
    assert body.get_attribute("id") == "pair-task"
    assert len(visible_pairs(page)) == 12
    body.send_keys("train/3")
    assert visible_pairs(page) == ["train/3"]
    assert page.find_element(By.ID, "pair-count").text == "1 of 12"
    for _ in range(3):
        page.switch_to.active_element.send_keys(Keys.TAB)
        if page.switch_to.active_element.tag_name == "summary":
            break
    page.switch_to.active_element.send_keys(Keys.ENTER)
    opened = page.find_element(By.CSS_SELECTOR, "#pair-list > .item[open]")
    assert opened.find_element(By.CSS_SELECTOR, ".diff .add").is_displayed()
    assert opened.find_element(By.CSS_SELECTOR, ".facts").is_displayed()


def test_pairs_are_filtered_by_kind(page: Any) -> None:
    page.find_element(By.XPATH, "//select[@id='pair-kind']/option[.='keep']").click()
    items = page.find_elements(By.CSS_SELECTOR, "#pair-list > .item")
    assert {item.get_attribute("data-kind") for item in items if item.is_displayed()} == {"keep"}


def test_it_goes_on_paper(page: Any, tmp_path: Path) -> None:
    printed = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page") > 3


def test_without_javascript_everything_can_be_read(page: Any, url: str) -> None:
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    page.get(url)
    assert page.find_element(By.TAG_NAME, "h1").is_displayed()
    assert not page.find_element(By.CSS_SELECTOR, ".filter").is_displayed()
    assert len(visible_pairs(page)) == 12
