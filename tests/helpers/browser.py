"""Chromium, where there is one."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.amounts import amount

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
# Each scheme and each width by default, and every pair of them under `make fuzz`.
SCREENS = [("light", DESKTOP), ("dark", PHONE), ("light", PHONE), ("dark", DESKTOP)][: amount(2, 4)]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]
# For every window it would start two more renderers, which take longer than most pages.
ARGUMENTS += ["--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup"]


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser of Playwright's; without it or without Chromium the test is skipped."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, NAMES)), playwright.chromium.executable_path)
        if not Path(found).exists():
            pytest.skip("there is no Chromium: install Debian's chromium, or run `playwright install chromium`")
        opened = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield opened
        opened.close()
