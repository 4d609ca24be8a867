"""Corrections beside a cache: the next cache has the labels that reviewers gave, and clips stay where they are."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from cache import Cache, open_cache
from cache.labels.corrections import Correction, Decision, append_correction
from cache.look import info
from cache.shared.errors import UserError
from featurize import build
from featurize.update.update import Result
from tests.helpers.sounds import noise

PATHS = [f"{name}/{i}.wav" for name in ("dog", "cat", "bird") for i in range(4)]


def write(file: Path, seed: int, seconds: float = 0.2) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, noise(round(16000 * seconds), seed=seed), 16000)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four clips of each of three classes."""
    for seed, path in enumerate(PATHS):
        write(tmp_path / "data" / path, seed)
    return tmp_path / "data"


def run(data: Path, **options: Any) -> tuple[Result, list[str]]:
    said: list[str] = []
    return build(data, data.parent / "features.h5", notify=said.append, **options), said


def decide(cache: Cache, path: str, decision: Decision, new: str = "", minute: int = 0) -> None:
    row = cache.paths.index(path)
    old = cache.class_names[cache.labels[row]]
    sha256, when = cache.columns["sha256"][row].decode(), f"2026-01-01T10:{minute:02d}:00+00:00"
    one = Correction(sha256, path, old, decision, new, "kim", when, "runs/x")
    append_correction(cache.file.with_name("corrections.csv"), one)


def labels(cache: Cache) -> dict[str, str]:
    return {path: cache.class_names[label] for path, label in zip(cache.paths, cache.labels.tolist(), strict=True)}


def folders() -> dict[str, str]:
    return {path: path.split("/")[0] for path in PATHS}


def content(cache: Cache) -> dict[str, bytes]:
    return {path: cache.X[row].tobytes() for row, path in enumerate(cache.paths)}


def test_a_corrected_label_is_that_of_the_next_cache_and_no_row_is_computed_for_it(data: Path) -> None:
    before = run(data)[0].cache
    decide(before, "dog/1.wav", Decision.CHANGE, "cat")
    decide(before, "bird/0.wav", Decision.CHANGE, "dog")
    decide(before, "cat/2.wav", Decision.RIGHT)
    decide(before, "cat/3.wav", Decision.UNSURE)
    result, said = run(data)
    assert labels(result.cache) == {**folders(), "dog/1.wav": "cat", "bird/0.wav": "dog"}
    assert (result.n_computed, result.n_reused) == (0, 12)
    assert content(result.cache) == content(before)
    assert result.cache.fingerprint != before.fingerprint
    corrected = dict(zip(result.cache.paths, result.cache.columns["corrected"].tolist(), strict=True))
    assert {path: n for path, n in corrected.items() if n} == {"dog/1.wav": 1, "bird/0.wav": 3}
    assert {path.relative_to(data).as_posix() for path in data.rglob("*.wav")} == set(PATHS)
    assert any("2 labels corrected" in line for line in said)
    assert re.search(r"^corrected +2 labels$", info.as_text(result.cache), re.MULTILINE)
    assert info.as_json(result.cache)["n_corrected"] == 2
    assert info.as_json(before)["n_corrected"] == 0


def test_a_new_cache_is_corrected_at_once_and_one_that_is_up_to_date_is_left_alone(data: Path) -> None:
    first = run(data)[0].cache
    decide(first, "dog/1.wav", Decision.CHANGE, "cat")
    first.file.unlink()
    again = run(data)[0]
    assert labels(again.cache)["dog/1.wav"] == "cat"
    stamp = again.cache.file.stat()
    result, _ = run(data)
    assert result.cache.fingerprint == again.cache.fingerprint
    assert (again.cache.file.stat().st_mtime_ns, again.cache.file.stat().st_ino) == (stamp.st_mtime_ns, stamp.st_ino)


def test_undone_it_is_the_cache_from_before(data: Path) -> None:
    before = run(data)[0].cache
    decide(before, "dog/1.wav", Decision.CHANGE, "cat")
    decide(before, "cat/0.wav", Decision.UNUSABLE)
    run(data)
    decide(before, "dog/1.wav", Decision.UNDO, minute=1)
    decide(before, "cat/0.wav", Decision.UNDO, minute=1)
    result, _ = run(data)
    assert result.cache.fingerprint == before.fingerprint
    assert labels(result.cache) == folders()
    assert result.cache.rejections == []
    assert result.n_computed == 1


@pytest.mark.parametrize(
    ("decision", "new", "reason"),
    [
        (Decision.UNUSABLE, "", "reviewed: kim found it unusable"),
        (Decision.BOTH, "dog", "reviewed: kim heard cat and dog, and a clip has one class"),
        (Decision.CHANGE, "owl", "reviewed: kim heard owl, which is not one of the classes"),
    ],
)
def test_a_clip_that_is_of_no_class_is_rejected_with_the_reason_and_stays_so(
    data: Path, decision: Decision, new: str, reason: str
) -> None:
    before = run(data)[0].cache
    decide(before, "cat/0.wav", decision, new)
    for _ in range(2):
        result, _ = run(data)
        assert result.cache.rejections == [("cat/0.wav", reason)]
        assert result.n_computed == 0
        assert labels(result.cache) == {path: name for path, name in folders().items() if path != "cat/0.wav"}
    decide(before, "cat/0.wav", Decision.CHANGE, "bird", minute=1)
    result, _ = run(data)
    assert (labels(result.cache)["cat/0.wav"], result.cache.rejections) == ("bird", [])


def test_a_correction_follows_the_content_under_another_name_and_ends_when_the_clip_is_moved(data: Path) -> None:
    before = run(data)[0].cache
    decide(before, "dog/1.wav", Decision.CHANGE, "cat")
    run(data)
    (data / "dog" / "1.wav").rename(data / "dog" / "renamed.wav")
    assert labels(run(data)[0].cache)["dog/renamed.wav"] == "cat"
    (data / "dog" / "renamed.wav").rename(data / "cat" / "renamed.wav")
    cache = run(data)[0].cache
    assert labels(cache)["cat/renamed.wav"] == "cat"
    assert not cache.columns["corrected"].any()


def test_the_classes_may_come_in_another_order_afterwards(data: Path) -> None:
    decide(run(data)[0].cache, "dog/1.wav", Decision.CHANGE, "cat")
    run(data)
    result, _ = run(data, classes=["bird", "cat", "dog"])
    assert labels(result.cache) == {**folders(), "dog/1.wav": "cat"}
    assert result.n_computed == 0


def test_a_segment_of_a_recording_is_corrected_too(tmp_path: Path) -> None:
    write(tmp_path / "data" / "night.wav", 0, seconds=10)
    (tmp_path / "night.txt").write_text("1\t2\towl\n3\t4\tfrog\n5\t6\towl\n")
    before = run(tmp_path / "data", labels=tmp_path / "night.txt")[0].cache
    path = next(path for path in before.paths if "#3.0" in path)
    decide(before, path, Decision.CHANGE, "owl")
    decide(before, before.paths[0], Decision.CHANGE, "frog")
    after = run(tmp_path / "data")[0].cache
    assert labels(after)[path] == "owl"
    assert labels(after)[before.paths[0]] == "frog"
    assert after.fingerprint != before.fingerprint


def test_the_same_content_in_two_classes_ends_in_one(data: Path) -> None:
    (data / "cat" / "copy.wav").write_bytes((data / "dog" / "1.wav").read_bytes())
    before = run(data)[0].cache
    assert before.conflicts
    decide(before, "dog/1.wav", Decision.CHANGE, "cat")
    after = run(data)[0].cache
    assert after.conflicts == []
    assert (labels(after)["dog/1.wav"], labels(after)["cat/copy.wav"]) == ("cat", "cat")


def test_a_class_that_would_have_no_clip_left_is_an_error_and_the_old_cache_stays(data: Path) -> None:
    before = run(data)[0].cache
    for i in range(4):
        decide(before, f"dog/{i}.wav", Decision.CHANGE, "cat")
    with pytest.raises(UserError, match=r"corrections\.csv leaves no clip in dog"):
        run(data)
    assert open_cache(before.file).fingerprint == before.fingerprint


def test_a_bad_line_is_named_and_another_table_is_an_error(data: Path) -> None:
    before = run(data)[0].cache
    decide(before, "dog/1.wav", Decision.CHANGE, "cat")
    table = before.file.with_name("corrections.csv")
    table.write_text(table.read_text() + "half a line\n")
    result, said = run(data)
    assert labels(result.cache)["dog/1.wav"] == "cat"
    assert sum("line 3 skipped" in line for line in said) == 1
    table.write_text("file,label\n")
    with pytest.raises(UserError, match="not a table of corrections"):
        run(data)


def test_a_table_of_corrections_in_a_folder_of_labels_is_not_taken_for_labels(tmp_path: Path) -> None:
    write(tmp_path / "data" / "night.wav", 0, seconds=10)
    (tmp_path / "night.txt").write_text("1\t2\towl\n3\t4\tfrog\n5\t6\towl\n7\t8\tfrog\n")
    before = build(tmp_path / "data", tmp_path / "features.h5", labels=tmp_path).cache
    decide(before, before.paths[0], Decision.CHANGE, "frog")
    result, said = run(tmp_path / "data")
    assert result.problems == []
    assert not any("corrections.csv" in line and "skipped" in line for line in said)
    assert labels(result.cache)[before.paths[0]] == "frog"


def test_rows_keep_their_order_and_y_is_one_hot(data: Path) -> None:
    before = run(data)[0].cache
    decide(before, "dog/1.wav", Decision.CHANGE, "bird")
    after = run(data)[0].cache
    assert after.paths == before.paths
    assert (np.asarray(after.y).sum(axis=1) == 1).all()
