"""The page of a review in a browser, and the command that serves it."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests import ROOT
from tests.helpers.browser import DESKTOP
from train.review.server import Server

# Notes which clips the page began to play, counted from 0, and which sounds it has received.
WATCH = """() => {
  const [played, received] = [new Set(), new Set()];
  new MutationObserver(() => {
    if (document.body.dataset.playing === undefined) return;
    played.add(document.body.dataset.playing);
    document.body.dataset.played = [...played].join(" ");
  }).observe(document.body, { attributeFilter: ["data-playing"] });
  new PerformanceObserver((entries) => {
    for (const entry of entries.getEntries()) received.add(new URL(entry.name).pathname);
    document.body.dataset.received = [...received].join(" ");
  }).observe({ type: "resource", buffered: true });
}"""


class Opened:
    """The page, and all that it said and asked for."""

    def __init__(self, browser: Any, address: str, scheme: str = "light", viewport: Any = None, **kind: bool) -> None:
        context = browser.new_context(
            viewport=viewport or DESKTOP, color_scheme=scheme, reduced_motion="reduce", **kind
        )
        self.page = context.new_page()
        self.said: list[str] = []
        self.requests: list[str] = []
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("dialog", lambda dialog: (self.said.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)
        self.page.locator("#picture[src]").wait_for()

    def text(self, of: str) -> str:
        text: str = self.page.locator(f"#{of}").inner_text()
        return text

    def shows(self, n: int, what: str = "Clip") -> None:
        """Wait until the page is at a clip, counted from 1."""
        self.page.get_by_text(f"{what} {n} of", exact=False).wait_for()

    def has_next(self, n: int) -> None:
        """Wait until the page, at clip `n`, has received the sound of the next one, before any key asks for it."""
        self.page.locator(f"body[data-received~='/sound/{n}']").wait_for()

    def plays_next(self, n: int) -> None:
        """Wait until the page, after a key at clip `n`, plays the next one."""
        self.page.locator(f"body[data-played~='{n}']").wait_for()

    def assert_each_sound_is_sent_once(self) -> None:
        """No key made the page ask for a sound again, which would be heard too late."""
        sounds = Counter(url for url in self.requests if "/sound/" in url)
        assert [url for url, n in sounds.items() if n > 1] == []


@contextmanager
def review(*arguments: str | Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The command, and the address that it prints."""
    command = [sys.executable, "-m", "train", "review", *map(str, arguments), "--no-browser"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().removeprefix("review: ").strip(), process
        finally:
            process.kill()


@contextmanager
def served(server: Server) -> Iterator[Server]:
    """A server of this process, at work."""
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()


def assert_accessible(page: Any) -> None:
    """Axe finds nothing serious, and nothing is wider than the screen."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    results = axe.Axe().run(page)
    assert len(results.response["passes"]) > 10
    serious = [one for one in results.response["violations"] if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in serious] == []
    assert page.locator("html").evaluate("e => e.scrollWidth <= innerWidth")
