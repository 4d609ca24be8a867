"""Chromium for the tests of pages."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.browser import chromium


@pytest.fixture(scope="module")
def started() -> Iterator[Any]:
    """A browser of Playwright's, whose pages stay open until the last test of a file."""
    with chromium() as opened:
        yield opened


@pytest.fixture
def browser(started: Any) -> Iterator[Any]:
    """The same browser, in which nothing that a test opened goes on after it: a page that plays draws all the time."""
    yield started
    for context in started.contexts:
        context.close()
