"""Rows of long clips: where their windows lie, that each is a clip of its own to the bit, and what is kept of them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache import Cache, open_cache
from cache.file.journal import journal_paths
from cache.labels.corrections import Correction, Decision, append_correction
from cache.look import changes, info
from cache.shared.errors import UserError
from cache.shared.segment import Segment, segment_of
from featurize import build, featurize_clip
from featurize.audio.audio import Audio
from featurize.audio.decode import open_audio
from featurize.update import summary
from tests import ROOT
from tests.helpers.caches import assert_same
from tests.helpers.commands import featurize

# Half a second of frames: a window at 8 kHz is 128 frames of 32 samples.
SHORT = {"sr": 8000, "n_fft": 64, "hop_length": 32, "fmax": 4000.0}
LENGTH = 128 * 32


def write(file: Path, n_samples: int, seed: int = 0, sr: int = 8000, n_channels: int = 1) -> np.ndarray:
    """Write noise; return it as it can be read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    y = np.random.default_rng(seed).normal(0, 0.1, (n_samples, n_channels)).astype(np.float32)
    soundfile.write(file, y, sr, subtype="FLOAT")
    return y


def made(data: Path, file: Path | None = None, **options) -> Cache:
    options = {"settings": SHORT, "classes": "all", "notify": lambda _: None} | options
    return build(data, file or data / "features.h5", **options).cache


def spans(cache: Cache, sr: int = 8000) -> list[tuple[int, int]]:
    """The samples of each window."""
    return [segment_of(path).samples(sr) for path in cache.paths if segment_of(path)]


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.75])
def test_windows_lie_a_step_apart_and_the_last_ends_where_the_clip_ends(tmp_path: Path, overlap: float) -> None:
    step = round(LENGTH * (1 - overlap))
    for i, n in enumerate(LENGTH + k * step + more for k in (0, 1, 3) for more in (-1, 0, 1, 7)):
        write(tmp_path / f"data/dog/{i:02}.wav", n, i)
    cache = made(tmp_path / "data", crop="segments", overlap=overlap)
    paths = dict(zip(cache.clip_paths, np.bincount(cache.clips).tolist(), strict=True))
    at = 0
    for i, n in enumerate(LENGTH + k * step + more for k in (0, 1, 3) for more in (-1, 0, 1, 7)):
        starts = [*range(0, n - LENGTH, step), n - LENGTH] if n > LENGTH else []
        assert paths[f"dog/{i:02}.wav"] == max(1, len(starts))
        assert spans(cache)[at : at + len(starts)] == [(start, start + LENGTH) for start in starts]
        at += len(starts)


@pytest.mark.parametrize(("sr", "n_channels"), [(8000, 1), (22050, 2), (44100, 1), (6000, 1)])
@pytest.mark.parametrize("how", [{"crop": "segments"}, {"crop": "loudest", "n_windows": 2}])
def test_a_row_is_that_of_a_file_of_its_samples_to_the_bit(tmp_path: Path, sr: int, n_channels: int, how: dict) -> None:
    y = write(tmp_path / "data/dog/a.wav", round(1.7 * sr), sr=sr, n_channels=n_channels)
    write(tmp_path / "data/dog/short.wav", round(0.4 * sr), sr=sr, n_channels=n_channels)
    cache = made(tmp_path / "data", **how)
    assert cache.clip_paths == ["dog/a.wav", "dog/short.wav"]
    assert len(cache) == {"segments": 7, "loudest": 3}[how["crop"]]
    for path, x in zip(cache.paths[:-1], cache.X, strict=False):
        first, last = segment_of(path).samples(sr)
        soundfile.write(tmp_path / "part.wav", y[first:last], sr, subtype="FLOAT")
        assert (x == featurize_clip(tmp_path / "part.wav", SHORT)).all()
        assert (x == featurize_clip(tmp_path / "data" / path, SHORT)).all()
    assert (cache.X[-1] == featurize_clip(tmp_path / "data/dog/short.wav", SHORT)).all()
    assert cache.paths[-1] == "dog/short.wav"
    assert cache.columns["clip_duration"].tolist() == [1.7] * (len(cache) - 1) + [0.0]


def test_windows_without_sound_are_skipped_and_counted(tmp_path: Path) -> None:
    y = write(tmp_path / "data/dog/a.wav", 6 * LENGTH)
    y[LENGTH : 4 * LENGTH] = 0
    soundfile.write(tmp_path / "data/dog/a.wav", y, 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "data/dog/silent.wav", 0 * y, 8000, subtype="FLOAT")
    result = build(tmp_path / "data", classes="all", settings=SHORT, crop="segments", notify=lambda _: None)
    cache = result.cache
    starts = [first for first, _ in spans(cache)]
    # The second to fourth of eleven windows are silent.
    assert starts == [k * LENGTH // 2 for k in range(11) if not 2 <= k <= 6]
    assert cache.silent == ["dog/silent.wav"]
    assert cache.paths[-1] == "dog/silent.wav"
    assert "5 windows without sound skipped" in summary.as_text(result)
    assert summary.as_json(result)["n_silent_windows"] == info.as_json(cache)["n_silent_windows"] == 5
    again = build(tmp_path / "data", notify=lambda _: None)
    assert (again.n_computed, summary.as_json(again)["n_silent_windows"]) == (0, 5)


def test_the_loudest_windows_hold_what_is_loud(tmp_path: Path) -> None:
    y = 0.01 * write(tmp_path / "data/dog/a.wav", 12 * LENGTH)
    for at, level in ((0.2, 3), (5.1, 2), (9.7, 1)):
        y[round(at * LENGTH) :][:1200] += level * 0.1 * np.sin(np.arange(1200))[:, None]
    soundfile.write(tmp_path / "data/dog/a.wav", y, 8000, subtype="FLOAT")
    # Two windows that overlap by half may hold the same sound.
    for n, n_sounds in ((1, 1), (2, 2), (5, 3)):
        found = spans(made(tmp_path / "data", crop="loudest", n_windows=n))
        assert len(found) == n
        for at in (0.2, 5.1, 9.7)[:n_sounds]:
            assert any(first <= at * LENGTH and at * LENGTH + 1200 <= last for first, last in found)


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.8])
def test_the_loudest_windows_overlap_by_half_at_most_and_are_fewer_where_there_are_no_more(
    tmp_path: Path, overlap: float
) -> None:
    rng = np.random.default_rng(1)
    for i, n in enumerate((LENGTH + 100, 3 * LENGTH - 1, 7 * LENGTH)):
        y = write(tmp_path / f"data/dog/{i}.wav", n) * np.repeat(rng.uniform(0.1, 1, 1 + n // 500), 500)[:n, None]
        soundfile.write(tmp_path / f"data/dog/{i}.wav", y, 8000, subtype="FLOAT")
    every = made(tmp_path / "data", tmp_path / "every.h5", crop="segments", overlap=overlap)
    for n_windows in (1, 2, 4, 99):
        cache = made(tmp_path / "data", crop="loudest", overlap=overlap, n_windows=n_windows)
        for clip in range(3):
            of_clip = np.array(spans(cache))[cache.clips == clip]
            assert len(of_clip) <= n_windows
            assert (np.diff(of_clip[:, 0]) >= LENGTH // 2).all()
            candidates = [tuple(span) for span in np.array(spans(every))[every.clips == clip].tolist()]
            left = [
                start for start, _ in candidates if all(abs(start - other) >= LENGTH // 2 for other in of_clip[:, 0])
            ]
            # No further one fits, or there are as many as were asked for.
            assert len(of_clip) == n_windows or not left
            assert {*map(tuple, of_clip.tolist())} <= {*candidates}


@pytest.mark.parametrize("most_held", [512, 0])
def test_segments_of_labels_are_cut_as_files_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_held: int
) -> None:
    """The first of two segments that overlap is the longer one; the rows of the other wait for it, or do not."""
    monkeypatch.setattr("featurize.workers.batch.MOST_HELD", most_held)
    y = write(tmp_path / "data/night.wav", 10 * LENGTH, n_channels=2)
    seconds = LENGTH / 8000
    labels = [(0.5, 0.9, "owl"), (1.0, 3.5, "frog"), (1.2, 1.6, "owl"), (4.0, 6.0, "owl"), (4.0, 5.9, "frog")]
    lines = [f"{start * seconds:.6f}\t{end * seconds:.6f}\t{label}\n" for start, end, label in labels]
    (tmp_path / "night.txt").write_text("".join(lines))
    how = {"labels": tmp_path / "night.txt", "classes": "frog,owl"}
    cache = made(tmp_path / "data", crop="segments", **how)
    whole = made(tmp_path / "data", tmp_path / "whole.h5", **how)
    assert cache.clip_paths == whole.paths
    assert np.bincount(cache.clips).tolist() == [1, 4, 1, 3, 3]
    assert cache.labels[cache.first_rows].tolist() == whole.labels.tolist()
    for path, x in zip(cache.paths, cache.X, strict=True):
        first, last = segment_of(path).samples(8000)
        assert last - first <= LENGTH
        soundfile.write(tmp_path / "part.wav", y[first:last], 8000, subtype="FLOAT")
        assert (x == featurize_clip(tmp_path / "part.wav", SHORT)).all()
    long = Segment("night.wav", seconds, 3.5 * seconds)
    of_long = [segment_of(path) for path, clip in zip(cache.paths, cache.clips, strict=True) if clip == 1]
    assert [one.start for one in of_long] == pytest.approx([long.start + k * seconds / 2 for k in range(4)])
    assert info.as_json(cache)["n_stretches"] == 5
    assert "5 clips are segments of a recording" in summary.as_text(build(tmp_path / "data", notify=lambda _: None))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Clips of one to six rows in two classes."""
    for i, n in enumerate((LENGTH // 2, LENGTH, 2 * LENGTH, 3 * LENGTH + 5)):
        write(tmp_path / f"data/dog/{i}.wav", n, i)
        write(tmp_path / f"data/cat/{i}.wav", n + 9, 10 + i)
    return tmp_path / "data"


def test_a_change_of_the_crop_costs_the_long_clips_alone(data: Path, tmp_path: Path) -> None:
    middle = made(data, tmp_path / "middle.h5")
    fresh = made(data, tmp_path / "fresh.h5", crop="segments")
    said: list[str] = []
    result = build(data, tmp_path / "middle.h5", crop="segments", notify=said.append)
    assert (result.n_computed, result.n_reused, result.n_removed) == (5, 3, 0)
    assert (
        "5 of 8 clips are longer than a row, so they are computed again: crop is 'segments', the cache's was 'middle'"
        in said
    )
    assert_same(result.cache, fresh)
    assert result.cache.clips.tolist() == fresh.clips.tolist()
    back = build(data, tmp_path / "middle.h5", crop="middle", notify=said.append)
    assert (back.n_computed, back.n_reused) == (5, 3)
    assert_same(back.cache, middle)


def test_a_cache_remembers_its_crop(data: Path) -> None:
    cache = made(data, crop="loudest", overlap=0.25, n_windows=2)
    assert cache.header.cropping == ("loudest", 0.25, 2)
    again = build(data, notify=lambda _: None)
    assert (again.n_computed, again.cache.header.cropping) == (0, ("loudest", 0.25, 2))
    assert made(data, crop="segments").header.cropping == ("segments", 0.25, 1)
    assert made(data, crop="middle").header.cropping == ("middle", 0.5, 1)


def test_only_new_and_changed_clips_are_computed(data: Path, tmp_path: Path) -> None:
    made(data, crop="segments")
    write(data / "dog/3.wav", 4 * LENGTH, 99)
    write(data / "cat/9.wav", 2 * LENGTH, 98)
    (data / "cat/2.wav").unlink()
    found = changes.changes(open_cache(data / "features.h5"))
    assert (found.n_changed, found.n_new, found.n_gone) == (1, 1, 1)
    result = build(data, notify=lambda _: None)
    assert (result.n_computed, result.n_reused, result.n_removed) == (2, 6, 1)
    assert_same(result.cache, made(data, tmp_path / "fresh.h5", crop="segments"))
    assert info.check_rows(result.cache) == len(result.cache)
    # A clip that was only touched is compared by its content.
    (data / "dog/2.wav").touch()
    assert build(data, rehash=True, notify=lambda _: None).n_computed == 0
    assert build(data, notify=lambda _: None).n_computed == 0
    assert changes.changes(open_cache(data / "features.h5")).state == "unchanged"


def test_a_clip_counts_as_finished_when_all_its_rows_are_there(data: Path, tmp_path: Path) -> None:
    """Each line of a journal is lost in turn, as after a power cut; the file ends there, or goes on."""
    fresh = made(data, tmp_path / "fresh.h5", crop="segments")
    file = tmp_path / "features.h5"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featurize.update.compute.publish", None)
        with pytest.raises(TypeError):
            made(data, file, crop="segments")
    rows, journal = (path.read_bytes() for path in journal_paths(file))
    lines = journal.splitlines(keepends=True)
    assert len(lines) == 1 + len(fresh)
    for i in range(1, len(lines), 2):
        for left in ([*lines[:i], *lines[i + 1 :]], [*lines[:i], lines[i][: len(lines[i]) // 2]]):
            for path, content in zip(journal_paths(file), (rows, b"".join(left)), strict=True):
                path.write_bytes(content)
            result = build(data, file, "all", settings=SHORT, crop="segments", notify=lambda _: None)
            n_lost = len({*fresh.clips[[*range(i - 1, i if len(left) == len(lines) - 1 else len(fresh))]].tolist()})
            assert result.n_computed == n_lost
            assert_same(result.cache, fresh)
            file.unlink()


def test_a_correction_holds_for_all_rows_of_a_clip(data: Path) -> None:
    cache = made(data, crop="segments")
    row = int(cache.first_rows[cache.clip_paths.index("dog/3.wav")]) + 1
    sha256 = cache.columns["sha256"][row].decode()
    one = Correction(sha256, "dog/3.wav", "dog", Decision.CHANGE, "cat", "me", "2026-01-01T00:00:00", "")
    append_correction(data / "corrections.csv", one)
    cache = made(data)
    assert cache.n_corrected == 1
    assert {cache.class_names[i] for i in cache.labels[cache.clips == cache.clip_paths.index("dog/3.wav")]} == {"cat"}
    # It is about the clip, however that is cut.
    assert made(data, crop="middle").n_corrected == 1
    append_correction(data / "corrections.csv", one._replace(decision=Decision.UNUSABLE, new="", when="2026-01-02"))
    cache = made(data, crop="segments")
    assert "dog/3.wav" not in cache.clip_paths
    assert build(data, notify=lambda _: None).n_computed == 0


def test_copies_are_counted_as_clips(data: Path) -> None:
    (data / "dog/copy.wav").write_bytes((data / "dog/3.wav").read_bytes())
    cache = made(data, crop="segments")
    assert cache.duplicates == [["dog/3.wav", "dog/copy.wav"]]
    assert cache.n_duplicates == 1


def test_the_limit_of_a_class_counts_clips(data: Path) -> None:
    result = build(data, classes="all", settings=SHORT, crop="segments", max_per_class=3, notify=lambda _: None)
    assert result.cache.n_clips_per_class == {"cat": 3, "dog": 3}
    assert sum(result.cache.n_per_class.values()) > 6
    assert "at most 3 clips of each class, as was asked" in summary.as_text(result)


@pytest.mark.parametrize("how", [{"crop": "segments"}, {"crop": "loudest", "n_windows": 2}])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_bad_clip_costs_all_of_its_rows_and_no_others(data: Path, how: dict, n_jobs: int, tmp_path: Path) -> None:
    others = made(data, tmp_path / "others.h5", **how)
    y = write(data / "dog/2b.wav", 40 * LENGTH)
    y[-LENGTH] = np.nan
    soundfile.write(data / "dog/2b.wav", y, 8000, subtype="FLOAT")
    cache = made(data, n_jobs=n_jobs, **how)
    assert [path for path, _ in cache.rejections] == ["dog/2b.wav"]
    assert "NaN" in cache.rejections[0][1]
    assert_same(cache, others)


def test_a_long_clip_that_is_cut_short_is_remarked_on_once(data: Path) -> None:
    content = (data / "dog/3.wav").read_bytes()
    (data / "dog/3.wav").write_bytes(content[: len(content) * 3 // 4])
    cache = made(data, crop="segments")
    assert [path for path, remark in cache.remarks if remark.startswith("cut short")] == ["dog/3.wav"]
    assert cache.n_cut_short == 1
    assert cache.clip_durations[cache.clip_paths.index("dog/3.wav")] == pytest.approx(2.25 * LENGTH / 8000, abs=0.01)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_workers_make_the_same_rows_in_the_same_order(data: Path, tmp_path: Path, dtype: str) -> None:
    write(data / "dog/long.wav", 40 * LENGTH, 7)
    one, three = (made(data, tmp_path / f"{n}.h5", crop="segments", overlap=0.9, n_jobs=n, dtype=dtype) for n in (1, 3))
    assert_same(one, three)
    assert one.columns["clip"].tolist() == three.columns["clip"].tolist()
    assert [*tmp_path.glob("*.partial*")] == []


@pytest.mark.parametrize("how", [{"crop": "segments"}, {"crop": "loudest", "n_windows": 3}])
def test_a_long_clip_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict) -> None:
    write(tmp_path / "data/dog/a.wav", 30 * LENGTH)
    n_times = []

    @contextmanager
    def counted(path: str, *rest: int) -> Iterator[Audio]:
        with open_audio(path, *rest) as audio:
            yield audio._replace(blocks=lambda: n_times.append(path) or audio.blocks())

    monkeypatch.setattr("featurize.workers.batch.open_audio", counted)
    made(tmp_path / "data", **how)
    assert len(n_times) == 1


def test_a_long_clip_takes_little_memory(tmp_path: Path) -> None:
    """An hour has 877 rows, which are 57 MB; a process counts its own highest memory."""
    code = """
import sys
from pathlib import Path
from featurize import build
result = build(*sys.argv[1:3], "all", settings="whales", crop="segments", notify=lambda _: None)
[peak] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(len(result.cache), peak)
"""
    peaks = {}
    for minutes in (6, 60):
        data = tmp_path / f"{minutes}"
        (data / "dog").mkdir(parents=True)
        with soundfile.SoundFile(data / "dog/a.flac", "w", 4000, 1) as out:
            for i in range(minutes):
                out.write(np.random.default_rng(i).normal(0, 0.1, 240_000))
        done = subprocess.run(
            [sys.executable, "-c", code, data, data / "f.h5"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        n_rows, peaks[minutes] = map(int, done.stdout.split())
        assert n_rows == -(-(minutes * 240_000 - 32768) // 16384) + 1
    assert peaks[60] < 200_000
    assert peaks[60] < peaks[6] + 20_000


def test_what_it_takes_is_said_in_clips_and_rows_before(data: Path) -> None:
    said: list[str] = []
    build(data, classes="all", settings=SHORT, crop="segments", notify=said.append)
    [line] = [line for line in said if "to compute" in line]
    n_rows = len(open_cache(data / "features.h5"))
    assert line.startswith(
        f"8 clips (about {n_rows} rows) to compute; needs up to {n_rows * 65536 / 1e6:.1f} MB of disk"
    )


def test_where_clips_are_longer_than_a_row_and_nothing_is_asked_the_way_to_use_all_is_said(data: Path) -> None:
    longer = "5 of 8 clips are longer than the 0.51 s that a row shows"
    said = summary.as_text(build(data, classes="all", settings=SHORT, notify=lambda _: None))
    assert said.count(f"{longer}; --crop segments uses all of them\n") == 1
    said = summary.as_text(build(data, crop="middle", notify=lambda _: None))
    assert f"{longer}\n" in said
    said = summary.as_text(build(data, crop="segments", notify=lambda _: None))
    assert f"{longer}; their windows are 21 rows\n" in said
    assert "cat                4 clips, 13 rows\n" in said


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"overlap": 0.3}, "--overlap is about windows of long clips"),
        ({"n_windows": 2}, "--n-windows is about the loudest windows"),
        ({"crop": "segments", "n_windows": 2}, "--n-windows is about the loudest windows"),
        ({"crop": "all"}, "crop is 'all'; give one of middle, segments, loudest"),
        ({"crop": "segments", "overlap": 1}, "overlap is 1; give a number from 0 to 0.99"),
        ({"crop": "segments", "overlap": float("nan")}, "overlap is nan; give a number"),
        ({"crop": "loudest", "n_windows": 0}, "n_windows is 0; give a whole number"),
    ],
)
def test_what_cannot_be_done_is_refused(data: Path, options: dict, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        made(data, **options)
    assert not (data / "features.h5").exists()


def test_the_command_takes_the_same_options(data: Path, tmp_path: Path) -> None:
    arguments = [f"--{name.replace('_', '-')}={value:g}" for name, value in SHORT.items()]
    file = featurize(data, tmp_path / "f.h5", *arguments, "--classes", "all", "--crop", "loudest", "--n-windows", "2")
    assert_same(open_cache(file), made(data, crop="loudest", n_windows=2))
    shown = subprocess.run(
        [sys.executable, "-m", "cache", "info", file, "--json"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    report = json.loads(shown.stdout)
    assert (report["crop"], report["overlap"], report["n_windows"]) == ("loudest", 0.5, 2)
    assert (report["n_clips"], report["n_rows"]) == (8, len(open_cache(file)))
