"""Findings in an hour of sound, in a real browser: corrected by keys alone, edges moved, and a kill loses nothing."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from featurize import build
from tests.helpers.browser import PHONE, SCREENS
from tests.helpers.made_runs import made_fit
from tests.helpers.recordings import Call, write_predictions, write_recording
from tests.helpers.review_page import WATCH, Opened, assert_accessible, review, served
from tests.helpers.tables import table
from train.review.findings import opened_findings
from train.runs.directory import open_run

HOSTILE = "<img src=x onerror=alert(1)> \N{RIGHT-TO-LEFT OVERRIDE}.wav"
HOUR = 3600.0
# Twelve calls, one every five minutes, each a little surer than the one before.
CALLS = [Call(300.0 * i + 7, ["dog", "cat", "bird"][i % 3], 0.55 + 0.03 * i, 1 + i % 3) for i in range(12)]


@pytest.fixture(scope="module")
def place(tones_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, an hour of sound, and what the run is said to find in it."""
    folder = tmp_path_factory.mktemp("place")
    run = made_fit(folder / "run", tones_cache)
    night = write_recording(folder / "nights" / HOSTILE, HOUR, CALLS)
    write_predictions(folder / "found.csv", run, [(night, HOUR, CALLS)])
    return folder


@pytest.fixture
def fresh(place: Path) -> Path:
    shutil.rmtree(place / "nights" / "reviewed", ignore_errors=True)
    return place


@pytest.fixture
def address(fresh: Path) -> Iterator[str]:
    """The address of a review in this process, in which nothing is decided yet."""
    thresholds = dict.fromkeys(["dog", "cat", "bird"], 0.5)
    run = open_run(fresh / "run")
    opened = opened_findings(run, [str(fresh / "nights")], thresholds, predictions=fresh / "found.csv")
    with opened as server, served(server):
        yield server.address


def peak(pid: int) -> int:
    """The most memory that a process had, in MB."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) // 1000


def test_findings_of_an_hour_are_corrected_by_keys_alone_and_the_next_cache_is_right_to_the_row(
    browser: Any, fresh: Path
) -> None:
    arguments = (fresh / "run", fresh / "nights", "--predictions", fresh / "found.csv", "--threshold", "0.5")
    with review(*arguments) as (address, process):
        opened = Opened(browser, address)
        before = peak(process.pid)
        opened.page.evaluate(WATCH)
        for n, key in enumerate(["Enter", "x", "1", "b", "u", "Enter"], start=1):
            opened.shows(n, "Finding")
            opened.has_next(n)
            if n == 6:  # its start 8 steps earlier and its end 4 steps later
                for edge in "q" * 8 + "p" * 4:
                    opened.page.keyboard.press(edge)
            opened.page.keyboard.press(key)
            opened.plays_next(n)
        opened.page.get_by_text("decisions: 6").wait_for()
        opened.assert_each_sound_is_sent_once()
        process.kill()
        process.wait()
        opened.page.keyboard.press("Enter")
        opened.page.get_by_text("the review is not running any more").wait_for()
    with review(*arguments) as (address, process):
        opened = Opened(browser, address)
        opened.page.evaluate(WATCH)
        for n in range(7, 13):
            opened.shows(n, "Finding")
            if n < 12:
                opened.has_next(n)
            if n == 8:
                opened.page.keyboard.press("n")
                opened.page.keyboard.type("owl")
            opened.page.keyboard.press("Enter")
            if n < 12:
                opened.plays_next(n)
        opened.page.get_by_text("decisions: 12").wait_for()
        opened.page.keyboard.press("z")
        opened.page.get_by_text("decisions: 11").wait_for()
        opened.assert_each_sound_is_sent_once()
        # An hour is 29 MB as it lies there, and 58 MB as it is decoded.
        assert peak(process.pid) < before + 25
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr is not None
        assert f"every decision is in {fresh}/nights/reviewed/findings.csv" in process.stderr.read()
    assert_next_cache_is_right(fresh)


def assert_next_cache_is_right(fresh: Path) -> None:
    rows = table(fresh / "nights/reviewed/findings.csv")
    assert [row["decision"] for row in rows] == (
        ["right", "rejected", "change", "both", "unsure", "right", "right", "change", *["right"] * 4, "undo"]
    )
    length = CALLS[5].edges[1] - CALLS[5].edges[0] + 2 * 128 * 512 / 16000
    moved = [float(rows[5][name]) for name in ("new_start", "new_end")]
    assert moved == pytest.approx(
        [CALLS[5].edges[0] - 8 * length / 200, CALLS[5].edges[1] + 4 * length / 200], abs=1e-3
    )
    labels = {call.edges: call.label for call in CALLS[:11]}
    labels |= {CALLS[1].edges: "background", CALLS[2].edges: "dog", CALLS[7].edges: "owl", tuple(moved): CALLS[5].label}
    del labels[CALLS[4].edges], labels[CALLS[5].edges]
    # The file's name would break a line of Raven's; Audacity's table has it as its own.
    built = build(
        fresh / "nights", fresh / "next.h5", labels=fresh / "nights/reviewed/audacity", notify=lambda line: None
    )
    cache = built.cache
    assert {
        (path.removeprefix(f"{HOSTILE}#"), cache.class_names[label])
        for path, label in zip(cache.paths, cache.labels, strict=True)
    } == {(f"{start:.6f}-{end:.6f}", name) for (start, end), name in labels.items()}
    (fresh / "next.h5").unlink()


def test_each_decision_has_its_words_and_edges_that_move_are_kept_with_it(
    browser: Any, fresh: Path, address: str
) -> None:
    opened = Opened(browser, address)
    page = opened.page
    assert opened.text("progress").casefold() == "finding 1 of 12 · decisions: 0"
    assert opened.text("why") == "The network says dog with 55.0 %, and its threshold is 50.0 %; 0:07.25 to 0:07.75."
    assert opened.text("span") == "0:07.25 to 0:07.75"
    assert "rejected: background" in page.locator("#decisions").inner_text()
    page.locator("#from").focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    assert page.locator("#from").get_attribute("aria-valuetext") == "0:07.03"
    assert "The edges have moved" in opened.text("decided")
    page.locator("#from").blur()
    page.keyboard.press("Enter")
    opened.shows(2, "Finding")
    page.keyboard.press("ArrowLeft")
    opened.shows(1, "Finding")
    assert opened.text("decided") == "The label is right."
    page.get_by_text("decisions: 1").wait_for()
    page.keyboard.press("e")
    assert opened.text("span") == "0:07.25 to 0:07.75"
    page.keyboard.press("x")
    opened.shows(2, "Finding")
    page.get_by_text("decisions: 1").wait_for()
    page.reload()
    page.locator("#picture[src]").wait_for()
    opened.shows(2, "Finding")
    page.keyboard.press("ArrowLeft")
    page.get_by_text("Rejected: it is background.").wait_for()
    page.keyboard.press("z")
    page.get_by_text("decisions: 0").wait_for()
    assert [row["decision"] for row in table(fresh / "nights/reviewed/findings.csv")] == ["right", "rejected", "undo"]


def test_edges_are_dragged_the_finding_loops_and_the_view_is_moved(browser: Any, address: str) -> None:
    opened = Opened(browser, address, viewport=PHONE, has_touch=True, is_mobile=True)
    page = opened.page
    for edge, by in (("from", -40), ("to", 30)):
        box = page.locator(f"#{edge}").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + 10
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + by, y, steps=3)
        page.mouse.up()
    width = page.locator("#pictures").bounding_box()["width"]
    second = width / page.evaluate("current.item.ends - current.item.starts")
    assert page.evaluate("current.item.edges") == pytest.approx([7.25 - 40 / second, 7.75 + 30 / second], abs=0.05)
    page.locator("#loop").tap()
    page.locator("body[data-playing='0']").wait_for()
    loop = page.evaluate("[playing.source.loop, playing.source.loopStart, playing.source.loopEnd]")
    edges = page.evaluate("current.item.edges.map((time) => time - current.item.starts)")
    assert (loop[0], loop[1:]) == (True, pytest.approx(edges, abs=1e-3))
    page.locator("#play").tap()
    starts = page.evaluate("current.item.starts")
    page.locator("#later").tap()
    page.wait_for_function("(before) => current.item.starts > before && current.sound", arg=starts)
    assert page.evaluate("current.item.edges") != [7.25, 7.75]
    for _ in range(3):
        page.locator("#earlier").tap()
    page.wait_for_function("() => current.item.starts === 0 && current.sound")


def test_names_do_nothing_and_nothing_but_the_page_is_asked_for(browser: Any, address: str) -> None:
    opened = Opened(browser, address)
    for n in range(1, 12):
        opened.shows(n, "Finding")
        opened.page.keyboard.press("ArrowRight")
    opened.shows(12, "Finding")
    opened.page.keyboard.press("n")
    opened.page.keyboard.type("<svg onload=alert(3)>")
    opened.page.keyboard.press("Enter")
    opened.page.get_by_text("decisions: 1").wait_for()
    assert opened.text("decided") == "It is <svg onload=alert(3)>."
    assert opened.text("path") == HOSTILE.replace("\N{RIGHT-TO-LEFT OVERRIDE}", "\\u202e")
    assert opened.said == []
    assert opened.page.locator("main img").count() == 1
    home = address.split("/#")[0]
    assert all(url.startswith((f"{home}/", f"blob:{home}/", "data:,")) for url in opened.requests)


@pytest.mark.parametrize(("scheme", "viewport"), SCREENS)
def test_axe_finds_nothing_serious_and_the_page_fits(
    browser: Any, address: str, scheme: str, viewport: dict[str, int]
) -> None:
    page = Opened(browser, address, scheme, viewport).page
    page.keyboard.press("q")
    assert_accessible(page)
