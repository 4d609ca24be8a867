"""report.html: its numbers are those of the predictions, its names are data, and it is written whatever is missing."""

import base64
import csv
import io
import json
import os
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from cache import open_cache
from cache.shared.errors import Interrupted, UserError
from cache.shared.segment import Segment
from tests.helpers.commands import featurize
from tests.helpers.made_runs import FIGURES, made_crossval, made_fit
from tests.helpers.sounds import encoded, ffmpeg_encoded, noise
from tests.helpers.tables import predictions
from tests.helpers.tones import write_clips
from train.report import mistakes, report
from train.report import page as pages
from train.report.page import players
from train.report.report import report_finished, write_report

HOSTILE_CLASS = "<svg onload=alert(3)>"
HOSTILE = [
    "dog/<img src=x onerror=alert(1)>.wav",
    "cat/\"quoted\" & 'single' --> ]]> {{ 7 * 7 }}.wav",
    f"{HOSTILE_CLASS}/$x_{{1}}^2$ \N{RIGHT-TO-LEFT OVERRIDE}vaw.\x1b[31mred.wav",
]


@pytest.fixture(scope="module")
def odd_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of clips with names that are markup, of a rejected file, a duplicate and a label conflict."""
    data = write_clips(tmp_path_factory.mktemp("odd") / "data", seed=2, n_speakers=5)
    (data / "bird").rename(data / HOSTILE_CLASS)
    for i, path in enumerate(HOSTILE):
        soundfile.write(data / path, noise(9000, seed=i), 16000)
    (data / "dog" / "<b>broken.wav").write_bytes(b"no audio")
    shutil.copy(data / "dog" / "2s0_nohash_0.wav", data / "dog" / "again.wav")
    shutil.copy(data / "cat" / "2s0_nohash_0.wav", data / "dog" / "not a dog.wav")
    return featurize(data, data.parent / "features.h5", "--classes", f"dog,cat,{HOSTILE_CLASS}")


class Page(HTMLParser):
    """The parts of a page that the tests look at: tags with attributes, text, and the rows of each labelled table."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self._region, self._reads = "", False
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.tags.append((tag, found))
        if found.get("role") == "region":
            self._region = found["aria-label"] or ""
            self.tables[self._region] = []
        elif tag == "tr":
            self.tables[self._region].append([])
        elif tag in ("td", "th"):
            self._reads = "data-value" not in found
            self.tables[self._region][-1].append(found.get("data-value") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._reads = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._reads:
            self.tables[self._region][-1][-1] += data

    def numbers(self, region: str) -> np.ndarray:
        """The values of a table, without its head and the names of its rows."""
        return np.array([[float(value) for value in row[1:]] for row in self.tables[region][1:]])

    def of_tag(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def copied(run: Path, to: Path) -> Path:
    return Path(shutil.copytree(run, to))


def changed(run: Path, to: Path, **values: object) -> Path:
    """A copy of a run with other values in its record; None takes one away."""
    record = json.loads((copied(run, to) / "run.json").read_text())
    record = {name: value for name, value in {**record, **values}.items() if value is not ...}
    (to / "run.json").write_text(json.dumps(record))
    return to


@pytest.fixture(scope="module")
def odd_run(odd_cache: Path) -> Path:
    folder = made_fit(odd_cache.parent / "run", odd_cache, mistaken=[*HOSTILE, "dog/not a dog.wav"])
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def odd_page(odd_run: Path) -> Page:
    return Page(odd_run / "report.html")


def test_the_tables_are_scikit_learns_of_the_predictions_of_a_fit(run: Path, tmp_path: Path) -> None:
    page = Page(write_report(copied(run, tmp_path / "run")))
    check_tables(page, run)
    accuracy = json.loads((run / "run.json").read_text())["metrics"]["accuracy"]
    assert f"{100 * accuracy:.1f}\N{NARROW NO-BREAK SPACE}%" in page.text


def test_a_fit_says_what_calibration_changed_and_from_which_probability_on_to_believe(
    run: Path, tmp_path: Path
) -> None:
    page = Page(write_report(copied(run, tmp_path / "run")))
    record, rows = json.loads((run / "run.json").read_text()), predictions(run)
    p = np.array([[float(row[f"p_{name}"]) for name in record["class_names"]] for row in rows])
    raw = p ** record["temperature"]
    confidence = (raw / raw.sum(axis=1, keepdims=True)).max(axis=1)
    correct = [row["class"] == row["predicted"] for row in rows]
    share, mean = calibration_curve(correct, confidence, n_bins=10)
    n, _ = np.histogram(confidence, np.linspace(0, 1, 11))
    error = 100 * (n[n > 0] * np.abs(mean - share)).sum() / len(rows)
    assert f"before calibration it was {error:.1f}\N{NARROW NO-BREAK SPACE}%" in page.text
    assert f"a temperature of {record['temperature']:.2f}, fitted on" in page.text
    assert [(row[0], float(row[1])) for row in page.tables["Thresholds"][1:]] == list(record["thresholds"].items())


def test_what_is_not_calibrated_says_so(odd_page: Page, odd_run: Path, tones_cache: Path, tmp_path: Path) -> None:
    assert "they are not calibrated." in odd_page.text
    split = json.loads((odd_run / "run.json").read_text())["split"]
    split["val"]["n"] = 0
    page = Page(write_report(changed(odd_run, tmp_path / "run", split=split)))
    assert "not calibrated, because there were no validation clips" in page.text
    crossval = Page(write_report(made_crossval(tmp_path / "crossval", tones_cache)))
    assert "only a fit calibrates them" in crossval.text


def test_the_tables_of_a_cross_validation_count_every_test(tones_cache: Path, tmp_path: Path) -> None:
    folder = made_crossval(tmp_path / "run", tones_cache)
    page = Page(write_report(folder))
    check_tables(page, folder)
    assert page.numbers("Every fold")[:, :4].tolist() == [[fold, 20, 4, 24] for fold in (1, 2, 1, 2)]


def check_tables(page: Page, folder: Path) -> None:
    rows, names = predictions(folder), json.loads((folder / "run.json").read_text())["class_names"]
    true, predicted = ([row[column] for row in rows] for column in ("class", "predicted"))
    expected = precision_recall_fscore_support(true, predicted, labels=names, zero_division=0)
    np.testing.assert_allclose(page.numbers("Score of each class"), np.transpose(expected), atol=1e-9)

    confusion = confusion_matrix(true, predicted, labels=names)
    found = {
        (row[0], row[1]): (int(row[2]), float(row[3])) for row in page.tables.get("Most frequent confusions", [])[1:]
    }
    assert found == {
        (names[i], names[j]): (n, pytest.approx(n / confusion[i].sum()))
        for (i, j), n in np.ndenumerate(confusion)
        if n and i != j
    }

    confidence = np.array([max(float(row[f"p_{name}"]) for name in names) for row in rows])
    correct = np.array(true) == np.array(predicted)
    share, mean = calibration_curve(correct, confidence, n_bins=10)
    numbers = page.numbers("Calibration")
    np.testing.assert_allclose(numbers[:, :2], np.column_stack([mean, share]), atol=1e-5)
    assert numbers[:, 2].sum() == len(rows)
    error = 100 * (numbers[:, 2] * np.abs(mean - share)).sum() / len(rows)
    assert f"is {error:.1f}\N{NARROW NO-BREAK SPACE}% away" in page.text


def test_mistakes_come_worst_first_and_then_the_least_certain_of_the_others(odd_run: Path) -> None:
    rows = predictions(odd_run)
    by_truth = sorted(rows, key=lambda row: float(row[f"p_{row['class']}"]))
    wrong = [row["path"] for row in by_truth if row["class"] != row["predicted"]]
    right = [row["path"] for row in by_truth if row["class"] == row["predicted"]]
    text = (odd_run / "report.html").read_text(encoding="utf-8")
    shown = [name for tag, name in page_names(Page(odd_run / "report.html"))]
    assert len(wrong) >= 4
    assert len(text) < 5_000_000
    expected = [*wrong[: mistakes.MAX_MISTAKES], *right[: mistakes.MAX_UNCERTAIN]]
    assert shown == [escaped(path) for path in expected]


def page_names(page: Page) -> list[tuple[str, str]]:
    """Tag and clip of every spectrogram, in their order."""
    prefix = "Mel spectrogram of "
    return [("img", one["alt"][len(prefix) :]) for one in page.of_tag("img") if (one["alt"] or "").startswith(prefix)]


def escaped(path: str) -> str:
    return path.replace("\x1b", "\\x1b").replace("\N{RIGHT-TO-LEFT OVERRIDE}", "\\u202e")


def test_names_from_disk_are_text_and_never_markup(odd_page: Page) -> None:
    assert len(odd_page.of_tag("script")) == 1
    assert {tag for tag, _ in odd_page.tags} <= {
        *("html", "head", "meta", "link", "title", "style", "body", "header", "main", "footer", "nav", "section"),
        *("h1", "h2", "h3", "p", "a", "ul", "ol", "li", "span", "small", "strong", "code", "div", "dl", "dt", "dd"),
        *("table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "figure", "figcaption", "img", "br"),
        *("svg", "line", "rect", "circle", "audio", "script"),
    }
    assert not [name for _, attributes in odd_page.tags for name in attributes if name.startswith("on")]
    assert all((one["src"] or "").startswith("data:image/") for one in odd_page.of_tag("img"))
    for path in [*HOSTILE, "dog/<b>broken.wav", HOSTILE_CLASS]:
        assert escaped(path) in odd_page.text
    assert not {"\x1b", "\N{RIGHT-TO-LEFT OVERRIDE}"} & set(odd_page.text)


def test_the_page_forbids_itself_the_network_and_every_script_but_its_own(odd_page: Page) -> None:
    (policy,) = [one["content"] or "" for one in odd_page.of_tag("meta") if "http-equiv" in one]
    assert policy.startswith("default-src 'none'; img-src data:; media-src data: file: 'self';")
    assert "script-src 'sha256-" in policy
    for attributes in (attributes for _, attributes in odd_page.tags):
        for name in ("src", "href"):
            assert not (attributes.get(name) or "").startswith(("http:", "https:", "//"))


def test_the_data_section_names_rejected_files_duplicates_and_label_conflicts(odd_page: Page, odd_run: Path) -> None:
    assert odd_page.tables["Rejected files"][1:] == [
        ["dog/<b>broken.wav", "it is not audio in any format that libsndfile or FFmpeg knows"]
    ]
    conflicts, duplicates = odd_page.text.split("The same content in two classes")[1].split("Duplicates within")
    assert "dog/not a dog.wav" in conflicts
    assert "cat/2s0_nohash_0.wav" in conflicts
    assert "dog/again.wav" in duplicates
    assert "Its content is also cat/2s0_nohash_0.wav, of another class." in odd_page.text
    split = json.loads((odd_run / "run.json").read_text())["split"]
    for row in odd_page.tables["Clips of each class"][1:4]:
        assert [int(n) for n in row[1:4]] == [split[side]["n_per_class"][row[0]] for side in ("train", "val", "test")]


def test_every_spectrogram_is_the_row_of_its_clip_without_the_padding(odd_page: Page, odd_cache: Path) -> None:
    from matplotlib import colormaps

    cache = open_cache(odd_cache)
    pictures = {one["alt"]: one["src"] or "" for one in odd_page.of_tag("img")}
    for path in HOSTILE:
        row = cache.paths.index(path)
        x = cache.X[row, ::-1, : cache.columns["n_frames"][row], 0]
        source = pictures[f"Mel spectrogram of {escaped(path)}"]
        (odd_cache.parent / "picture.png").write_bytes(base64.b64decode(source.split(",")[1]))
        shown = imread(odd_cache.parent / "picture.png")[..., :3]
        np.testing.assert_allclose(shown, colormaps["magma"](x)[..., :3], atol=0.02)


def test_the_figures_are_there_as_pngs_with_something_on_them(odd_run: Path) -> None:
    files = {file.name: imread(file) for file in (odd_run / "figures").iterdir()}
    assert set(files) == {f"{name}.png" for name in FIGURES}
    assert all(picture.std() > 0.02 and picture.shape[0] > 400 for picture in files.values())


def test_without_the_cache_and_the_clips_the_page_is_written_and_says_what_is_missing(
    odd_run: Path, tmp_path: Path
) -> None:
    gone = json.loads((odd_run / "run.json").read_text())["cache"] | {"file": str(tmp_path / "gone" / "features.h5")}
    page = Page(write_report(changed(odd_run, tmp_path / "run", cache=gone)))
    assert "there is no such cache" in page.text
    assert page_names(page) == []
    assert page.of_tag("audio") == []
    lost = "No player: the folder of clips is gone; give its place with report --data."
    assert page.text.count(lost) >= 4
    assert "--cache" in page.text
    check_tables(page, odd_run)


def test_a_cache_and_clips_that_have_moved_are_found_where_they_are_said_to_be(
    odd_run: Path, odd_cache: Path, tmp_path: Path
) -> None:
    cache = json.loads((odd_run / "run.json").read_text())["cache"]
    folder = changed(odd_run, tmp_path / "run", cache=cache | {"file": str(tmp_path / "gone" / "features.h5")})
    disk, link = tmp_path / "disk" / "deep", tmp_path / "link.h5"
    disk.mkdir(parents=True)
    shutil.copy(odd_cache, disk / "features.h5")
    link.symlink_to(disk / "features.h5")
    data = odd_cache.parent / open_cache(odd_cache).header.data_dir
    whole = Page(write_report(odd_run))
    n_players = len(whole.of_tag("audio"))
    assert n_players
    page = Page(write_report(folder, link, data))
    assert page_names(page) == page_names(whole)
    assert len(page.of_tag("audio")) == n_players
    without_clips = Page(write_report(folder, link))
    assert page_names(without_clips) == page_names(whole)
    assert without_clips.of_tag("audio") == []
    assert "report --data" in without_clips.text
    other = tmp_path / "other.h5"
    other.write_bytes(b"no cache")
    for file in (other, tmp_path / "none.h5"):
        with pytest.raises(UserError, match=rf"{file.name}.*give the cache that .* was trained on"):
            write_report(folder, file)


def test_a_folder_of_clips_whose_name_is_no_utf8_is_linked_to_by_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / os.fsdecode(b"d\xe9j\xe0")
    (data / "dog").mkdir(parents=True)
    soundfile.write(str(tmp_path / "a.wav"), noise(800), 16000)
    (tmp_path / "a.wav").rename(data / "dog" / "a.wav")
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 0)
    (player,) = players(data, tmp_path, [("dog/a.wav", None)])
    assert player.source == "d%E9j%E0/dog/a.wav"


def test_a_cache_that_has_changed_since_is_not_taken_for_the_runs(odd_run: Path, tmp_path: Path) -> None:
    other = json.loads((odd_run / "run.json").read_text())["cache"] | {"fingerprint": "0" * 64}
    page = Page(write_report(changed(odd_run, tmp_path / "run", cache=other)))
    assert "has changed since the run was trained on it" in page.text
    assert page_names(page) == []


def test_a_fit_without_test_clips_and_a_run_without_history_have_a_page_too(odd_run: Path, tmp_path: Path) -> None:
    folder = changed(odd_run, tmp_path / "run", metrics=None, sanity={}, leak_probe=None, warnings=[])
    (folder / "history.csv").unlink()
    page = Page(write_report(folder))
    assert "There is no score" in page.text
    assert "history.csv, so there are no curves" in page.text
    assert "It could not be tried" in page.text


def test_the_links_at_the_top_are_the_sections_that_there_are(odd_page: Page, odd_run: Path, tmp_path: Path) -> None:
    untested = changed(odd_run, tmp_path / "untested", metrics=None, sanity={}, leak_probe=None, warnings=[])
    never_right = copied(odd_run, tmp_path / "never right")
    rows = [row for row in predictions(never_right) if row["class"] != row["predicted"]]
    with (never_right / "predictions.csv").open("w", newline="", encoding="utf-8") as lines:
        table = csv.DictWriter(lines, rows[0])
        table.writeheader()
        table.writerows(rows)
    n_sections = []
    for page in (odd_page, Page(write_report(never_right)), Page(write_report(untested))):
        links = [one["href"] for one in page.of_tag("a") if (one["href"] or "").startswith("#")]
        assert links == [f"#{one['id']}" for one in page.of_tag("section")]
        n_sections.append(len(links))
    assert n_sections == [8, 7, 4]


def test_of_many_mistakes_the_worst_are_shown_and_the_page_says_how_many_there_are(
    odd_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mistakes, "MAX_MISTAKES", 2)
    n = sum(row["class"] != row["predicted"] for row in predictions(odd_run))
    page = Page(write_report(copied(odd_run, tmp_path / "run")))
    assert f"Shown are 2 of {n} mistakes" in page.text
    assert len(page_names(page)) == 2 + mistakes.MAX_UNCERTAIN


def test_a_clip_that_is_tested_twice_is_judged_by_the_mean_and_says_how_often_it_was_wrong(
    tones_cache: Path, tmp_path: Path
) -> None:
    folder = made_crossval(tmp_path / "run", tones_cache)
    rows, names = predictions(folder), json.loads((folder / "run.json").read_text())["class_names"]
    mean: dict[str, np.ndarray] = {}
    for row in rows:
        mean[row["path"]] = mean.get(row["path"], 0) + np.array([float(row[f"p_{name}"]) for name in names]) / 2
    wrong = {path for path, p in mean.items() if names[p.argmax()] != path.split("/")[0]}
    page = Page(write_report(folder))
    assert {name for _, name in page_names(page)[: len(wrong)]} == wrong
    assert f"{len(wrong)} of the {len(mean)} tested clips" in page.text
    assert "Wrong in 1 of 2 tests." in page.text


def test_a_report_that_cannot_be_written_is_a_warning_that_names_the_command(
    odd_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(odd_run, tmp_path / "run")
    before = (folder / "run.json").read_bytes()
    (folder / "report.html").unlink()
    (folder / "report.html").mkdir()
    assert report_finished(folder) is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: the report could not be written (")
    assert f"`python -m train report {folder}`" in line
    assert (folder / "run.json").read_bytes() == before


def test_an_interrupted_report_leaves_the_old_page_and_says_how_to_write_it(
    odd_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: object) -> str:
        raise Interrupted(2)

    folder = copied(odd_run, tmp_path / "run")
    monkeypatch.setattr(report, "render", interrupt)
    with pytest.raises(Interrupted) as stop:
        report_finished(folder)
    assert f"`python -m train report {folder}`" in stop.value.kept
    assert (folder / "report.html").read_bytes() == (odd_run / "report.html").read_bytes()


@pytest.mark.parametrize("name", ["class_names", "metrics", "split", "options", "cache", "settings", "versions"])
def test_a_damaged_record_is_one_line(name: str, odd_run: Path, tmp_path: Path) -> None:
    for i, value in enumerate((..., 7, ["x"])):
        folder = changed(odd_run, tmp_path / f"run{i}", **{name: value})
        with pytest.raises(UserError, match="damaged"):
            write_report(folder)


def test_an_unfinished_run_has_no_report(odd_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not finished"):
        write_report(changed(odd_run, tmp_path / "run", state="unfinished"))


def test_a_small_clip_is_embedded_to_the_byte_and_a_large_one_is_linked_relative_to_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data" / "dog").mkdir(parents=True)
    names = ["dog/#1 50% & <b>.wav", "dog/large.wav", "dog/after the budget.wav"]
    for name, n in zip(names, (800, 300_000, 800), strict=True):
        soundfile.write(tmp_path / "data" / name, noise(n), 16000)
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 2000)
    small, large, late = players(tmp_path / "data", tmp_path / "runs" / "first", [(name, None) for name in names])
    content = base64.b64encode((tmp_path / "data" / names[0]).read_bytes()).decode()
    assert small.source == f"data:audio/wav;base64,{content}"
    assert large.source == "../../data/dog/large.wav"
    assert unquote(late.source) == "../../data/dog/after the budget.wav"


@pytest.mark.parametrize(
    "kind", [("WAV", "IMA_ADPCM"), ("AIFF", "PCM_16"), ("ipod", "aac"), ("asf", "wmav2"), ("caf", "adpcm_ima_qt")]
)
def test_a_clip_that_browsers_do_not_play_is_embedded_as_a_wav(kind: tuple[str, str], tmp_path: Path) -> None:
    y = noise(22050)
    data = encoded(*kind, y, 44100) if kind[0].isupper() else ffmpeg_encoded(*kind, y, 44100)
    (tmp_path / "clip.x").write_bytes(data)
    paths = ["clip.x", Segment("clip.x", 0.1, 0.3).path]
    for path, (player, seconds) in zip(
        paths, zip(players(tmp_path, tmp_path, [(path, None) for path in paths]), (0.5, 0.2), strict=True), strict=True
    ):
        mime, _, content = player.source.partition(";base64,")
        assert mime == "data:audio/wav", path
        samples, sr = soundfile.read(io.BytesIO(base64.b64decode(content)))
        assert len(samples) / sr == pytest.approx(seconds, abs=0.06)


def test_a_clip_that_cannot_be_played_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "data" / "dog").mkdir(parents=True)
    (tmp_path / "secret.wav").write_bytes(encoded("WAV", "PCM_16", noise(100)))
    (tmp_path / "data" / "dog" / "old.aiff").write_bytes(encoded("AIFF", "PCM_16", noise(300_000)))
    (tmp_path / "data" / "dog" / "text.wav").write_text("no audio")
    (tmp_path / "data" / "dog" / "now.wav").write_bytes(encoded("WAV", "PCM_16", noise(100)))
    (tmp_path / "data" / "dog" / "folder.wav").mkdir()
    clips = {
        ("dog/gone.wav", None): "the original clip is gone",
        ("dog/old.aiff", None): "browsers do not play .aiff, and it is too long to be converted",
        ("dog/text.wav", None): "it is not audio in any format",
        ("dog/now.wav", "0" * 64): "its content has changed since",
        ("dog/folder.wav", None): "it is not a file any more",
        ("../secret.wav", None): "leads out of the folder",
        (str(tmp_path / "secret.wav"), None): "leads out of the folder",
    }
    for player, reason in zip(players(tmp_path / "data", tmp_path, clips), clips.values(), strict=True):
        assert player.source == ""
        assert reason in player.reason
