"""A recording is one unit of work: its segments are computed together, and fail together."""

import json
from pathlib import Path

import pytest
import soundfile

from cache.shared.errors import UserError
from cache.shared.segment import Segment, recording_of
from featurize import build
from featurize.audio.decode import open_audio
from featurize.audio.find import Clip
from featurize.workers.batch import Task, n_bytes_of, work_items
from tests.helpers.commands import complaints, start
from tests.helpers.sounds import noise

N_RECORDINGS = 4
N_LABELS = 40

BREAKING = """
import os, signal, featurize.workers.batch
open_audio = featurize.workers.batch.open_audio
def open_or_die(path, *rest):
    if path.endswith("r2.wav"):
        os.kill(os.getpid(), signal.SIGKILL)
    return open_audio(path, *rest)
featurize.workers.batch.open_audio = open_or_die
"""


@pytest.fixture
def field(tmp_path: Path) -> Path:
    """Recordings with more labels each than a batch has clips."""
    (tmp_path / "field").mkdir()
    for number in range(N_RECORDINGS):
        soundfile.write(tmp_path / f"field/r{number}.wav", noise(5 * 16000, seed=number), 16000)
        spans = [(i / 10, i / 10 + 0.19, "ab"[i % 2]) for i in range(N_LABELS)]
        lines = (f"{start:.3f}\t{end:.3f}\t{name}\n" for start, end, name in spans)
        (tmp_path / f"field/r{number}.txt").write_text("".join(lines))
    return tmp_path / "field"


def test_workers_and_one_alone_make_the_same_cache(field: Path, tmp_path: Path) -> None:
    alone = build(field, tmp_path / "alone.h5", labels=[field]).cache
    together = build(field, tmp_path / "together.h5", labels=[field], n_jobs=2).cache
    half = build(field, tmp_path / "half.h5", labels=[field], n_jobs=2, dtype="float16").cache
    assert together.fingerprint == alone.fingerprint
    assert half.X.tobytes() == alone.X.astype("float16").tobytes()


def test_a_recording_of_which_its_worker_dies_costs_its_own_segments(field: Path) -> None:
    with start(field, "--labels", field, "--jobs", 2, "--json", code=BREAKING) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert complaints(err) == []
    found = json.loads(out)
    assert (found["n_clips"], len(found["rejected"])) == ((N_RECORDINGS - 1) * N_LABELS, N_LABELS)
    assert {recording_of(bad["path"]) for bad in found["rejected"]} == {"r2.wav"}
    assert {bad["reason"].split(";")[0] for bad in found["rejected"]} == {"the worker that computes it dies of it"}
    after = build(field, n_jobs=2)
    assert (after.n_computed, len(after.cache)) == (N_LABELS, N_RECORDINGS * N_LABELS)


def test_after_a_crash_only_the_recordings_that_were_not_finished_are_read(
    field: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, opened = {"r2.wav", "r3.wav"}, []

    def open_some(path: str, *stamp: int) -> object:
        if Path(path).name in broken:
            raise RuntimeError("a fault of ours")
        opened.append(Path(path).name)
        return open_audio(path, *stamp)

    monkeypatch.setattr("featurize.workers.batch.open_audio", open_some)
    with pytest.raises(UserError, match=r"while it was on r2.wav#0.000000-0.190000; finished clips are kept"):
        build(field, labels=[field])
    broken.clear()
    result = build(field, labels=[field])
    assert opened == ["r0.wav", "r1.wav", "r2.wav", "r3.wav"]
    assert len(result.cache) == N_RECORDINGS * N_LABELS


def test_a_unit_is_a_clip_or_the_segments_of_a_recording_and_read_once() -> None:
    def segment(recording: str, start: float) -> Task:
        return Task(Clip(f"{recording}#{start:.6f}-9.000000", 0, 1000, 0, 0, Segment(recording, start, 9.0)), "")

    plain = [Task(Clip(f"dog/{i}#1.wav", 0, 10, 0), "") for i in range(2)]
    tasks = [*plain, segment("a.wav", 1), segment("a.wav", 2), segment("b.wav", 1)]
    assert [len(unit) for unit in work_items(tasks)] == [1, 1, 2, 1]
    assert n_bytes_of(tasks) == 10 + 10 + 1000 + 1000
    many = [segment("a.wav", i / 1000) for i in range(1200)]
    assert [len(unit) for unit in work_items(many)] == [512, 512, 176]
