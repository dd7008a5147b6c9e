"""Headless Chromium, and a script that finds the text that stands out least."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    webdriver: Any = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed")

CONTRASTS = """
const luminance = (rgb) => { const [r, g, b] = rgb.match(/[0-9.]+/g).slice(0, 3).map((v) => {
  v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126*r + 0.7152*g + 0.0722*b; };
const behind = (node) => { for (let one = node; one; one = one.parentElement) { const c = getComputedStyle(one).backgroundColor;
  if (c !== 'rgba(0, 0, 0, 0)') return c; } return 'rgb(255, 255, 255)'; };
const worst = [];
for (const node of document.querySelectorAll('h1, h1 span, h2, p, th, td, dt, dd, a, summary, caption, li, pre, .diff span, .reading span, svg text')) {
  const style = getComputedStyle(node), ink = node.closest('svg') && node.tagName === 'text' ? style.fill : style.color;
  const [a, b] = [luminance(ink), luminance(behind(node))].sort((x, y) => y - x);
  worst.push([(a + 0.05) / (b + 0.05), node.tagName, node.className.toString()]); }
return worst.sort((x, y) => x[0] - y[0])[0];
"""
"""Returns the lowest contrast of a text and what is behind it, with the tag and the classes of its element."""


@contextmanager
def headless(profile: Path) -> Iterator[Any]:
    """A headless browser whose profile is kept in the folder ``profile``."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1100,1400",
                     f"--user-data-dir={profile}"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def prefer(browser: Any, scheme: str) -> None:
    """Have the browser prefer the colour scheme "light" or "dark"."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


def be_a_phone(browser: Any) -> None:
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def be_as_before(browser: Any) -> None:
    """Undo what tests have set."""
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
