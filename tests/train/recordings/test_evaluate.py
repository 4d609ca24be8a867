"""evaluate on recordings: mixed from calls at known times, so that every figure has its exact truth."""

import base64
import io
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread
from typer.testing import CliRunner

from cache.labels.table import USUAL, ColumnNames
from cache.shared.errors import UserError
from tests.helpers.commands import train_here
from tests.helpers.tones import tone
from train.__main__ import app
from train.commands.screen import recordings_summary
from train.predict.recordings import Kind, Recording, Source, Window
from train.predict.windows import thresholds_of
from train.recordings.evaluate import RecordingsScore, evaluate_recordings
from train.recordings.page import write_page
from train.recordings.score import ClassScore, Curve, Level, Line, Measure
from train.report.report import write_report
from train.runs.directory import Run, open_run


def mixed(file: Path, calls: dict[float, tuple[str, float]], seconds: float) -> None:
    """A recording that is silent but for calls: what and how long by when."""
    y = np.zeros(round(16000 * seconds))
    for at, (name, length) in calls.items():
        y[round(16000 * at) :][: round(16000 * length)] = tone(name, length)
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, y, 16000)


CALLS = {
    "one.wav": {2.0: ("dog", 2.0), 6.0: ("cat", 2.0), 10.0: ("dog", 2.0)},
    "two.wav": {2.0: ("bird", 2.0), 6.0: ("dog", 2.0)},
}


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings; in one, a cat is labelled that is not there, and a dog that is there is not."""
    folder = tmp_path_factory.mktemp("yard")
    mixed(folder / "one.wav", CALLS["one.wav"], 20)
    mixed(folder / "two.wav", CALLS["two.wav"], 16)
    (folder / "one.txt").write_text("2\t4\tdog\n6\t8\tcat\n14\t15\tcat\n15\t16\twind\n")
    (folder / "two.txt").write_text("2\t4\tbird\n6\t8\tDog\n")
    return folder


@pytest.fixture
def mine(run: Path, tmp_path: Path) -> Path:
    """A copy of the run without thresholds, so that the most probable class is detected."""
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"thresholds": {}}))
    return folder


@pytest.fixture
def good_ears(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that knows every call, of the dog at 10 s less surely, and hears nothing else."""

    def predict(run: Run, sources: Sequence[Source], _windows: object) -> Iterator[Window | Recording]:
        for source in sources:
            seconds = soundfile.info(source.path).duration
            for start in np.arange(0, seconds - 0.5, 0.25).tolist():
                on = [(at, name) for at, (name, n) in CALLS[source.name].items() if at <= start < at + n - 0.25]
                p = dict.fromkeys(run.class_names, 0.02)
                p |= {name: 0.7 if at == 10 else 0.96 for at, name in on}
                yield Window(source.path, start, start + 0.5, "", p if on else {})
            yield Recording(source.path, Kind.RECORDING, seconds)

    monkeypatch.setattr("train.recordings.evaluate.predict", predict)


@pytest.mark.usefixtures("good_ears")
def test_every_figure_is_what_was_mixed(mine: Path, yard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = evaluate_recordings(mine, yard, [yard], USUAL, False)
    assert (result.n_recordings, result.n_labels) == (2, 5)
    assert result.hours == pytest.approx(36 / 3600)
    values = {name: [one.events.precision.value, one.events.recall.value] for name, one in result.per_class.items()}
    assert values == {"dog": [pytest.approx(2 / 3), 1], "cat": [1, 0.5], "bird": [1, 1]}
    dog = result.per_class["dog"]
    assert dog.events.average_precision.value == 1
    # 4 of the 36 s are labelled dog.
    assert dog.false_alarms_per_hour.value == pytest.approx(3600 / 32)
    (alarm,), (miss,) = result.false_alarms, result.misses
    assert (alarm.class_name, alarm.recording, alarm.instead) == ("dog", str(yard / "one.wav"), ())
    assert (alarm.start, alarm.end, alarm.probability) == (10.125, 11.875, 0.7)
    assert (miss.class_name, miss.start, miss.end, miss.probability) == ("cat", 14, 15, 0)
    said = capsys.readouterr().err
    assert "1 label not scored, because" in said
    assert "wind 1" in said


def test_the_summary_names_its_lines_and_keeps_its_columns_apart() -> None:
    def score_of(share: float, alarms: float) -> ClassScore:
        one, rate = Measure(share, (share, share)), Measure(alarms, (alarms / 2, 2 * alarms))
        level, line = Level(9, one, one, one, one), Line([], [])
        return ClassScore(0.5, 0.5, level, level, rate, Curve([], line, line))

    per_class = {"dog": score_of(1.0, 0.0), "a" * 20: score_of(0.1, 1234.5), "cat": score_of(1.0, 123_456.7)}
    result = RecordingsScore("runs/first", "night", 2, 120, 40 / 3600, per_class, [], [])
    first, *lines = recordings_summary(result).splitlines()
    assert first == "runs/first on 2 recordings, 40.0 s, 120 labels"
    tables = [line for line in lines if line.startswith("  ")]
    assert {len(re.split(r" {2,}", line.strip())) for line in tables} == {5, 6}
    assert sum("95 % interval" in line for line in tables) == 6
    assert "1,234" in "".join(tables)
    assert max(map(len, lines)) <= 100
    short = RecordingsScore("runs/first", "night", 2, 120, 2.0, {"dog": score_of(1.0, 12.3)}, [], [])
    assert max(map(len, recordings_summary(short).splitlines())) <= 80


@pytest.mark.usefixtures("good_ears")
def test_other_files_in_a_folder_of_tables_are_named_and_skipped(
    mine: Path, yard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one.txt", "two.txt"):
        shutil.copy(yard / name, tmp_path / name)
    (tmp_path / "deployments.csv").write_text("site,start,end\npond,2026-05-01,2026-05-09\n")
    (tmp_path / "note.txt").write_bytes(b"K\xe4uzchen")
    (tmp_path / "gone.txt").symlink_to("nowhere.txt")
    assert evaluate_recordings(mine, yard, [tmp_path], USUAL, False) == evaluate_recordings(
        mine, yard, [yard], USUAL, False
    )
    said = capsys.readouterr().err
    for name in ("deployments.csv: it has no column for the label", "note.txt: it is not UTF-8", "gone.txt: it cannot"):
        assert f"{tmp_path}/{name}" in said
    with pytest.raises(UserError, match=r"deployments.csv: it has no column for the label"):
        evaluate_recordings(mine, yard, [tmp_path / "deployments.csv"], USUAL, False)


@pytest.mark.usefixtures("good_ears")
def test_columns_of_any_name_are_scored_where_they_are_named(mine: Path, yard: Path, tmp_path: Path) -> None:
    (tmp_path / "usual.csv").write_text("file,start,end,label\ntwo.wav,1,3,bird\n")
    (tmp_path / "other.csv").write_text("rec,t0,t1,call\ntwo.wav,1,3,bird\n")
    named = ColumnNames("rec", "t0", "t1", "call")
    usual = evaluate_recordings(mine, yard, [tmp_path / "usual.csv"], USUAL, False)
    assert evaluate_recordings(mine, yard, [tmp_path / "other.csv"], named, False) == usual


@pytest.mark.usefixtures("good_ears")
def test_a_label_of_a_whole_file_ends_where_its_recording_does(mine: Path, yard: Path, tmp_path: Path) -> None:
    scores = []
    for name, text in (
        ("whole.csv", "file,label\ntwo.wav,bird\n"),
        ("timed.csv", "file,start,end,label\ntwo.wav,0,16,bird\n"),
    ):
        (tmp_path / name).write_text(text)
        scores.append(evaluate_recordings(mine, yard, [tmp_path / name], USUAL, False))
    assert scores[0] == scores[1]
    assert scores[0].n_labels == 1


@pytest.mark.usefixtures("good_ears")
def test_thresholds_that_are_kept_exclude_sounds_that_nobody_labelled(mine: Path, yard: Path) -> None:
    kept = evaluate_recordings(mine, yard, [yard], USUAL, True).kept_thresholds
    assert kept["dog"] == pytest.approx((0.7 + 0.96) / 2, abs=0.02)
    assert thresholds_of(open_run(mine)) == kept
    again = evaluate_recordings(mine, yard, [yard], USUAL, False)
    assert again.false_alarms == []
    assert again.per_class["dog"].threshold == kept["dog"]
    report = write_report(mine).read_text(encoding="utf-8")
    assert f"2 recordings in {yard}" in report
    assert f'data-value="{kept["dog"]}"' in report


@pytest.mark.usefixtures("good_ears")
def test_the_page_plays_and_shows_the_false_alarm_and_the_miss(mine: Path, yard: Path) -> None:
    text = write_page(mine, evaluate_recordings(mine, yard, [yard], USUAL, False)).read_text(encoding="utf-8")
    players = re.findall(r"audio/wav;base64,([^\"]+)", text)
    alarm, miss = (soundfile.read(io.BytesIO(base64.b64decode(one))) for one in players)
    # With half a second on either side.
    assert (len(alarm[0]), len(miss[0]), alarm[1], miss[1]) == (2.75 * 16000, 2 * 16000, 16000, 16000)
    original, _ = soundfile.read(yard / "one.wav")
    np.testing.assert_allclose(alarm[0], original[round(9.625 * 16000) :][: len(alarm[0])], atol=1e-4)
    assert not miss[0].any()
    # As many columns as frames; the tone in the middle of the one, and nothing in the other.
    pictures = [imread(io.BytesIO(base64.b64decode(one))) for one in re.findall(r"image/png;base64,([^\"]+)", text)]
    assert [one.shape[:2] for one in pictures] == [(128, 1 + 44000 // 512), (128, 1 + 32000 // 512)]
    assert pictures[0][:, 40].std() > 0.05
    assert pictures[1].std(axis=(0, 1)).max() < 1e-5
    assert re.search(r"<details>.*Precision, events.*</details>", text, re.DOTALL)
    assert (mine / "figures" / "recordings.png").stat().st_size > 5000


def test_the_command_scores_what_predict_finds(mine: Path, yard: Path) -> None:
    done = train_here("evaluate", mine, "--recordings", yard, "--labels", yard, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {name: one["events"]["recall"]["value"] for name, one in result["per_class"].items()} == {
        "dog": 1, "cat": 0.5, "bird": 1,
    }  # fmt: skip
    assert result["misses"][0].keys() == {"recording", "start", "end", "class", "probability", "instead"}
    assert "kept_thresholds" not in result
    assert (mine / "recordings.html").exists()
    assert "Shown are" not in (mine / "recordings.html").read_text(encoding="utf-8"), (
        "a handful of errors is shown whole"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("good_ears")
def test_the_command_ends_with_what_comes_next_unless_it_is_quiet_or_json(mine: Path, yard: Path) -> None:
    command = ("evaluate", mine, "--recordings", yard, "--labels", yard)
    assert "--keep-thresholds" in train_here(*command).stdout.splitlines()[-1]
    kept = train_here(*command, "--keep-thresholds").stdout.splitlines()[-1]
    assert kept == f"next: python -m train predict {mine} RECORDINGS --threshold auto"
    assert train_here(*command, "--quiet").stdout == ""
    (line,) = train_here(*command, "--json").stdout.splitlines()
    assert json.loads(line)["n_labels"] == 5


def test_what_cannot_be_scored_is_one_line(mine: Path, yard: Path, tmp_path: Path) -> None:
    (tmp_path / "wind.csv").write_text(f"file,start,end,label\n{yard / 'one.wav'},1,2,wind\n")
    with pytest.raises(UserError, match="no labels of dog, cat, bird"):
        evaluate_recordings(mine, yard, [tmp_path / "wind.csv"], USUAL, False)
    with pytest.raises(UserError, match=r"no threshold for dog, cat, bird.*--keep-thresholds"):
        thresholds_of(open_run(mine))
    for arguments in (
        ["--labels", str(yard)],
        ["--recordings", str(yard)],
        ["--keep-thresholds"],
        ["--end-column", "t1"],
    ):
        assert CliRunner().invoke(app, ["evaluate", str(mine), *arguments]).exit_code == 2
