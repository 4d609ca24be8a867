"""report.html in a real browser: everything is seen, heard, sorted and reached, and nothing leaves the page."""

import io
import shutil
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pytest
import soundfile
from matplotlib.image import imread

from tests.helpers.browser import DESKTOP, SCREENS
from tests.helpers.commands import featurize
from tests.helpers.made_runs import FIGURES, made_crossval, made_fit
from tests.helpers.sounds import FORMATS, encoded, noise
from tests.helpers.tones import write_clips
from train.report.mistakes import MAX_MISTAKES
from train.report.report import write_report

HOSTILE = "dog/<img src=x onerror=alert(1)>.wav"
HOSTILE_CLASS = "<svg onload=alert(3)>"
LONG = "cat/long & loud #1.wav"
# The formats that Chromium decodes, by libsndfile's names; the others must be converted.
PLAYED = {("WAV", subtype) for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "ALAW", "ULAW")}
PLAYED |= {("WAVEX", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")}


def path_of(container: str, subtype: str) -> str:
    return f"dog/{container}-{subtype}.{container.lower()}"


@pytest.fixture(scope="module")
def cache_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of clips in every format, and of names that are markup."""
    data = write_clips(tmp_path_factory.mktemp("page") / "data", seed=3, n_speakers=4)
    (data / "bird").rename(data / HOSTILE_CLASS)
    for container, subtype in FORMATS:
        # At a rate that every codec knows; of Opus, libsndfile writes no other.
        (data / path_of(container, subtype)).write_bytes(encoded(container, subtype, noise(24000), 48000))
    soundfile.write(data / HOSTILE, noise(9000, seed=1), 16000)
    soundfile.write(data / LONG, noise(20 * 16000, seed=2), 16000)
    (data / "dog" / "broken.wav").write_bytes(b"no audio")
    return featurize(data, data.parent / "features.h5", "--classes", f"dog,cat,{HOSTILE_CLASS}")


@pytest.fixture(scope="module")
def fit_page(cache_file: Path) -> Path:
    mistaken = [HOSTILE, LONG, *(path_of(*one) for one in FORMATS)]
    assert len(mistaken) <= MAX_MISTAKES
    return write_report(made_fit(cache_file.parent / "runs" / "first", cache_file, mistaken))


@pytest.fixture(scope="module")
def crossval_page(cache_file: Path) -> Path:
    return write_report(made_crossval(cache_file.parent / "runs" / "second", cache_file, mistaken=[HOSTILE]))


@pytest.fixture(params=["fit_page", "crossval_page"])
def page_file(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


class Opened:
    """A page in the browser, and all that it said, asked for and showed."""

    def __init__(self, browser: Any, file: Path, viewport: dict[str, int], scheme: str = "light") -> None:
        context = browser.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
        self.page = context.new_page()
        self.said: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())


class Open(Protocol):
    def __call__(self, file: Path, scheme: str = "light", viewport: dict[str, int] = DESKTOP) -> Opened: ...


@pytest.fixture(scope="module")
def opened(started: Any) -> Open:
    """Opens a page once in every scheme: the screen changes its size from one test to the next."""
    once = cache(lambda file, scheme: Opened(started, file, DESKTOP, scheme))

    def open_page(file: Path, scheme: str = "light", viewport: dict[str, int] = DESKTOP) -> Opened:
        found: Opened = once(file, scheme)
        found.page.set_viewport_size(viewport)
        return found

    return open_page


@pytest.fixture
def fit_opened(opened: Open, fit_page: Path) -> Opened:
    return opened(fit_page)


def test_every_figure_and_every_spectrogram_is_seen(fit_opened: Opened) -> None:
    page = fit_opened.page
    figures = page.locator("figure img")
    assert figures.count() == len(FIGURES)
    assert page.locator("img.mel").count() == page.locator("li.clip").count() > len(FORMATS)
    for image in page.locator("img").all():
        image.scroll_into_view_if_needed()
        assert image.is_visible()
        assert image.evaluate("image => image.complete && image.naturalWidth > 0")
    # An SVG that was empty, or black on black, would have a width all the same.
    for figure in figures.all():
        assert imread(io.BytesIO(figure.screenshot()))[..., :3].std() > 0.03


def test_clips_of_every_format_play_and_what_browsers_do_not_decode_is_converted_for_them(fit_opened: Opened) -> None:
    page = fit_opened.page
    page.wait_for_function("[...document.querySelectorAll('audio')].every((audio) => audio.readyState >= 1)")
    offered = {audio.get_attribute("aria-label") for audio in page.locator("audio").all()}
    assert {HOSTILE, LONG} <= offered
    for container, subtype in FORMATS:
        path = path_of(container, subtype)
        assert path in offered
        if (container, subtype) not in PLAYED:
            player = page.locator("audio").and_(page.get_by_label(path, exact=True))
            assert (player.get_attribute("src") or "").startswith("data:audio/wav;base64,"), path
    long = page.locator("audio").and_(page.get_by_label(LONG, exact=True))
    assert long.get_attribute("src") == "../../data/cat/long%20%26%20loud%20%231.wav"
    assert long.evaluate("audio => audio.duration") == pytest.approx(20, abs=0.1)
    long.evaluate("audio => { audio.muted = true; return audio.play(); }")
    page.wait_for_function("audio => audio.currentTime > 0", arg=long.element_handle())


def test_a_file_that_is_gone_is_told_in_words(opened: Open, fit_page: Path, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    moved = shutil.copy(fit_page, tmp_path / "a" / "b")
    page = opened(Path(moved)).page
    card = page.locator("li.clip").filter(has=page.get_by_text(LONG, exact=True))
    card.get_by_text("this browser cannot play the file, or it is not there any more").wait_for()
    assert card.locator("audio").count() == 0


def test_a_column_is_sorted_by_click_and_by_key_and_says_so(fit_opened: Opened) -> None:
    page = fit_opened.page
    table = page.get_by_role("region", name="Score of each class").locator("table")
    head, button = table.get_by_role("columnheader", name="F1"), table.get_by_role("button", name="F1")

    def values() -> list[float]:
        return [float(cell.get_attribute("data-value")) for cell in table.locator("tbody td:nth-child(4)").all()]

    assert head.get_attribute("aria-sort") is None
    before = values()
    button.click()
    assert values() == sorted(before)
    assert head.get_attribute("aria-sort") == "ascending"
    button.press("Enter")
    assert values() == sorted(before, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    table.get_by_role("button", name="Class").click()
    names = table.locator("tbody th").all_inner_texts()
    assert names == sorted(names)
    assert head.get_attribute("aria-sort") is None


def test_a_name_that_is_markup_does_nothing_and_nothing_leaves_the_page(opened: Open, page_file: Path) -> None:
    found = opened(page_file)
    page = found.page
    page.wait_for_load_state("networkidle")
    page.get_by_text(HOSTILE, exact=True).first.wait_for()
    assert page.get_by_text(HOSTILE_CLASS, exact=True).count() > 0
    assert page.locator("[onerror], [onload], img[src=x]").count() == 0
    assert page.locator("script").count() == 1
    assert found.said == []
    home = page_file.parent.parent.parent.as_uri()
    assert [url for url in found.requests if not url.startswith(("data:", f"{home}/"))] == []


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_scrolls_in_one_direction_only(opened: Open, page_file: Path, width: int) -> None:
    page = opened(page_file, viewport={"width": width, "height": 844}).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    inside = "[...document.querySelectorAll('.scroll')].every((e) => e.getBoundingClientRect().right <= innerWidth)"
    assert page.evaluate(inside)


@pytest.mark.parametrize("width", [360, 390])
def test_the_scores_of_short_class_names_fit_a_phone_without_scrolling(
    opened: Open, fit_page: Path, width: int
) -> None:
    page = opened(fit_page, viewport={"width": width, "height": 844}).page
    table = page.get_by_label("Score of each class")
    assert table.evaluate("e => e.scrollWidth") == table.evaluate("e => e.clientWidth")


@pytest.mark.parametrize(("scheme", "viewport"), SCREENS)
def test_axe_finds_nothing_serious(opened: Open, page_file: Path, scheme: str, viewport: dict[str, int]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    results = axe.Axe().run(opened(page_file, scheme, viewport).page)
    assert len(results.response["passes"]) > 10
    serious = [one for one in results.response["violations"] if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in serious] == []


def test_every_control_has_a_name(fit_opened: Opened) -> None:
    page = fit_opened.page
    for role in ("button", "link", "region"):
        names = [one.evaluate("e => e.ariaLabel || e.textContent.trim()") for one in page.get_by_role(role).all()]
        assert names
        assert all(names)
    labels = [audio.get_attribute("aria-label") for audio in page.locator("audio").all()]
    assert all(labels)
    assert len(set(labels)) == len(labels)


def test_in_the_dark_the_page_and_its_figures_are_dark(opened: Open, fit_page: Path) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        page = opened(fit_page, scheme).page
        page.evaluate("scrollTo(0, 0)")
        shots = [page.screenshot(), *(figure.screenshot() for figure in page.locator("figure img").all())]
        brightness[scheme] = [imread(io.BytesIO(shot))[..., :3].mean() for shot in shots]
    assert all(mean > 0.7 for mean in brightness["light"])
    assert all(mean < 0.35 for mean in brightness["dark"])
