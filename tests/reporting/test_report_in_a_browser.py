"""The page in headless Chromium: drawn, dark and light, narrow, by keyboard, on paper, without JavaScript."""

from __future__ import annotations

import base64
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.reporting.report import write_report

from ..support.runs import HOSTILE, make_run

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    webdriver: Any = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    with make_run(tmp_path_factory.mktemp("browser") / "run", pairs=12, others=("seed-1",)) as run:
        return write_report(run).absolute().as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1100,1400",
                     f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    browser.get(url)
    yield browser
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


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
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        found[scheme] = sum(background(page))
    assert found["light"] > 700
    assert found["dark"] < 120


CONTRASTS = """
const luminance = (rgb) => { const [r, g, b] = rgb.match(/[0-9.]+/g).slice(0, 3).map((v) => {
  v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126*r + 0.7152*g + 0.0722*b; };
const behind = (node) => { for (let one = node; one; one = one.parentElement) { const c = getComputedStyle(one).backgroundColor;
  if (c !== 'rgba(0, 0, 0, 0)') return c; } return 'rgb(255, 255, 255)'; };
const worst = [];
for (const node of document.querySelectorAll('h1, h2, p, th, td, a, summary, caption, li, pre, .diff span, .reading span, svg text')) {
  const style = getComputedStyle(node), ink = node.closest('svg') && node.tagName === 'text' ? style.fill : style.color;
  const [a, b] = [luminance(ink), luminance(behind(node))].sort((x, y) => y - x);
  worst.push([(a + 0.05) / (b + 0.05), node.tagName, node.className.toString()]); }
return worst.sort((x, y) => x[0] - y[0])[0];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(page: Any, scheme: str) -> None:
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    ratio, *which = page.execute_script(CONTRASTS)
    assert ratio >= 4.5, which


def test_a_phone_scrolls_one_way_only(page: Any) -> None:
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
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
