"""A page in headless Chromium, as a laptop and as a phone would show it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

_QUIET = (
    "headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync",
    "disable-background-networking", "disable-component-update", "disable-dev-shm-usage",
)  # fmt: skip

_PATIENCE = 280
"""Seconds."""


@contextmanager
def opened(page: Path, width: int, height: int = 900, dark: bool = False) -> Iterator[Chrome]:
    """The page in a browser whose viewport has the given size in CSS pixels.

    Skips the test if Chromium or its driver is not installed.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("needs Chromium and its driver (Debian: apt install chromium chromium-driver)")
    options = ChromeOptions()
    options.binary_location = browser
    for argument in (*_QUIET, *(["force-dark-mode"] if dark else [])):
        options.add_argument(f"--{argument}")
    metrics = {"width": width, "height": height, "pixelRatio": 1.0, "mobile": width < 600}
    options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = Chrome(options=options, service=Service(driver))
    try:
        # On a busy machine a page takes longer than the usual two minutes.
        chrome.command_executor.client_config.timeout = _PATIENCE
        chrome.get(page.resolve().as_uri())
        yield chrome
    finally:
        chrome.quit()
