"""Findings in recordings: decisions about them become labels, and nothing of a person's is lost or overwritten."""

import http.client
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import soundfile
from matplotlib.image import imread

from cache.file.settings import MelSettings
from cache.labels.corrections import Decision
from cache.labels.read import read_labels
from cache.shared.errors import UserError
from featurize import build
from tests.helpers.commands import train_here
from tests.helpers.made_runs import made_fit
from tests.helpers.recordings import Call, write_predictions, write_recording
from tests.helpers.review_page import served
from tests.helpers.tables import table
from train.predict.predict import label_of
from train.predict.recordings import Kind, Recording, Source, Window
from train.predict.rows import as_csv, csv_header, read_rows
from train.predict.windows import Detections, Windows
from train.review.find import find, find_recordings
from train.review.findings import FindingDesk, opened_findings, spectrogram
from train.review.rulings import Ruling, append_ruling, read_rulings
from train.runs.directory import open_run

NIGHT, SITE = "night.wav", "site1/dusk.wav"
CALLS = {
    NIGHT: [Call(10, "dog", 0.9), Call(20, "cat", 0.6, 3), Call(21.5, "dog", 0.7), Call(40, "bird", 0.55)],
    SITE: [Call(5, "cat", 0.8, 2)],
}
THRESHOLDS = {"dog": 0.5, "cat": 0.5, "bird": 0.5}
# By their doubt: how far the probability is above its threshold.
ORDER = [(NIGHT, 40.25), (NIGHT, 20.25), (NIGHT, 21.75), (SITE, 5.25), (NIGHT, 10.25)]


@pytest.fixture(scope="module")
def made(tones_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_fit(tmp_path_factory.mktemp("runs") / "first", tones_cache)


@pytest.fixture
def nights(made: Path, tmp_path: Path) -> Path:
    """Recordings of a minute, one of them in a folder, and what the run is said to find in them."""
    folder = tmp_path / "nights"
    for name, calls in CALLS.items():
        write_recording(folder / name, 60, calls, sr=8000)  # a lower rate is not sent to browsers
    write_predictions(folder / "found.csv", made, [(folder / name, 60, calls) for name, calls in CALLS.items()])
    return folder


class Review:
    """A review in this process, by its desk."""

    def __init__(self, run: Path, *paths: Path, **options: Any) -> None:
        self.opened = opened_findings(
            open_run(run), [*map(str, paths)], THRESHOLDS, predictions=paths[0] / "found.csv", **options
        )

    def __enter__(self) -> FindingDesk:
        desk = self.opened.__enter__().desk
        assert isinstance(desk, FindingDesk)
        return desk

    def __exit__(self, *error: Any) -> None:
        self.opened.__exit__(*error)


def where(desk: FindingDesk) -> list[tuple[str, float]]:
    return [(one.path, one.start) for one in desk.items]


def labels_in(nights: Path, format: str) -> set[tuple[str, float, float, str]]:
    """The labels in the tables, as featurize reads them."""
    read = read_labels([nights / "reviewed" / format], nights)
    assert read.problems == []
    return {(str(Path(one.file).relative_to(nights)), one.start, one.end, one.label) for one in read.annotations}


def test_a_finding_is_what_predict_writes_as_a_label_and_the_least_sure_comes_first(made: Path, nights: Path) -> None:
    opened, recordings = open_run(made), find_recordings([str(nights)])
    found = find(opened, recordings, THRESHOLDS, nights / "found.csv")
    assert [(one.path, one.start) for one in found] == ORDER
    detections, labelled = Detections(), []
    for one in read_rows(opened, nights / "found.csv"):
        regions = detections.take(replace(one, label=label_of(one.probabilities, THRESHOLDS)))
        labelled += [(one.path, *map(str, _rounded(region))) for region in regions]
    mine = [(one.file, one.start, one.end, one.label, one.probabilities[one.label]) for one in found]
    assert sorted(labelled) == sorted((file, *map(str, _rounded(region))) for file, *region in mine)
    assert (found[0].end, found[0].label) == (40.75, "bird")
    assert found[0].why == ("The network says bird with 55.0 %, and its threshold is 50.0 %; 0:40.25 to 0:40.75.")
    assert find(opened, recordings, THRESHOLDS | {"cat": 0.7}, nights / "found.csv")[0].start == 40.25


def _rounded(region: Iterable[Any]) -> list[Any]:
    return [round(one, 5) if isinstance(one, float) else one for one in region]


def test_decisions_become_labels_that_the_next_cache_takes_to_the_row(made: Path, nights: Path) -> None:
    with Review(made, nights) as desk:
        assert where(desk) == ORDER
        desk.decide(0, "rejected", "")
        desk.decide(1, "change", "owl")
        desk.decide(2, "right", "", [21.7, 22.4])
        desk.decide(3, "both", "dog")
        desk.decide(4, "unsure", "")
    expected = {
        (NIGHT, 40.25, 40.75, "background"),
        (NIGHT, 20.25, 21.75, "owl"),
        (NIGHT, 21.7, 22.4, "dog"),
        (SITE, 5.25, 6.25, "cat"),
        (SITE, 5.25, 6.25, "dog"),
    }
    assert labels_in(nights, "raven") == labels_in(nights, "audacity") == expected
    for tables in ("reviewed/raven", "reviewed/audacity", "reviewed"):
        cache = build(nights, nights / "f.h5", labels=["none", nights / tables], notify=lambda line: None).cache
        # A clip has one class: of two at one place the second is skipped, and named.
        rows = {
            (*path.split("#"), cache.class_names[label]) for path, label in zip(cache.paths, cache.labels, strict=True)
        }
        assert rows == {(file, f"{a:.6f}-{b:.6f}", name) for file, a, b, name in expected - {(SITE, 5.25, 6.25, "dog")}}
    y, sr = soundfile.read(nights / NIGHT)
    soundfile.write(nights.parent / "dog.wav", y[round(21.7 * sr) : round(22.4 * sr)], sr)
    (nights.parent / "alone" / "dog").mkdir(parents=True)
    (nights.parent / "dog.wav").rename(nights.parent / "alone" / "dog" / "1.wav")
    alone = build(nights.parent / "alone", nights.parent / "a.h5", classes=["dog"]).cache
    np.testing.assert_array_equal(cache.X[cache.paths.index(f"{NIGHT}#21.700000-22.400000")], alone.X[0])


def test_recordings_of_one_name_at_two_sites_keep_their_labels(made: Path, nights: Path) -> None:
    again = write_recording(nights / "site2" / NIGHT, 60, [])
    heard_in = [(again, 60, CALLS[SITE]), *((nights / name, 60, calls) for name, calls in CALLS.items())]
    write_predictions(nights / "found.csv", made, heard_in)
    with Review(made, nights) as desk:
        for index in range(len(desk.items)):
            desk.decide(index, "right", "")
    labels = labels_in(nights, "raven")
    assert [sum(file == name for file, *_ in labels) for name in (NIGHT, SITE, "site2/night.wav")] == [4, 1, 1]


def test_a_review_goes_on_and_a_decision_can_be_undone(made: Path, nights: Path) -> None:
    with Review(made, nights) as desk:
        desk.decide(0, "right", "", [40, 41.5])
        desk.decide(3, "rejected", "")
    with Review(made, nights) as desk:
        assert desk.progress()["done"] == [0, 3]
        assert desk.item(0)["edges"] == [40, 41.5]
        assert desk.item(0)["decision"] == {"decision": "right", "new": ""}
        assert labels_in(nights, "raven") == {(NIGHT, 40, 41.5, "bird"), (SITE, 5.25, 6.25, "background")}
        desk.decide(0, "undo", "")
        assert desk.progress()["done"] == [3]
        assert labels_in(nights, "audacity") == {(SITE, 5.25, 6.25, "background")}
        # An empty table would say that nothing calls in the recording.
        assert not (nights / "reviewed/raven/night.wav.selections.txt").exists()
    rows = table(nights / "reviewed/findings.csv")
    assert [(row["start"], row["decision"], row["new_end"]) for row in rows] == [
        ("40.250000", "right", "41.500000"),
        ("5.250000", "rejected", "6.250000"),
        ("40.250000", "undo", "40.750000"),
    ]


def test_the_tables_of_two_reviewers_are_merged_and_edited_by_hand(made: Path, nights: Path) -> None:
    tables = []
    for i, decision in enumerate(("right", "rejected")):
        with Review(made, nights, out=nights / f"mine{i}") as desk:
            desk.decide(0, decision, "")
            desk.decide(3 + i, decision, "")
        tables.append((nights / f"mine{i}/findings.csv").read_text())
    (nights / "reviewed").mkdir()
    text = "".join(tables).replace("5.250000,6.250000,rod", "1,2,rod") + "nonsense\n"
    (nights / "reviewed/findings.csv").write_text(text)
    with Review(made, nights) as desk:
        assert desk.progress()["done"] == [0, 3, 4]
    (nights / "mine0").rename(nights.parent / "mine0")
    (nights / "mine1").rename(nights.parent / "mine1")
    assert labels_in(nights, "raven") == {
        (NIGHT, 40.25, 40.75, "background"),
        (SITE, 5.25, 6.25, "cat"),
        (NIGHT, 10.25, 10.75, "background"),
    }


def test_whatever_names_there_are_the_decision_comes_back(tmp_path: Path) -> None:
    names = ["=1+1", "a, b", '"q"', "'=x", "-3", "Großer Brachvogel", " ", "@x\N{NO-BREAK SPACE}".strip()]
    rulings = [
        Ruling(
            f"site/{name}.wav",
            1.5,
            2 + i,
            name,
            Decision.CHANGE,
            names[i - 1],
            0.000001,
            1e5,
            "me",
            f"2026-01-0{i}",
            "r",
        )
        for i, name in enumerate(names)
    ]
    for one in rulings:
        append_ruling(tmp_path / "findings.csv", one)
    assert read_rulings(tmp_path / "findings.csv") == rulings


def test_a_table_that_a_person_wrote_or_changed_stays(
    made: Path, nights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = nights / "reviewed/audacity/night.wav.labels.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("1.0\t2.0\towl\n")
    with Review(made, nights) as desk:
        note = "Left as it is, because somebody changed it: audacity/night.wav.labels.txt."
        assert desk.decide(0, "right", "")["note"] == note
        assert mine.read_text() == "1.0\t2.0\towl\n"
        assert labels_in(nights, "raven") == {(NIGHT, 40.25, 40.75, "bird")}
        mine.unlink()
        assert desk.decide(4, "right", "")["note"] == ""
        assert labels_in(nights, "audacity") == {(NIGHT, 40.25, 40.75, "bird"), (NIGHT, 10.25, 10.75, "dog")}
        mine.write_text(mine.read_text().replace("dog", "fox"))
    assert "night.wav.labels.txt is left as it is, because somebody changed it" in capsys.readouterr().err
    with Review(made, nights) as desk:
        desk.decide(1, "right", "")
    assert "fox" in mine.read_text()
    assert len(labels_in(nights, "raven")) == 3


def test_a_kill_between_the_decision_and_its_labels_costs_nothing(made: Path, nights: Path) -> None:
    reviewed = nights / "reviewed"
    with Review(made, nights) as desk:
        desk.decide(0, "right", "")
        before = {file: file.read_bytes() for file in reviewed.rglob("*.txt")}
        desk.decide(4, "right", "")
    after = {file: file.read_bytes() for file in reviewed.rglob("*.txt")}
    for n_done in range(3):  # none, one or both of the tables were replaced when it was killed
        for file, content in [*before.items()][n_done:]:
            file.write_bytes(content)
        with Review(made, nights) as desk:
            assert desk.progress()["note"] == ""
        assert {file: file.read_bytes() for file in reviewed.rglob("*.txt")} == after


def test_what_is_decided_of_one_run_is_not_asked_again_by_another(
    made: Path, nights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Review(made, nights) as desk:
        for index in range(3):
            desk.decide(index, "unsure" if index else "rejected", "")
    calls = [Call(39.5, "dog", 0.9, 2), *CALLS[NIGHT][:3]]
    heard_in = [(nights / NIGHT, 60, calls), (nights / SITE, 60, [])]
    write_predictions(nights / "found.csv", made, heard_in)
    with Review(made, nights, nights / NIGHT) as desk:
        assert (NIGHT, 39.75) not in where(desk)
    assert "1 finding skipped because decided findings cover the same sound" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("decision", "new", "span"),
    [
        ("guess", "", None),
        ("unusable", "", None),
        ("right", "cat", None),
        ("change", "", None),
        ("change", "../owl", None),
        ("change", "bird", None),
        ("right", "", [3, 2]),
        ("right", "", [-1, 2]),
        ("right", "", [0, 61]),
        ("right", "", [0, float("nan")]),
        ("right", "", ["0", 1]),
        ("right", "", [0, 10**400]),
        ("right", "", [-(10**400), 1]),
        ("right", "", [0, 1, 2]),
        ("right", "", {}),
    ],
)
def test_a_decision_that_is_none_is_refused_and_writes_nothing(
    made: Path, nights: Path, decision: str, new: str, span: object
) -> None:
    with Review(made, nights) as desk:
        with pytest.raises(UserError):
            desk.decide(0, decision, new, span)
        for index in (-1, 5, True, "0", None):
            with pytest.raises(UserError, match="no such finding"):
                desk.decide(index, "right", "")
        assert not desk.file.exists()


def test_only_one_review_at_a_time_writes_into_a_folder(made: Path, nights: Path) -> None:
    with Review(made, nights), pytest.raises(UserError, match="reviews recordings into"), Review(made, nights):
        pass


@pytest.mark.parametrize(
    ("paths", "options", "words"),
    [
        (["gone.wav"], {}, "gone.wav is not there"),
        (["-"], {}, "standard input cannot be heard again"),
        ([NIGHT], {"class_name": "owl"}, "there is no class 'owl'"),
        ([NIGHT], {"out": Path("/proc/reviewed")}, "give another folder with --out"),
        ([NIGHT], {"predictions": Path(NIGHT)}, "night.wav is not what `predict --format csv` writes"),
    ],
)
def test_what_cannot_be_reviewed_is_said_in_a_line(
    made: Path, nights: Path, monkeypatch: pytest.MonkeyPatch, paths: list[str], options: dict[str, Any], words: str
) -> None:
    monkeypatch.chdir(nights)
    given = {"predictions": nights / "found.csv", **options}
    with pytest.raises(UserError, match=words), opened_findings(open_run(made), paths, THRESHOLDS, **given):
        pass


def test_a_view_is_the_sound_around_the_finding_and_can_be_moved(made: Path, nights: Path) -> None:
    y, sr = soundfile.read(nights / NIGHT)
    with Review(made, nights) as desk:
        rows = desk.settings.row_seconds
        item = desk.item(0)
        assert (item["starts"], item["ends"]) == pytest.approx((40.25 - rows, 40.75 + rows))
        for shift in (0, -1, 1, 100, -100):
            item = desk.item(0, shift)
            heard, its_sr = soundfile.read(io.BytesIO(desk.sound(0, shift)))
            first = round(item["starts"] * sr)  # type: ignore[operator]
            assert (its_sr, abs(len(heard) - (0.5 + 2 * rows) * sr) <= 1) == (sr, True)
            np.testing.assert_allclose(heard, y[first : first + len(heard)], atol=2 / 32768)
        assert (desk.item(0, 100)["ends"], desk.item(0, -100)["starts"]) == (60, 0)


def test_its_spectrogram_is_librosas_for_any_length() -> None:
    settings = MelSettings()
    y = np.random.default_rng(0).normal(0, 0.1, (16000 * 9, 1)).astype(np.float32)
    y[70000:80000] *= 0.001
    mine = spectrogram(y, 16000, settings)
    power = librosa.feature.melspectrogram(
        y=y[:, 0], sr=16000, n_fft=settings.n_fft, hop_length=settings.hop_length, n_mels=128, pad_mode="constant"
    )
    level = librosa.power_to_db(power, ref=np.max, top_db=settings.top_db)
    np.testing.assert_allclose(mine, (level - level.min()) / (level.max() - level.min()), atol=1e-4)
    assert spectrogram(y[:10], 8000, settings).shape[0] == 128


def test_a_long_finding_is_not_read_whole(made: Path, tmp_path: Path) -> None:
    write_recording(tmp_path / "rain.wav", 300, [])
    rain = [Call(0.5, "dog", 0.9, 590)]
    write_predictions(tmp_path / "found.csv", made, [(tmp_path / "rain.wav", 300, rain)])
    with Review(made, tmp_path) as desk:
        assert (desk.items[0].start, desk.items[0].end) == (0.75, 295.75)
        heard, sr = soundfile.read(io.BytesIO(desk.sound(0)))
        assert len(heard) == 60 * sr
        assert desk.item(0, 1)["starts"] == desk.item(0)["starts"] + 30
        assert imread(io.BytesIO(desk.picture(0))).shape[:2] == (128, 1 + 60 * 16000 // 512)


def test_a_recording_that_is_gone_is_told_in_words(made: Path, nights: Path) -> None:
    with Review(made, nights) as desk:
        (nights / NIGHT).unlink()
        with pytest.raises(UserError, match="disappeared"):
            desk.sound(0)
        assert desk.sound(3)


def test_only_views_of_the_findings_are_served(made: Path, nights: Path) -> None:
    opened = opened_findings(open_run(made), [str(nights)], THRESHOLDS, predictions=nights / "found.csv")

    def ask(path: str, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
        connection.request("GET", path, headers={"X-Token": server.token, **headers})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    with opened as server, served(server):
        status, whole = ask("/sound/0/-1")
        assert (status, whole[:4]) == (200, b"RIFF")
        assert ask("/sound/0/-1", **{"X-Token": "guess"})[0] == 401
        assert ask("/picture/4/999999")[0] == 200
        for path in ("/sound/5", "/sound/0/", "/sound/0/1.5", "/sound/0/9999999", "/sound/../night.wav", "/night.wav"):
            assert ask(path)[0] == 404


@pytest.mark.parametrize(
    ("old", "new"), [(",0.500000,", ",nan,"), (",10.0000,", ",-inf,"), ("window", "door"), ("p_cat", "p")]
)
def test_a_table_of_predictions_that_cannot_be_is_refused(made: Path, nights: Path, old: str, new: str) -> None:
    file = nights / "found.csv"
    text = file.read_text().replace("0.550000", "0.500000")
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=r"found\.csv is not what `predict"), Review(made, nights):
        pass


def test_the_state_has_what_the_page_shows(made: Path, nights: Path) -> None:
    with Review(made, nights) as desk:
        state = json.loads(json.dumps(desk.state()))
    assert state["group_names"] == [NIGHT, SITE]
    assert [state["classes"][label] for label in state["labels"]] == ["bird", "cat", "dog", "cat", "dog"]
    assert state["groups"] == [0, 0, 0, 1, 0]
    assert state["background"] == "background"


def test_recordings_are_classified_once_and_those_that_cannot_be_used_are_counted(
    made: Path, nights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (nights / "note.wav").write_bytes(b"not a sound")
    asked: list[str] = []

    def classify(run: Any, sources: Sequence[Source], windows: Any) -> Iterator[Window | Recording]:
        for source in sources:
            asked.append(source.name)
            if source.name == "note.wav":
                yield Recording(source.path, Kind.REJECTED, reason="it is a note")
            else:
                yield Recording(source.path, Kind.CLIP, 60.0, "", {"dog": 0.2, "cat": 0.7, "bird": 0.1})

    monkeypatch.setattr("train.review.find.predict", classify)
    monkeypatch.setattr("train.review.find.windows_of", lambda run: Windows(0.5))
    for file, names in (("new.csv", [NIGHT, "note.wav", SITE]), ("new.csv", []), ("found.csv", ["note.wav"])):
        asked.clear()
        found = find(open_run(made), find_recordings([str(nights)]), THRESHOLDS, nights / file)
        assert asked == names
        (*_, said) = capsys.readouterr().err.splitlines()
        assert said == f"1 of 3 files could not be used; the reasons are in {nights / file}"
        if file == "new.csv":
            assert [(one.path, one.start, one.end, one.label) for one in found] == [
                (NIGHT, 0, 60, "cat"),
                (SITE, 0, 60, "cat"),
            ]
    assert len(found) == len(ORDER)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the recordings that were classified, each as a cat for all of its length."""
    names: list[str] = []

    def classify(run: Any, sources: Sequence[Source], windows: Any) -> Iterator[Window | Recording]:
        for source in sources:
            names.append(source.name)
            yield Recording(source.path, Kind.CLIP, 60.0, "", {"dog": 0.2, "cat": 0.7, "bird": 0.1})

    monkeypatch.setattr("train.review.find.predict", classify)
    monkeypatch.setattr("train.review.find.windows_of", lambda run: Windows(0.5))
    return names


def test_a_recording_that_was_replaced_under_its_name_is_classified_again_and_no_other(
    made: Path, nights: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def review() -> None:
        asked.clear()
        with opened_findings(open_run(made), [str(nights)], THRESHOLDS) as server:
            assert sorted(where(server.desk)) == [(NIGHT, 0), (SITE, 0)]

    for names in ([NIGHT, SITE], []):
        review()
        assert asked == names
    old = (nights / NIGHT).stat()
    write_recording(nights / "other.wav", 60, [], sr=8000)
    os.utime(nights / "other.wav", ns=(old.st_atime_ns, old.st_mtime_ns - 10**9))  # of the same size, and older
    (nights / "other.wav").replace(nights / NIGHT)
    capsys.readouterr()
    for names in ([NIGHT], []):
        review()
        assert asked == names
    said = f"warning: {nights / NIGHT} has changed since it was classified; it is classified again"
    assert capsys.readouterr().err.count(said) == 1


def test_a_recording_that_is_newer_than_a_table_of_somebody_else_is_named_and_the_table_stays(
    made: Path, nights: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (nights / "found.csv").read_bytes()
    later = (nights / "found.csv").stat().st_mtime_ns + 10**9
    os.utime(nights / NIGHT, ns=(later, later))
    for _ in range(2):  # told again as long as it is so
        with Review(made, nights) as desk:
            assert where(desk) == ORDER
        said = f"warning: {nights / NIGHT} has changed since it was classified; take its rows out of {nights}/found.csv"
        assert said in capsys.readouterr().err
    assert (nights / "found.csv").read_bytes() == before
    assert asked == []


def test_windows_that_lie_apart_are_findings_apart_and_a_damaged_recording_has_none(made: Path, nights: Path) -> None:
    opened, (night, dusk) = open_run(made), (nights / NIGHT, nights / SITE)
    p = {"dog": 0.9, "cat": 0.05, "bird": 0.05}
    rows = [
        *(Window(night, start, start + 2.0, "", p) for start in (10.0, 11.0, 50.0)),
        Recording(night, Kind.RECORDING, 60.0),
        Window(dusk, 5.0, 7.0, "", p),
        Recording(dusk, Kind.REJECTED, reason="it ends in the middle"),
    ]
    (nights / "loudest.csv").write_bytes(csv_header(opened) + b"".join(as_csv(opened, one) for one in rows))
    found = find(opened, find_recordings([str(nights)]), THRESHOLDS, nights / "loudest.csv")
    assert [(one.path, one.start, one.end) for one in found] == [(NIGHT, 10, 13), (NIGHT, 50, 52)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "x"], "--out: it is for recordings; give some"),
        (["--threshold", "0.5"], "--threshold: it is for recordings; give some"),
        ([NIGHT, "--cache", "x"], "--cache: it is for clips, so leave out the recordings"),
        ([NIGHT, "--threshold", "owl=0.5"], "has no class owl"),
    ],
)
def test_options_of_clips_and_of_recordings_are_not_mixed(made: Path, arguments: list[str], words: str) -> None:
    done = train_here("review", made, *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert words in done.stderr
