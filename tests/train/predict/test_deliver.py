"""predict writes rows that no name can break, labels that other programs open, and a file that it goes on with."""

import csv
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache.labels.annotation import Region
from cache.shared.errors import Interrupted, UserError
from cache.shared.text import plain_cell
from tests import ROOT
from tests.helpers.commands import train_here
from tests.helpers.recordings import heard
from tests.helpers.tones import tone
from train.predict.deliver import Output, deliver
from train.predict.predict import predict
from train.predict.recordings import LABELS, Kind, Recording, Source, Window, find_sources
from train.predict.rows import as_csv, as_json, as_text, clock, csv_header
from train.predict.windows import Detections
from train.runs.directory import open_run

HOSTILE = ["plain.wav", "tab\there.wav", "line\nbreak.wav", "cr\rhere.wav", 'quo"te,comma.wav', "\udcff\udcfe.wav"]


def window(start: float, end: float, p: float, threshold: float = 0.0) -> Window:
    """A window of a recording that is a dog with probability p, else a cat."""
    label = "dog" if p > 0.5 else "cat"
    return Window(Path("a.wav"), start, end, label if max(p, 1 - p) >= threshold else "", {"dog": p, "cat": 1 - p})


def detections(windows: list[Window]) -> list[Region]:
    joiner = Detections()
    last = Recording(Path("a.wav"), Kind.RECORDING)
    return [region for one in [*windows, last] for region in joiner.take(one)]


def test_windows_become_regions_that_do_not_overlap_and_neighbours_of_one_label_are_one() -> None:
    silent = replace(window(2, 3, 0.5), label="", probabilities={}, reason="silent")
    windows = [
        window(0, 1, 0.9),
        window(0.5, 1.5, 0.7),
        window(1, 2, 0.2),
        silent,
        window(3, 4, 1),
        window(3.5, 4.5, 1),
    ]
    assert detections(windows) == [
        Region(0, 1.25, "dog", pytest.approx(0.8)),
        Region(1.25, 2, "cat", pytest.approx(0.8)),
        Region(3, 4.5, "dog", 1),
    ]
    assert detections([]) == []
    assert [region.label for region in detections([window(0, 1, 0.6, threshold=0.7)])] == []


def test_a_position_is_written_as_on_a_player() -> None:
    assert [clock(s) for s in (0, 59.999, 61.5, 3599.99, 36000.25)] == [
        "0:00.00",
        "1:00.00",
        "1:01.50",
        "59:59.99",
        "10:00:00.25",
    ]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_breaks_a_row(name: str, run: Path) -> None:
    opened = open_run(run)
    names = dict.fromkeys(opened.class_names, 1 / 3)
    predictions = [
        Recording(Path("folder") / name, Kind.CLIP, 1.0, "dog", names),
        Recording(Path(name), Kind.REJECTED, reason="bad\tin\nmany ways"),
    ]
    text = (csv_header(opened) + b"".join(as_csv(opened, one) for one in predictions)).decode()
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    shown = name.encode("utf-8", "backslashreplace").decode()
    assert [row["path"] for row in found] == [f"folder/{shown}", shown]
    assert [row["kind"] for row in found] == ["clip", "rejected"]
    assert found[1]["note"] == "bad\tin\nmany ways"
    lines = b"".join(as_json(opened, one) for one in predictions).splitlines()
    assert [json.loads(line)["path"] for line in lines] == [f"folder/{name}", name]
    assert len(as_text(opened, predictions[0]).decode().splitlines()) == 1


def test_a_line_of_text_has_its_names_escaped(run: Path) -> None:
    clip = Recording(Path("\x1b[2Jclip\n.wav"), Kind.CLIP, 1.0, "do\x1bg", {"do\x1bg": 0.75, "cat": 0.25})
    line = as_text(open_run(run), clip)
    assert line.decode() == r"\x1b[2Jclip\n.wav: do\x1bg  (do\x1bg 0.750  cat 0.250)" + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips and recordings with every kind of name, one that is no audio, and a folder within."""
    folder = tmp_path_factory.mktemp("results") / "clips"
    (folder / "inner").mkdir(parents=True)
    for i, name in enumerate([*HOSTILE, "inner/deep.wav"]):
        soundfile.write(folder / "next", tone("dog", 0.5 + (i % 2) * 2.3, i), 16000, format="WAV")
        (folder / "next").rename(folder / name)
    (folder / "bad.wav").write_bytes(b"no audio")
    return folder


def classify_folder(run: Path, folder: Path, format: str, out: Path, resume: bool, n: int | None = None) -> None:
    """Do what the command does; with `n`, be interrupted after so many predictions."""
    opened = open_run(run)

    def classify(sources: Sequence[Source]) -> Iterator[Window | Recording]:
        for i, one in enumerate(predict(opened, sources)):
            if i == n:
                raise Interrupted(signal.SIGINT)
            yield one

    deliver(opened, find_sources([folder]), classify, Output(format, out, resume))


@pytest.mark.parametrize("format", ["csv", "json"])
def test_a_file_that_was_cut_anywhere_goes_on_to_be_the_same(
    format: str, run: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    with pytest.raises(UserError, match="1 of 8 files could not be used"):
        classify_folder(run, folder, format, whole, resume=False)
    content = whole.read_bytes()
    # The rows of every file are known now, so TensorFlow is not asked again for each cut.
    opened = open_run(run)
    sources = find_sources([folder])
    known = {source.path: list(predict(opened, [source])) for source in sources}
    cut = tmp_path / "cut"
    places = {*range(0, len(content), max(1, len(content) // 150)), *range(1, 60), len(content)}
    for n_bytes in sorted(places):
        cut.write_bytes(content[:n_bytes])
        with pytest.raises(UserError, match="1 of 8"):
            deliver(opened, sources, lambda left: [p for s in left for p in known[s.path]], Output(format, cut, True))
        assert cut.read_bytes() == content, n_bytes


@pytest.mark.parametrize("format", ["csv", "json", "raven", "audacity"])
def test_an_interrupted_folder_says_how_to_go_on_and_does(format: str, run: Path, folder: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    with pytest.raises(UserError):
        classify_folder(run, folder, format, whole, resume=False)
    with pytest.raises(Interrupted) as interrupt:
        classify_folder(run, folder, format, out, resume=False, n=30)
    assert "--resume" in interrupt.value.kept
    with pytest.raises(UserError, match=r"exists already; go on with --resume"):
        classify_folder(run, folder, format, out, resume=False)
    with pytest.raises(UserError, match="1 of 8"):
        classify_folder(run, folder, format, out, resume=True)
    assert contents(out) == contents(whole)


def contents(out: Path) -> dict[str, bytes]:
    files = [out] if out.is_file() else sorted(file for file in out.rglob("*") if file.is_file())
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def test_labels_are_a_file_a_recording_with_the_columns_that_are_opened(
    run: Path, folder: Path, tmp_path: Path
) -> None:
    for format in LABELS:
        with pytest.raises(UserError):
            classify_folder(run, folder, format, tmp_path / format, resume=False)
    tracks, tables = contents(tmp_path / "audacity"), contents(tmp_path / "raven")
    assert sorted(name.removesuffix(".labels.txt") for name in tracks) == sorted([*HOSTILE, "inner/deep.wav"])
    for name, track in tracks.items():
        found = [line.split("\t") for line in track.decode().splitlines()]
        table = tables[name.replace(".labels.", ".selections.")].decode()
        rows = list(csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE, strict=True))
        assert [(row["Begin Time (s)"], row["End Time (s)"], row["Class"]) for row in rows] == [
            tuple(cells) for cells in found
        ]
        assert [row["Selection"] for row in rows] == [str(i + 1) for i in range(len(rows))]
        assert all(float(row["Low Freq (Hz)"]) < float(row["High Freq (Hz)"]) for row in rows)
        assert {row["View"] for row in rows} == {"Spectrogram 1"}


@pytest.mark.parametrize("name", ["background", "Noise", "other", "silence"])
def test_a_background_class_is_in_tables_and_in_no_labels(name: str, run: Path, tmp_path: Path) -> None:
    found = heard(Path("a.wav"), [(0, 1, "dog"), (1, 2, name), (2, 3, "cat")])
    opened = open_run(run)
    opened = replace(opened, record=replace(opened.record, class_names=["dog", "cat", name]))
    source = Source(Path("a.wav"), "a.wav")
    for format in LABELS:
        deliver(opened, [source], lambda _: found, Output(format, tmp_path / format, single=True))
        track = (tmp_path / format).read_text()
        assert name not in track
        assert [word in track for word in ("dog", "cat")] == [True, True]
    whole = [replace(one, probabilities=dict.fromkeys(opened.class_names, 0.1) | one.probabilities) for one in found]
    deliver(opened, [source], lambda _: whole, Output("csv", tmp_path / "csv"))
    with (tmp_path / "csv").open(newline="") as lines:
        assert [row["class"] for row in csv.DictReader(lines)] == ["dog", name, "cat", ""]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"my diary\n", "is not what"),
        (b'{"kind": 1}\n', "is not what"),
        (b"[]\n", "is not what"),
        (b'{"run": "other", "kind": "clip", "path": "a"}\n', "holds results of other"),
    ],
)
def test_a_file_of_something_else_is_refused_and_left_as_it_is(
    content: bytes, complaint: str, run: Path, tmp_path: Path
) -> None:
    for format in ("csv", "json"):
        (tmp_path / "out").write_bytes(content)
        with pytest.raises(UserError, match=complaint if format == "json" else "is not what"):
            deliver(open_run(run), [], lambda _: [], Output(format, tmp_path / "out", resume=True))
        assert (tmp_path / "out").read_bytes() == content


def test_two_recordings_never_share_a_file_of_labels(run: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.wav").touch()
    sources = find_sources([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(UserError, match="would both be labelled"):
        deliver(open_run(run), sources, lambda _: [], Output("raven", tmp_path / "labels"))
    with pytest.raises(UserError, match="give a folder"):
        deliver(open_run(run), sources, lambda _: [], Output("raven"))


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a dog, two of silence, and two of a cat."""
    file = tmp_path_factory.mktemp("yard") / "yard.wav"
    soundfile.write(file, np.concatenate((tone("dog", 2), np.zeros(32000), tone("cat", 2))), 16000)
    return file


def test_text_shows_detections_and_every_window_only_if_asked(run: Path, yard: Path) -> None:
    done = train_here("predict", run, yard)
    *detections, whole = done.stdout.splitlines()
    labels = [line.split("\t") for line in train_here("predict", run, yard, "--format", "audacity").stdout.splitlines()]
    for line, (start, end, name) in zip(detections, labels, strict=True):
        times = f"{clock(float(start))} - {clock(float(end))}"
        assert re.fullmatch(rf"{re.escape(f'{yard}  {times}: {name}')}  \([01]\.\d{{3}}\)", line)
    assert {name for _, _, name in labels} >= {"dog", "cat"}
    assert whole.startswith(f"{yard}: 6.00 s in 23 windows: ")
    assert "no class" in whole
    assert done.stderr == "next: --format audacity or raven writes these as labels to correct\n"
    assert train_here("predict", run, yard, "--quiet").stderr == ""
    windows = train_here("predict", run, yard, "--windows").stdout.splitlines()
    assert len(windows) == 23 + 1
    assert windows[-1] == whole
    assert any(line.endswith(": silent") for line in windows)
    assert train_here("predict", run, yard, "--windows", "--format", "csv").returncode == 2


def test_labels_end_with_how_many_there_are_and_what_to_do_with_them(run: Path, yard: Path, tmp_path: Path) -> None:
    command = ("predict", run, yard, "--format", "audacity", "--out")
    said = train_here(*command, tmp_path / "labels.txt")
    n = len((tmp_path / "labels.txt").read_text().splitlines())
    assert (
        said.stderr == f"{n} labels in 1 file; next: import them in Audacity (File, Import, Labels) and correct them\n"
    )
    assert said.stdout == ""
    assert train_here(*command, tmp_path / "quiet.txt", "--quiet").stderr == ""


def test_clips_and_segments_end_with_what_to_do_next_and_json_does_not(run: Path, tones: Path, tmp_path: Path) -> None:
    clip = min(tones.rglob("*.wav"))
    assert train_here("predict", run, clip).stderr == "next: --format csv writes these as a table\n"
    assert train_here("predict", run, clip, "--format", "json").stderr == ""
    said = train_here("predict", run, clip, "--segments", tmp_path / "found").stderr.splitlines()
    assert said[-1] == f"next: delete the wrong ones and train on the others, python -m featurize {tmp_path / 'found'}"


def test_each_class_may_have_its_own_threshold(run: Path, yard: Path) -> None:
    def classes(*thresholds: str) -> set[str]:
        options = [word for one in thresholds for word in ("--threshold", one)]
        rows = csv.DictReader(io.StringIO(train_here("predict", run, yard, "--format", "csv", *options).stdout))
        return {row["class"] for row in rows} - {""}

    assert classes() >= {"dog", "cat"}
    assert "dog" not in classes("dog=1")
    assert classes("1", "dog=0") == {"dog"}
    assert classes("auto", "dog=1") == classes("dog=1", "auto")
    assert "dog" not in classes("auto", "dog=1")


@pytest.mark.parametrize(
    ("thresholds", "complaint"),
    [
        (["high"], "high is neither a number from 0 to 1, nor auto, nor CLASS=P"),
        (["dog=1.5"], "dog=1.5 is neither"),
        (["dog="], "dog= is neither"),
        (["nan"], "nan is neither"),
        (["0.5", "0.6"], "given twice for all classes"),
        (["auto", "0.6"], "given twice for all classes"),
        (["dog=0.5", "dog=0.6"], "given twice for dog"),
        (["doog=0.5"], "has no class doog; its classes are dog, cat, bird"),
    ],
)
def test_a_threshold_that_makes_no_sense_is_bad_usage(thresholds: list[str], complaint: str, run: Path) -> None:
    done = train_here("predict", run, "x.wav", *(word for one in thresholds for word in ("--threshold", one)))
    assert done.returncode == 2
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_run_without_validation_says_how_to_get_thresholds(run: Path, yard: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    record = json.loads((run / "run.json").read_text()) | {"temperature": None, "thresholds": {}}
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    done = train_here("predict", tmp_path / "run", yard, "--threshold", "auto")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "trained without validation clips" in line
    for remedy in ("--threshold P", "--val 0.15", "--keep-thresholds"):
        assert remedy in line
    of_classes = [word for name in record["class_names"] for word in ("--threshold", f"{name}=0.5")]
    assert train_here("predict", tmp_path / "run", yard, "--threshold", "auto", *of_classes).returncode == 0


@pytest.mark.parametrize("format", ["csv", "json"])
def test_rows_of_any_class_and_any_recording_are_read_back(format: str, run: Path, tmp_path: Path) -> None:
    names = ["1", "0.5", "Class", "dog, cat", 'say "hi"', "=1+1", "-", "line\nbreak", "käuzchen"]
    opened = open_run(run)
    opened = replace(opened, record=replace(opened.record, class_names=names))
    sources = [Source(Path(f"{name} {i}.wav"), "x") for i, name in enumerate([*names, *HOSTILE])]
    given = [names[i % len(names)] for i in range(len(sources))]
    p = dict.fromkeys(names, 0.1)
    known = {s.path: Recording(s.path, Kind.CLIP, 1.0, name, p) for s, name in zip(sources, given, strict=True)}
    output = Output(format, tmp_path / "out", resume=True)
    deliver(opened, sources, lambda left: [known[s.path] for s in left], output)
    content = (tmp_path / "out").read_bytes()
    deliver(opened, sources, lambda left: [known[s.path] for s in left], output)
    assert (tmp_path / "out").read_bytes() == content
    lines = content.decode()
    rows = (
        [json.loads(line) for line in lines.splitlines()]
        if format == "json"
        else list(csv.DictReader(io.StringIO(lines, newline="")))
    )
    assert len(rows) == len(sources)
    assert [plain_cell(row["class"]) if format == "csv" else row["class"] for row in rows] == given
    cells = [row["class"] for row in rows] + [row["path"] for row in rows]
    assert format == "json" or not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)


@pytest.mark.parametrize("format", LABELS)
def test_a_recording_whose_name_is_too_long_for_labels_is_named_and_the_next_one_is_labelled(
    format: str, run: Path, tmp_path: Path
) -> None:
    sources = [Source(Path(name), name) for name in (f"{'a' * 250}.wav", "b.wav")]
    found = [one for source in sources for one in heard(source.path, [(0, 1, "dog"), (1, 2, "cat")])]
    with pytest.raises(UserError, match="1 of 2 files"):
        deliver(open_run(run), sources, lambda _: found, Output(format, tmp_path / "labels"))
    assert [file.name.split(".")[0] for file in (tmp_path / "labels").iterdir()] == ["b"]


def test_files_that_are_finished_are_said_to_stay_as_they_are_and_to_lack_segments_that_were_not_asked_for_then(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, segments = tmp_path / "out.csv", tmp_path / "segments"
    opened = open_run(run)
    sources = [Source(tmp_path / "a.wav", "a.wav")]
    found = Recording(sources[0].path, Kind.CLIP, 1.0, "dog", dict.fromkeys(opened.class_names, 0.3))
    deliver(opened, sources, lambda _: [found], Output("csv", out))
    capsys.readouterr()
    deliver(opened, sources, lambda _: [], Output("csv", out, resume=True, segments=segments))
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"1 of 1 files are finished already and stay as they are: {segments} lacks their detections"


def test_a_killed_command_goes_on_and_standard_input_is_the_file(run: Path, folder: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.wav"
    soundfile.write(long, np.concatenate([tone("dog", 200), tone("cat", 200)]), 16000)
    out = tmp_path / "out.csv"
    arguments = ("predict", run, folder, long, "--recursive", "--format", "csv")
    command = [sys.executable, "-m", "train", *arguments, "--out", out]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    # In the middle of the long one, which is the last.
    while not (out.exists() and out.read_bytes().count(b"long.wav") > 50) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    n_before = out.read_bytes().count(b"long.wav")
    done = train_here(*arguments, "--out", out, "--resume")
    assert done.returncode == 1
    assert "8 of 9 files are finished already" in done.stderr
    assert done.stdout == ""
    whole = train_here(*arguments)
    assert out.read_bytes() == whole.stdout.encode()
    assert out.read_bytes().count(b"long.wav") > n_before
    assert str(folder / "bad.wav") in whole.stderr
    with long.open("rb") as recording:
        command = [sys.executable, "-m", "train", "predict", run, "-", "--format", "csv"]
        piped = subprocess.run(command, stdin=recording, cwd=ROOT, capture_output=True, check=False)
    assert piped.returncode == 0, piped.stderr
    of_file = [line for line in whole.stdout.splitlines() if str(long) in line]
    assert [line.replace(",'-,", f",{long},", 1) for line in piped.stdout.decode().splitlines()[1:]] == of_file
