"""Room for rows: whatever is added and taken back, what is left comes in order, from memory or from a file."""

import random
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache.file.columns import ROW_SHAPE
from cache.shared.errors import UserError
from cache.shared.segment import Crop
from featurize import build
from featurize.audio.find import Clip
from featurize.features.profiles import PROFILES
from featurize.workers.batch import Task, featurize_batch
from featurize.workers.rows import Room, rows_in


@pytest.mark.parametrize("has_file", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_rows_that_were_added_and_not_taken_back_come_in_order(tmp_path: Path, has_file: bool, seed: int) -> None:
    rng, file = random.Random(seed), tmp_path / "rows"
    block = np.empty((rng.randint(1, 4), 2, 3), np.float32)
    room, expected = Room(block, file if has_file else None), []
    for i in range(rng.randint(0, 30)):
        room.next()[...] = i
        if rng.random() < 0.9:
            room.add()
            expected.append(i)
        if rng.random() < 0.1:
            expected = expected[: rng.randint(0, len(expected))]
            room.cut(len(expected))
        assert room.n == len(expected)
    X = room.close()
    parts = [*rows_in(file, block)] if room.in_file else [X]
    assert [int(x.max()) for part in parts for x in part] == expected
    assert all(part.shape[1:] == (2, 3) for part in parts)
    assert room.in_file or len(X) == len(expected)
    assert not file.exists()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data/dog").mkdir(parents=True)
    soundfile.write(tmp_path / "data/dog/a.wav", np.random.default_rng(0).normal(0, 0.1, 250_000), 250_000)
    return tmp_path / "data"


def test_a_file_that_cannot_be_written_is_not_taken_for_a_bad_clip(data: Path, tmp_path: Path) -> None:
    status = (data / "dog/a.wav").stat()
    task = Task(Clip("dog/a.wav", 0, status.st_size, status.st_mtime_ns), "", Crop("segments"))
    room = Room(np.empty((1, *ROW_SHAPE), np.float32), tmp_path / "gone/rows")
    with pytest.raises(FileNotFoundError):
        featurize_batch(str(data), [task], PROFILES["bats"], room)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_disk_that_fails_a_worker_is_one_line(data: Path, n_jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featurize.workers.processes.room_path", lambda rows, number: data / f"gone/{number}")
    with pytest.raises(UserError, match=r"f.h5 cannot be written \(No such file .*\); .* run it again"):
        build(data, data / "f.h5", "dog", settings="bats", crop="segments", n_jobs=n_jobs, notify=lambda _: None)
    monkeypatch.undo()
    assert len(build(data, data / "f.h5", notify=lambda _: None, crop="segments", settings="bats").cache) == 7


def test_files_of_rows_that_a_killed_run_left_are_deleted(data: Path) -> None:
    (data / "f.h5.partial.rows-3").write_bytes(b"half a row")
    build(data, data / "f.h5", "dog")
    assert [path.name for path in data.glob("f.h5*")] == ["f.h5"]
