"""Tables of clips and classes that are called like formulas: no spreadsheet runs one, and every reader knows them."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache import open_cache
from cache.labels.read import read_labels
from cache.shared.text import csv_line
from featurize import build
from tests.helpers.made_runs import made_fit
from train.dataset.given import choose_split
from train.dataset.splits import clip_groups
from train.predict.recordings import Kind, Recording
from train.predict.rows import as_csv, csv_header, rows_file
from train.report.mistakes import write_suspects
from train.runs.directory import open_run
from train.runs.record import read_record
from train.runs.tables import read_predictions, read_split

CLASSES = ("@SUM(A1)", "-dog", "\uff1dcat", "'=owl")
NAMES = ("=cmd", "+cmd", "-cmd", "@cmd", "'=cmd", "plain", "-1", "\uff1dx")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on such clips, some of which it got wrong."""
    folder = tmp_path_factory.mktemp("odd")
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (folder / "data" / name).mkdir(parents=True)
        for clip in NAMES:
            soundfile.write(folder / "data" / name / f"{clip}.wav", rng.normal(0, 0.1, 800), 16000)
    build(folder / "data", folder / "features.h5", classes=CLASSES)
    return made_fit(folder / "run", folder / "features.h5", [f"{CLASSES[0]}/-cmd.wav"])


def cells(file: Path) -> list[str]:
    with file.open(newline="", encoding="utf-8") as lines:
        return [cell for row in csv.reader(lines, strict=True) for cell in row]


def runs_nothing(file: Path) -> bool:
    return not [
        cell for cell in cells(file) if re.match("[=+@\t\r\uff1d-]", cell) and not re.fullmatch(r"[-+]?[\d.e-]+", cell)
    ]


def test_the_tables_of_a_run_hold_no_formula_and_are_read_back(odd: Path) -> None:
    cache = open_cache(odd.parent / "features.h5")
    assert runs_nothing(odd / "split.csv")
    assert runs_nothing(odd / "predictions.csv")
    assert [clip.path for clip in read_split(odd)] == cache.paths
    tested = read_predictions(odd, read_record(odd).class_names)
    assert [CLASSES[label] for label in tested.labels] == [path.split("/")[0] for path in tested.paths]


def test_a_split_of_a_run_can_be_given_to_the_next(odd: Path) -> None:
    cache = open_cache(odd.parent / "features.h5")
    groups = clip_groups(cache.paths, cache.columns["sha256"])
    split, _ = choose_split(cache, groups, 0.2, 0.2, 0, odd / "split.csv")
    assert [("train", "val", "test")[side] for side in split] == [clip.split for clip in read_split(odd)]


def test_suspects_hold_no_formula(odd: Path, tmp_path: Path) -> None:
    assert write_suspects(odd, tmp_path / "suspects.csv")
    assert runs_nothing(tmp_path / "suspects.csv")


def test_predictions_hold_no_formula_and_go_on_behind_the_last_one(odd: Path, tmp_path: Path) -> None:
    run, file = open_run(odd), tmp_path / "found.csv"
    probabilities = dict.fromkeys(CLASSES, 0.25)
    clips = [Recording(Path(f"{name}.wav"), Kind.CLIP, 1.0, CLASSES[0], probabilities) for name in NAMES]
    file.write_bytes(csv_header(run) + b"".join(as_csv(run, clip) for clip in clips))
    assert runs_nothing(file)
    with rows_file(run, file, "csv", resume=True) as (_, finished):
        assert list(finished) == [f"{name}.wav" for name in NAMES]


@pytest.mark.parametrize("name", ["=night.wav", "'=night.wav", "''=night.wav", "'night.wav"])
def test_a_table_of_labels_may_be_written_so(name: str, tmp_path: Path) -> None:
    recording = tmp_path / name
    soundfile.write(recording, np.zeros(64000), 16000)
    rows = [(recording.name, i, i + 1, label) for i, label in enumerate(CLASSES)]
    table = tmp_path / "labels.csv"
    table.write_text("".join(map(csv_line, [("file", "start", "end", "label"), *rows])))
    assert runs_nothing(table)
    expected = [(str(recording), float(i), label) for i, label in enumerate(CLASSES)]
    assert [(one.file, one.start, one.label) for one in read_labels([table], None).annotations] == expected
    # Only a CSV is written so: between tabs an apostrophe is one.
    table.write_text("".join("\t".join(map(str, cells)) + "\n" for cells in [("file", "start", "end", "label"), *rows]))
    assert [(one.file, one.start, one.label) for one in read_labels([table], None).annotations] == expected
