"""The review in a real browser: labels are corrected by keys alone, a kill loses nothing, and names are only names."""

import base64
import io
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread

from cache import open_cache
from featurize import build
from tests.helpers.browser import PHONE, SCREENS
from tests.helpers.made_runs import made_crossval
from tests.helpers.review_page import WATCH, Opened, assert_accessible, review, served
from tests.helpers.sounds import noise
from tests.helpers.tables import table
from tests.helpers.tones import write_clips
from train.review.clips import opened_review, wav_of

HOSTILE = "dog/<img src=x onerror=alert(1)> \N{RIGHT-TO-LEFT OVERRIDE}.wav"
HOSTILE_CLASS = "<svg onload=alert(3)>"
CLASSES = ["dog", "cat", HOSTILE_CLASS]


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The right class of the clips that lie in the folder before theirs, by their paths."""
    moved = [f"{name}/4s{i}_nohash_0.wav" for name in CLASSES for i in range(3)]
    return {path: CLASSES[(CLASSES.index(path.split("/")[0]) + 1) % 3] for path in [HOSTILE, *moved]}


@pytest.fixture(scope="module")
def place(truth: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DATA with ten wrong labels among 300 clips, its cache, and a cross-validation that heard what they are."""
    folder = tmp_path_factory.mktemp("place")
    data = write_clips(folder / "data", seed=4, n_speakers=50)
    (data / "bird").rename(data / HOSTILE_CLASS)
    (data / "dog" / "4s49_nohash_1.wav").unlink()
    soundfile.write(data / HOSTILE, noise(9000, seed=1), 16000)
    for n, name in enumerate(CLASSES):
        for i in range(3):
            wrong, right = (data / one / f"4s{i}_nohash_0.wav" for one in (name, CLASSES[(n + 1) % 3]))
            wrong.write_bytes(right.with_name(f"4s{i}_nohash_1.wav").read_bytes()[:-2000])
    build(data, folder / "features.h5", classes=CLASSES)
    made_crossval(folder / "run", folder / "features.h5", n_repeats=1, mistaken=[*truth])
    return folder


@pytest.fixture
def address(place: Path) -> Iterator[str]:
    """The address of a review in this process, in which nothing is decided yet."""
    (place / "corrections.csv").unlink(missing_ok=True)
    with opened_review(place / "run", None, None, None) as server, served(server):
        yield server.address


def escaped(path: str) -> str:
    return path.replace("\N{RIGHT-TO-LEFT OVERRIDE}", "\\u202e")


def decide_by_ear(opened: Opened, truth: dict[str, str], first: int, last: int) -> None:
    """Give each of some clips its right class, by keys; the page has the sound of the next before each of them."""
    opened.page.evaluate(WATCH)
    by_page = {escaped(path): name for path, name in truth.items()}
    for n in range(first, last + 1):
        opened.shows(n)
        opened.has_next(n)
        right = by_page.get(opened.text("path"))
        opened.page.keyboard.press("Enter" if right is None else str(CLASSES.index(right) + 1))
        opened.plays_next(n)
    opened.page.get_by_text(f"decisions: {last}").wait_for()
    opened.assert_each_sound_is_sent_once()


def test_ten_wrong_labels_of_300_clips_are_corrected_by_keys_alone_and_a_kill_in_the_middle_loses_nothing(
    browser: Any, place: Path, truth: dict[str, str]
) -> None:
    (place / "corrections.csv").unlink(missing_ok=True)
    with review(place / "run") as (address, process):
        opened = Opened(browser, address)
        assert "Clip 1 of 300 · suspects reviewed: 0 of about" in opened.text("progress")
        decide_by_ear(opened, truth, 1, 5)
        process.kill()
        process.wait()
        opened.page.keyboard.press("u")
        opened.page.get_by_text("the review is not running any more").wait_for()
    with review(place / "run") as (address, process):
        opened = Opened(browser, address)
        decide_by_ear(opened, truth, 6, 20)
        assert "suspects reviewed: 20 of about" in opened.text("progress")
        opened.page.keyboard.press("u")
        opened.page.get_by_text("decisions: 21").wait_for()
        opened.page.keyboard.press("z")
        opened.page.get_by_text("decisions: 20").wait_for()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr is not None
        (line,) = process.stderr.read().splitlines()
        assert f"every decision is in {place / 'corrections.csv'}" in line
    rows = table(place / "corrections.csv")
    assert {row["path"]: row["new"] for row in rows if row["decision"] == "change"} == {
        escaped(path): name for path, name in truth.items()
    }
    assert_next_cache_is_right(place, truth)


def assert_next_cache_is_right(place: Path, truth: dict[str, str]) -> None:
    before = open_cache(place / "features.h5")
    (place / "next").mkdir()
    for name in ("features.h5", "corrections.csv"):
        shutil.copy(place / name, place / "next" / name)
    after = build(place / "data", place / "next" / "features.h5").cache
    assert (len(after), after.paths) == (300, before.paths)
    assert after.X.tobytes() == before.X.tobytes()
    assert [CLASSES[label] for label in after.labels] == [truth.get(path, path.split("/")[0]) for path in after.paths]


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


def test_a_clip_is_seen_and_heard_slower_louder_and_in_a_loop(browser: Any, address: str) -> None:
    opened = Opened(browser, address)
    page = opened.page
    assert imread(io.BytesIO(page.locator("#picture").screenshot()))[..., :3].std() > 0.03
    page.keyboard.press("l")
    page.locator("body[data-playing='0']").wait_for()
    assert page.locator("#loop").get_attribute("aria-pressed") == "true"
    for speed, length in (("½", 2), ("¼", 4), ("1", 1)):
        page.keyboard.press("s")
        page.evaluate(
            """(speed) => new Promise((then) => {
              const look = () => (playing && current.speed === speed ? then() : setTimeout(look, 5));
              look();
            })""",
            1 / length,
        )
        assert speed in opened.text("slow")
        assert page.evaluate("current.sound.duration") == pytest.approx(
            length * page.evaluate("current.item.duration"), 1e-3
        )
    places = [page.evaluate("new Promise((then) => setTimeout(() => then(cursor.style.left), 50))") for _ in range(3)]
    assert len(set(places)) == 3
    assert imread(io.BytesIO(page.locator("#wave").screenshot()))[..., :3].std() > 0.03
    for key, gain in (("+", 2), ("+", 4), ("-", 2)):
        page.keyboard.press(key)
        assert page.evaluate("gain.gain.value") == gain
    page.keyboard.press("Space")
    page.locator("body:not([data-playing])").wait_for()


def test_a_bat_at_45_khz_is_heard_at_a_quarter_of_that_and_so_is_a_whale(
    browser: Any, address: str, tmp_path: Path
) -> None:
    page = Opened(browser, address).page
    for hz, sr in ((45000, 250000), (1000, 8000), (120, 1000)):
        soundfile.write(tmp_path / "x.wav", 0.5 * np.sin(2 * np.pi * hz * np.arange(sr) / sr), sr)
        heard, duration, level = a_quarter_as_fast(page, wav_of(tmp_path, "x.wav", 1.0, 0.5))
        assert (heard, duration, level) == (
            pytest.approx(hz / 4, 0.02),
            pytest.approx(4, 0.01),
            pytest.approx(0.5, 0.1),
        )


def a_quarter_as_fast(page: Any, wav: bytes) -> tuple[float, float, float]:
    """The pitch that the page makes of a tone, how long it is, and its level."""
    found: tuple[float, float, float] = page.evaluate(
        """async (sent) => {
          const bytes = Uint8Array.from(atob(sent), (one) => one.charCodeAt(0)).buffer;
          const sound = await decoded(bytes, 0.25);
          const samples = sound.getChannelData(0);
          const rises = samples.filter((one, i) => i && one >= 0 && samples[i - 1] < 0).length;
          return [rises / sound.duration, sound.duration, samples.reduce((most, one) => Math.max(most, one))];
        }""",
        base64.b64encode(wav).decode(),
    )
    return found


def test_clips_like_it_are_seen_and_heard_beside_it(browser: Any, place: Path, address: str) -> None:
    opened = Opened(browser, address)
    page = opened.page
    page.select_option("#only", label="4s7 (6)")
    page.get_by_text("Clip 1 of 6").wait_for()
    cache, path = open_cache(place / "features.h5"), opened.text("path")
    row, label = cache.paths.index(path), opened.text("label")
    near = [cache.paths[(row + by) % 300] for by in (1, 2, 100)]
    page.locator("#near img[src]").nth(2).wait_for()
    buttons = [page.locator(f"#near-{which} button").nth(i) for which, i in (("own", 0), ("own", 1), ("other", 0))]
    assert [button.get_attribute("title") for button in buttons] == [escaped(one) for one in near]
    assert page.locator("#near-other").inner_text().split()[-1] != label
    page.keyboard.press("l")
    for key, n in (("q", 1), ("e", 3), ("w", 2)):
        page.keyboard.press(key)
        page.locator(f"body[data-near='{n}']").wait_for()
        assert page.locator("#near button[aria-pressed=true]").count() == 1
        duration = cache.columns["duration"][cache.paths.index(near[n - 1])]
        assert page.evaluate("playing.source.buffer.duration") == pytest.approx(duration, 1e-3)
    page.keyboard.press("Space")
    page.locator("body[data-playing]:not([data-near])").wait_for()
    page.locator("#near button").first.click()
    page.locator("body[data-near='1']").wait_for()
    page.keyboard.press("q")
    page.locator("body:not([data-near])").wait_for()
    assert opened.said == []


def test_one_class_or_one_speaker_is_reviewed_on_request(browser: Any, address: str) -> None:
    opened = Opened(browser, address)
    opened.page.select_option("#only", label="cat (100)")
    opened.page.get_by_text("Clip 1 of 100").wait_for()
    for n in range(1, 4):
        opened.shows(n)
        assert opened.text("label") == "cat"
        opened.page.keyboard.press("Enter" if n == 1 else "ArrowRight")
    opened.page.select_option("#only", label="4s7 (6)")
    for n in range(1, 7):
        opened.page.get_by_text(f"Clip {n} of 6").wait_for()
        assert "/4s7_nohash_" in opened.text("path")
        opened.page.keyboard.press("ArrowRight")
    opened.page.keyboard.press("z")  # the decision before is about a clip of somebody else
    opened.page.get_by_text("of 300").wait_for()
    assert opened.text("label") == "cat"
    assert opened.text("decided") == ""


def test_on_a_phone_everything_is_a_tap(browser: Any, place: Path, address: str) -> None:
    opened = Opened(browser, address, viewport=PHONE, has_touch=True, is_mobile=True)
    page = opened.page
    for n, name in enumerate(["the label is right", "not sure", "unusable", "cat", " and "], start=1):
        opened.shows(n)
        if name == "cat" and opened.text("label") == "cat":
            name = "dog"
        page.locator("#decisions").get_by_role("button", name=name).last.tap()
    opened.shows(6)
    page.get_by_role("button", name="another class").tap()
    page.get_by_label("Name of the class").fill("owl")
    page.get_by_role("button", name="use it").tap()
    opened.shows(7)
    page.get_by_role("button", name="undo").tap()
    opened.shows(6)
    page.get_by_role("button", name="back").tap()
    opened.shows(5)
    page.get_by_role("button", name="loop").tap()
    page.locator("body[data-playing='4']").wait_for()
    page.get_by_role("button", name="play").tap()
    page.locator("body:not([data-playing])").wait_for()
    page.locator("#wave").tap()
    page.locator("body[data-playing='4']").wait_for()
    page.get_by_text("decisions: 5").wait_for()
    decisions = [row["decision"] for row in table(place / "corrections.csv")]
    assert decisions[:3] == ["right", "unsure", "unusable"]
    assert decisions[4:] == ["both", "change", "undo"]


def test_a_lost_clip_is_told_in_words_and_the_others_go_on(browser: Any, place: Path, address: str) -> None:
    lost = place / "data" / "cat" / "4s1_nohash_0.wav"
    content = lost.read_bytes()
    lost.unlink()
    try:
        opened = Opened(browser, address)
        opened.page.keyboard.press("l")
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
    assert opened.page.locator("main img[onerror]").count() == 0
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
    page = Opened(browser, address, scheme, viewport).page
    page.keyboard.press("n")
    assert_accessible(page)
