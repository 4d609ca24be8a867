"""The review in a real browser: labels are corrected by keys alone, a kill loses nothing, and names are only names."""

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import soundfile
from matplotlib.image import imread

from tests import ROOT
from tests.helpers.amounts import amount
from tests.helpers.browser import chromium
from tests.helpers.commands import featurize
from tests.helpers.made_runs import made_crossval
from tests.helpers.sounds import noise
from tests.helpers.tables import table
from tests.helpers.tones import write_clips
from train.review.review import opened_review

HOSTILE = "dog/<img src=x onerror=alert(1)> \N{RIGHT-TO-LEFT OVERRIDE}.wav"
HOSTILE_CLASS = "<svg onload=alert(3)>"
CLASSES = ["dog", "cat", HOSTILE_CLASS]
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
SCREENS = [("light", DESKTOP), ("dark", PHONE), ("light", PHONE), ("dark", DESKTOP)][: amount(2, 4)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def disputed() -> list[str]:
    return [HOSTILE, *(f"{name}/4s{i}_nohash_0.wav" for name in ("dog", "cat", HOSTILE_CLASS) for i in range(3))]


@pytest.fixture(scope="module")
def place(disputed: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DATA, its cache, and a cross-validation that takes ten clips for the class after theirs."""
    folder = tmp_path_factory.mktemp("place")
    data = write_clips(folder / "data", seed=4, n_speakers=4)
    (data / "bird").rename(data / HOSTILE_CLASS)
    soundfile.write(data / HOSTILE, noise(9000, seed=1), 16000)
    featurize(data, folder / "features.h5", "--classes", ",".join(CLASSES))
    made_crossval(folder / "run", folder / "features.h5", n_repeats=1, mistaken=disputed)
    return folder


@contextmanager
def review(place: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The command, and the address that it prints."""
    command = [sys.executable, "-m", "train", "review", str(place / "run"), "--no-browser"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().removeprefix("review: ").strip(), process
        finally:
            process.kill()


@pytest.fixture
def address(place: Path) -> Iterator[str]:
    """The address of a review in this process, in which nothing is decided yet."""
    (place / "corrections.csv").unlink(missing_ok=True)
    with opened_review(place / "run", None, None, None) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.address
        server.shutdown()
        thread.join()


class Opened:
    """The page, and all that it said and asked for."""

    def __init__(self, browser: Any, address: str, scheme: str = "light", viewport: Any = None) -> None:
        context = browser.new_context(viewport=viewport or DESKTOP, color_scheme=scheme, reduced_motion="reduce")
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
        return self.page.locator(f"#{of}").inner_text()

    def shows(self, n: int) -> None:
        """Wait until the page is at a clip, counted from 1."""
        self.page.get_by_text(f"Clip {n} of", exact=False).wait_for()


def escaped(path: str) -> str:
    return path.replace("\N{RIGHT-TO-LEFT OVERRIDE}", "\\u202e")


def correct(opened: Opened, first: int, last: int) -> dict[str, str]:
    """Give each of some clips the class after its own, by keys, and return these by path."""
    given = {}
    for n in range(first, last + 1):
        opened.shows(n)
        label = opened.text("label")
        new = (CLASSES.index(label) + 1) % 3
        given[opened.text("path")] = CLASSES[new]
        opened.page.keyboard.press(str(new + 1))
    opened.shows(last + 1)
    return given


def test_ten_wrong_labels_are_corrected_by_keys_alone_and_a_kill_in_the_middle_loses_nothing(
    browser: Any, place: Path, disputed: list[str]
) -> None:
    (place / "corrections.csv").unlink(missing_ok=True)
    with review(place) as (address, process):
        opened = Opened(browser, address)
        assert "suspects reviewed: 0 of about" in opened.text("progress")
        given = correct(opened, 1, 5)
        opened.page.get_by_text("decisions: 5").wait_for()
        process.kill()
        process.wait()
        opened.page.keyboard.press("u")
        opened.page.get_by_text("the review is not running any more").wait_for()
    with review(place) as (address, process):
        opened = Opened(browser, address)
        opened.shows(6)
        given |= correct(opened, 6, 10)
        opened.page.get_by_text("decisions: 10").wait_for()
        opened.page.keyboard.press("u")
        opened.page.get_by_text("decisions: 11").wait_for()
        opened.page.keyboard.press("z")
        opened.page.get_by_text("decisions: 10").wait_for()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr is not None
        (line,) = process.stderr.read().splitlines()
        assert f"every decision is in {place / 'corrections.csv'}" in line
    assert given.keys() == {escaped(path) for path in disputed}
    rows = table(place / "corrections.csv")
    assert {row["path"]: row["new"] for row in rows if row["decision"] == "change"} == given
    assert [row["decision"] for row in rows] == ["change"] * 10 + ["unsure", "undo"]


def test_each_decision_has_its_key_its_button_and_its_words(browser: Any, place: Path, address: str) -> None:
    opened = Opened(browser, address)
    page = opened.page
    for n, (press, words) in enumerate(
        [
            (lambda: page.keyboard.press("Enter"), "The label is right."),
            (lambda: page.keyboard.press("u"), "Not sure."),
            (lambda: page.get_by_role("button", name="unusable").click(), "Unusable."),
            (lambda: page.keyboard.press("b"), "It is "),
        ],
        start=1,
    ):
        opened.shows(n)
        press()
        opened.shows(n + 1)
        page.keyboard.press("ArrowLeft")
        opened.shows(n)
        assert words in opened.text("decided")
        page.get_by_role("button", name="next").click()
    opened.shows(5)
    page.keyboard.press("n")
    page.keyboard.type("eagle owl")
    page.keyboard.press("Enter")
    opened.shows(6)
    page.keyboard.press("ArrowLeft")
    page.get_by_text("It is eagle owl.").wait_for()
    page.get_by_text("decisions: 5").wait_for()
    decisions = [row["decision"] for row in table(place / "corrections.csv")]
    assert decisions == ["right", "unsure", "unusable", "both", "change"]


def test_a_clip_is_seen_and_heard_slower_and_in_a_loop(browser: Any, address: str) -> None:
    opened = Opened(browser, address)
    page = opened.page
    assert imread(io.BytesIO(page.locator("#picture").screenshot()))[..., :3].std() > 0.03
    page.keyboard.press("Space")
    page.locator("body[data-playing='0']").wait_for()
    page.keyboard.press("l")
    assert page.locator("#loop").get_attribute("aria-pressed") == "true"
    page.keyboard.press("s")
    assert "½" in opened.text("slow")
    page.locator("body[data-playing='0']").wait_for()
    assert imread(io.BytesIO(page.locator("#wave").screenshot()))[..., :3].std() > 0.03
    page.keyboard.press("Space")
    page.locator("body:not([data-playing])").wait_for()


def test_a_lost_clip_is_told_in_words_and_the_others_go_on(browser: Any, place: Path, address: str) -> None:
    lost = place / "data" / "cat" / "4s1_nohash_0.wav"
    content = lost.read_bytes()
    lost.unlink()
    try:
        opened = Opened(browser, address)
        for n in range(1, 11):
            opened.shows(n)
            if opened.text("path") == "cat/4s1_nohash_0.wav":
                break
            opened.page.keyboard.press("ArrowRight")
        opened.page.get_by_text("No sound: ").wait_for()
        opened.page.keyboard.press("ArrowRight")
        opened.page.locator(f"body[data-playing='{n}']").wait_for()
    finally:
        lost.write_bytes(content)


def test_names_do_nothing_and_nothing_leaves_the_page(browser: Any, address: str) -> None:
    opened = Opened(browser, address)
    for n in range(1, 12):
        opened.shows(n)
        opened.page.keyboard.press("ArrowRight")
    opened.shows(12)
    assert opened.said == []
    assert opened.page.locator("main img").count() == 1
    assert opened.page.locator("svg[onload]").count() == 0
    home = address.split("/#")[0]
    assert all(url.startswith((f"{home}/", f"blob:{home}/", "data:,")) for url in opened.requests)
    assert address.split("#")[1] not in "".join(url.split("#")[0] for url in opened.requests)
    other = Opened.__new__(Opened)
    other.page = browser.new_context().new_page()
    other.page.goto(f"{home}/#guess")
    other.page.get_by_text("open the address that is printed now").wait_for()


@pytest.mark.parametrize(("scheme", "viewport"), SCREENS)
def test_axe_finds_nothing_serious_and_the_page_fits(
    browser: Any, address: str, scheme: str, viewport: dict[str, int]
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = Opened(browser, address, scheme, viewport).page
    page.keyboard.press("n")
    results = axe.Axe().run(page)
    assert len(results.response["passes"]) > 10
    serious = [one for one in results.response["violations"] if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in serious] == []
    assert page.locator("html").evaluate("e => e.scrollWidth <= innerWidth")
