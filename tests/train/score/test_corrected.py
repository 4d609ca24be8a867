"""The gain of corrections: two runs on the clips that both tested, against numbers counted by hand."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from cache import Cache, open_cache
from cache.labels.corrections import Correction, Decision, append_correction
from featurize import build
from tests.helpers.made_runs import made_crossval
from train.report.report import write_report
from train.runs.record import read_record
from train.runs.tables import write_predictions
from train.score.compare import BeforeAfter, Changed, what_changed

NAMES = ("dog", "bird", "cat", "cat", "dog")
A, B, C, D, E = (f"{name}/1s{i}_nohash_0.wav" for i, name in enumerate(NAMES))


def run_that_hears(folder: Path, cache: Cache, other: dict[str, str]) -> Path:
    """A cross-validation in two repeats that is right about all clips but some; the second repeat is never right."""
    made_crossval(folder, cache.file)
    names, rows = cache.class_names, zip(cache.paths, cache.labels.tolist(), strict=True)
    heard = [names.index(other.get(path, names[label])) for path, label in rows]
    wrong = [(label + 1) % 3 for label in cache.labels.tolist()]
    p = np.eye(3, dtype=np.float32)[[*heard, *wrong]]
    n = len(cache)
    write_predictions(folder, cache, np.tile(np.arange(n), 2), p, [(1, 1)] * n + [(2, 1)] * n)
    return folder


def decide(cache: Cache, path: str, decision: Decision, new: str = "", run: str = "", when: str = "2026-01-01") -> None:
    row = cache.paths.index(path)
    old, sha256 = cache.class_names[cache.labels[row]], cache.columns["sha256"][row].decode()
    one = Correction(sha256, path, old, decision, new, "kim", f"{when}T10:00:00+00:00", run)
    append_correction(cache.file.with_name("corrections.csv"), one)


@pytest.fixture
def place(tones: Path, tones_cache: Path, tmp_path: Path) -> Path:
    """A run, two corrections and a rejection in its review, the next cache, and a run on that."""
    shutil.copytree(tones, tmp_path / "data")
    before = build(tmp_path / "data", tmp_path / "features.h5").cache
    first = run_that_hears(tmp_path / "first", before, {A: "cat", B: "dog", C: "dog", D: "bird"})
    for path, decision, new in ((A, Decision.CHANGE, "cat"), (B, Decision.CHANGE, "dog"), (E, Decision.UNUSABLE, "")):
        decide(before, path, decision, new, str(first))
    decide(before, C, Decision.RIGHT, run=str(first))
    after = build(tmp_path / "data", tmp_path / "features.h5").cache
    run_that_hears(tmp_path / "second", after, {A: "dog", C: "dog"})
    return tmp_path


def changed(place: Path) -> Changed | None:
    return what_changed(place / "second", read_record(place / "second"), open_cache(place / "features.h5"))


def test_clips_that_were_corrected_and_those_that_were_not_are_counted_apart_against_the_labels_of_now(
    place: Path,
) -> None:
    # 45 clips were left alone: C and D were wrong, and D is right now. A and B were heard as what they are.
    others, relabelled = BeforeAfter(45, 43 / 45, 44 / 45, 1.0), BeforeAfter(2, 1.0, 0.5, 1.0)
    assert changed(place) == Changed(str(place / "first"), 2, 1, "", others, relabelled)


def test_a_run_is_found_beside_the_new_one_and_one_that_is_gone_is_told(place: Path, tmp_path: Path) -> None:
    table = place / "corrections.csv"
    table.write_text(table.read_text().replace(str(place / "first"), "runs/first"))
    found = changed(place)
    assert found is not None
    assert (found.run, found.others) == ("runs/first", BeforeAfter(45, 43 / 45, 44 / 45, 1.0))
    shutil.rmtree(place / "first")
    assert changed(place) == Changed("runs/first", 2, 1, "runs/first is not there any more")


def test_a_correction_after_the_run_began_is_not_one_that_it_learned_from(place: Path) -> None:
    decide(open_cache(place / "features.h5"), D, Decision.CHANGE, "bird", str(place / "second"), when="2026-05-01")
    found = changed(place)
    assert found is not None
    assert (found.run, found.n_relabelled) == (str(place / "first"), 2)
    (place / "corrections.csv").unlink()
    assert changed(place) is None


def test_a_corrected_clip_that_was_moved_is_compared_too(place: Path) -> None:
    (place / "data" / A).rename(place / "data" / "cat" / "moved.wav")
    after = build(place / "data", place / "features.h5").cache
    shutil.rmtree(place / "second")
    run_that_hears(place / "second", after, {})
    assert changed(place) == Changed(
        str(place / "first"), 2, 1, "", BeforeAfter(45, 43 / 45, 1.0, 0.5), BeforeAfter(2, 1.0, 1.0, 1.0)
    )


def test_the_report_says_so(place: Path) -> None:
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", write_report(place / "second").read_text()))
    assert "What the corrections changed" in page
    assert f"In the review of {place / 'first'} , 2 labels were corrected, and 1 clip was rejected." in page
    assert "not corrected 45 95.6 % 97.8 % 1.000" in page
    assert "corrected 2 100.0 % 50.0 % 1.000" in page
    assert "What the corrections changed" not in write_report(place / "first").read_text()
