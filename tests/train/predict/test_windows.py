"""Long recordings: windows are the clips that a file cut to them would be, cover everything, and say when what is."""

import json
import subprocess
import sys
import tracemalloc
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from cache.file.settings import MelSettings
from featurize import featurize_clip
from featurize.audio.audio import Audio, Blocks, Decoded
from featurize.features.row import spectrogram
from tests import ROOT
from tests.helpers.sounds import noise, wav
from tests.helpers.tones import tone
from train.predict.predict import classify, predict
from train.predict.recordings import Kind, Recording, Window, find_sources
from train.predict.rows import as_csv, as_json, as_text
from train.predict.windows import Detections, Windows, cuts, gap, windows_as_scored, windows_of
from train.runs.directory import Run, open_run

SETTINGS = MelSettings()


def blocks_of(y: np.ndarray, n: int) -> list[np.ndarray]:
    return [y[i : i + n] for i in range(0, len(y), n)]


@pytest.mark.parametrize(("sr", "n_channels"), [(16000, 1), (44100, 2), (22050, 1), (8000, 2)])
def test_a_window_has_the_features_of_a_file_cut_to_it(sr: int, n_channels: int, tmp_path: Path) -> None:
    y = noise(round(4.3 * sr), n_channels).astype(np.float32)
    found = list(cuts(blocks_of(y.mean(axis=1), 5000), sr, Windows(1.0, 0.3)))
    assert len(found) == 6
    for cut in found:
        first = round(cut.start * sr)
        soundfile.write(tmp_path / "cut.wav", y[first : first + sr], sr, subtype="FLOAT")
        x = spectrogram(cut.y, sr, SETTINGS)
        np.testing.assert_allclose(x, featurize_clip(tmp_path / "cut.wav", SETTINGS), rtol=0, atol=1e-5)


@pytest.mark.parametrize("n", [1, 99, 150, 151, 199, 200, 201, 1000, 1037])
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("block", [1, 37, 5000])
def test_windows_cover_all_of_a_recording_and_are_what_lies_there(n: int, overlap: float, block: int) -> None:
    y = np.arange(n, dtype=np.float32)
    found = list(cuts(blocks_of(y, block), 100, Windows(1.0, overlap)))
    assert found[0].start == 0
    assert found[-1].end == n / 100
    for cut in found:
        np.testing.assert_array_equal(cut.y, y[round(cut.start * 100) : round(cut.end * 100)])
        assert cut.whole == (n <= 150)
        assert cut.whole or len(cut.y) == 100
    for one, following in pairwise(found):
        assert one.start < following.start <= one.end
    steps = np.diff([cut.start for cut in found])[:-1]
    assert steps == pytest.approx(1 - overlap)


def test_no_more_is_held_of_a_long_recording_than_of_a_short_one() -> None:
    def peak(n_blocks: int) -> int:
        tracemalloc.start()
        blocks = (np.full(20_000, i, np.float32) for i in range(n_blocks))
        for _ in cuts(blocks, 16000, Windows(1.0)):
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    peak(3)
    assert peak(600) < 1.1 * peak(20)


def test_windows_that_leave_out_sound_are_told() -> None:
    assert gap(Windows(1.0, 0.0), SETTINGS) == ""
    assert gap(Windows(8.0, 0.5), SETTINGS) == ""
    told = gap(Windows(10.0, 0.5), SETTINGS)
    assert "--overlap 0.60 covers everything" in told
    assert gap(Windows(10.0, 0.6), SETTINGS) == ""


def test_by_default_a_window_is_as_long_as_a_clip_was_in_training(run: Path) -> None:
    assert windows_of(open_run(run)) == Windows(0.5, 0.5)


def cropped(run: Path, **crop: Any) -> Run:
    """The run as if its cache had windows of long clips."""
    opened = open_run(run)
    return replace(opened, record=replace(opened.record, **crop))


def test_a_run_on_windows_cuts_a_file_as_its_cache_did(run: Path) -> None:
    segments = cropped(run, crop="segments", overlap=0.25)
    assert windows_as_scored(segments) == Windows(4.096, 0.25, longest_whole=1.0)
    loudest = cropped(run, crop="loudest", n_windows=3)
    assert windows_as_scored(loudest) == Windows(4.096, 0.5, longest_whole=1.0, n_loudest=3)
    assert windows_of(loudest) == Windows(4.096, 0.5, longest_whole=1.0)
    assert windows_as_scored(open_run(run)) == windows_of(open_run(run))


def test_the_answer_of_a_run_on_windows_is_the_mean_over_them(run: Path, tmp_path: Path) -> None:
    """Not the class of most windows, which is what a detector says of a night."""
    segments = cropped(run, crop="segments", overlap=0.0)
    n = round(4.096 * 16000)
    soundfile.write(tmp_path / "one.wav", tone("dog", n / 16000), 16000)
    soundfile.write(tmp_path / "more.wav", np.concatenate([tone("dog", 10), tone("cat", 2.288)]), 16000)
    soundfile.write(tmp_path / "longer.wav", np.zeros(n + 1) + 0.1 * tone("dog", (n + 1) / 16000), 16000)
    (one,) = predict(segments, find_sources([tmp_path / "one.wav"]))
    assert one.kind is Kind.CLIP
    *windows, whole = predict(segments, find_sources([tmp_path / "more.wav"]))
    assert [(w.start, w.end) for w in windows] == [(0, 4.096), (4.096, 8.192), (8.192, 12.288)]
    for name in segments.class_names:
        assert whole.probabilities[name] == pytest.approx(np.mean([w.probabilities[name] for w in windows]))
    assert whole.label == max(whole.probabilities, key=whole.probabilities.__getitem__)
    shown = "  ".join(f"{name} {p:.3f}" for name, p in whole.probabilities.items())
    assert as_text(segments, whole).decode() == f"{whole.path}: 12.3 s in 3 windows: {whole.label}  ({shown})\n"
    *windows, whole = predict(segments, find_sources([tmp_path / "longer.wav"]))
    assert [w.start for w in windows] == [0, 1 / 16000]
    least = max(whole.probabilities.values())
    thresholds = dict.fromkeys(segments.class_names, least + 1e-6)
    *_, unsure = predict(segments, find_sources([tmp_path / "longer.wav"]), threshold=thresholds)
    assert unsure.label == ""


def test_windows_that_lie_apart_are_two_detections() -> None:
    dog = {"dog": 0.9, "cat": 0.1}
    path, detections = Path("x.wav"), Detections()
    found = [*detections.take(Window(path, 0, 4, "dog", dog)), *detections.take(Window(path, 6, 10, "dog", dog))]
    found += detections.take(Recording(path, Kind.RECORDING, 10))
    assert [(one.start, one.end) for one in found] == [(0, 4), (6, 10)]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2 s of a dog, 2 s of silence, 2.2 s of a cat."""
    file = tmp_path_factory.mktemp("recording") / "yard.wav"
    y = np.concatenate((tone("dog", 2), np.zeros(32000), tone("cat", 2.2)))
    soundfile.write(file, y, 16000, subtype="FLOAT")
    return file


def test_what_is_heard_when_is_told(run: Path, recording: Path) -> None:
    found = list(predict(open_run(run), find_sources([recording])))
    *windows, whole = found
    assert all(one.kind is Kind.WINDOW for one in windows)
    for one in windows:
        if one.end <= 2:
            assert one.label == "dog"
        if one.start >= 2 and one.end <= 4:
            assert (one.label, one.reason, one.probabilities) == ("", "silent", {})
        if one.start >= 4:
            assert one.label == "cat"
    assert (whole.kind, whole.start, whole.end) == (Kind.RECORDING, 0, pytest.approx(6.2))
    assert sum(whole.n_windows.values()) == len(windows)
    heard = [one.probabilities for one in windows if one.probabilities]
    for name, p in whole.probabilities.items():
        assert p == pytest.approx(np.mean([one[name] for one in heard]))
    least = min(max(p.values()) for p in heard)
    opened = open_run(run)
    unsure = predict(opened, find_sources([recording]), threshold=dict.fromkeys(opened.class_names, least + 1e-6))
    assert sum(not one.label for one in unsure if one.probabilities and one.kind is Kind.WINDOW) >= 1


def test_a_window_is_classified_as_the_file_cut_to_it(run: Path, recording: Path, tmp_path: Path) -> None:
    y, sr = soundfile.read(recording, dtype="float32")
    windows = [one for one in predict(open_run(run), find_sources([recording])) if one.probabilities]
    paths = []
    for i, one in enumerate(windows[:-1]):
        paths.append(tmp_path / f"{i:02}.wav")
        soundfile.write(paths[-1], y[round(one.start * sr) : round(one.end * sr)], sr, subtype="FLOAT")
    for one, cut in zip(windows, predict(open_run(run), find_sources(paths)), strict=False):
        assert cut.kind is Kind.CLIP
        assert list(cut.probabilities.values()) == pytest.approx(list(one.probabilities.values()), abs=1e-5)


def test_samples_that_are_no_numbers_end_a_recording_with_where_they_are(run: Path, tmp_path: Path) -> None:
    y = tone("dog", 3)
    y[40000] = np.nan
    soundfile.write(tmp_path / "broken.wav", y, 16000, subtype="FLOAT")
    *_, last = predict(open_run(run), find_sources([tmp_path / "broken.wav"]))
    assert last.kind is Kind.REJECTED
    assert "from 2.25 to 2.75 s" in last.reason


# In a process of its own: standard input is that of a process.
READ = """
import sys
from pathlib import Path
from featurize.audio.audio import ClipError
from featurize.audio.resample import mono_blocks
from featurize.audio.sndfile import open_stream
import numpy as np
try:
    audio = open_stream(0, lambda: False)
    y = np.concatenate([block.copy() for block in mono_blocks(audio, 16000)])
except ClipError as error:
    sys.exit(str(error))
sys.stdout.buffer.write(y.tobytes())
"""


@pytest.mark.parametrize("sizes", [{}, {"riff_size": 0xFFFFFFFF, "data_size": 0xFFFFFFFF}, {"data_size": 0x7FFFF000}])
def test_standard_input_is_read_as_a_file_is_whatever_length_its_header_claims(sizes: dict[str, int]) -> None:
    y = (noise(70_000)[:, 0] * 32767).astype(np.int16)
    done = subprocess.run(
        [sys.executable, "-c", READ], input=wav(y, **sizes), cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.frombuffer(done.stdout, np.float32), y / np.float32(32768))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "not a WAV"),
        (b"not a WAV at all" * 100, "not a WAV"),
        (wav(np.zeros(0, np.int16)), "no samples"),
        (wav(np.zeros(16000, np.int16))[:10044], "0.31 s of the 1.00 s"),
        (wav(np.zeros(1000, np.int16), sr=7), "sample rate"),
    ],
)
def test_what_is_no_whole_wav_on_standard_input_is_told(data: bytes, complaint: str) -> None:
    done = subprocess.run([sys.executable, "-c", READ], input=data, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 1
    assert complaint in done.stderr.decode()


def test_folders_within_a_folder_count_and_each_real_one_once(tmp_path: Path) -> None:
    for name in ("b.wav", "a/x.wav", "a/deep/y.flac", ".hidden/z.wav", "a/notes.txt", "rain.wav/drop.ogg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "0_loop").symlink_to(tmp_path)
    (tmp_path / "0_again").symlink_to(tmp_path / "a")
    (tmp_path.with_name("elsewhere") / "far").mkdir(parents=True)
    (tmp_path.with_name("elsewhere") / "far" / "z.mp3").touch()
    (tmp_path / "link").symlink_to(tmp_path.with_name("elsewhere"))
    found = find_sources([tmp_path])
    assert [source.name for source in found] == [
        "a/deep/y.flac", "a/x.wav", "b.wav", "link/far/z.mp3", "rain.wav/drop.ogg",
    ]  # fmt: skip
    assert [source.path for source in found] == [tmp_path / source.name for source in found]
    (tmp_path / "empty").mkdir()
    (empty,) = find_sources([tmp_path / "empty"])
    assert empty.reason == "the folder has no audio file in it"


def predictions_of(run: Path, y: np.ndarray, file: Path, window: float | None = None) -> list[Window | Recording]:
    soundfile.write(file, y, 16000, subtype="FLOAT")
    windows = None if window is None else Windows(window)
    return list(predict(open_run(run), find_sources([file]), windows))


def test_silence_is_silent_whatever_its_length(run: Path, tmp_path: Path) -> None:
    (clip,) = predictions_of(run, np.zeros(8000), tmp_path / "clip.wav")
    assert (clip.kind, clip.label, clip.reason, clip.probabilities) == (Kind.CLIP, "", "silent", {})
    *windows, whole = predictions_of(run, np.zeros(160_000), tmp_path / "hours.wav")
    assert {(one.label, one.reason) for one in windows} == {("", "silent")}
    assert (whole.kind, whole.label, whole.reason, whole.probabilities) == (Kind.RECORDING, "", "silent", {})
    (long,) = predictions_of(run, np.zeros(160_000), tmp_path / "one.wav", window=10)
    assert (long.kind, long.reason) == (Kind.CLIP, "silent")


def test_a_clip_with_sound_in_it_that_is_not_looked_at_is_not_called_silent(run: Path, tmp_path: Path) -> None:
    y = np.concatenate([tone("dog", 1), np.zeros(16000 * 8), tone("dog", 1)])
    (clip,) = predictions_of(run, y, tmp_path / "clip.wav", window=10)
    assert clip.reason == "no sound in the 4.1 s that are used; there is sound elsewhere"
    assert clip.probabilities == {}


def test_a_recording_that_is_cut_short_is_classified_with_what_is_missing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each decoder has tests of its own for what it remarks; this is what becomes of it."""
    missing = "cut short: 6.7 s of the 10.0 s that its header states"
    opened = open_run(run)
    for seconds in (0.5, 6.7):
        y = tone("dog", seconds).astype(np.float32)

        def blocks(y: np.ndarray = y) -> Blocks:
            yield y[:, None]
            return Decoded(len(y), missing)  # known at its end only

        audio = Audio(16000, 1, 160_000, "WAV/PCM_16", blocks)
        monkeypatch.setattr("train.predict.predict._open", lambda _, audio=audio: nullcontext(audio))
        *windows, last = predict(opened, find_sources([tmp_path / "cut.wav"]))
        assert (last.kind, last.label, last.note) == (
            Kind.RECORDING if seconds > 1 else Kind.CLIP, "dog", missing,
        )  # fmt: skip
        assert all(one.note == "" for one in windows)
        assert missing in as_csv(opened, last).decode()
        assert json.loads(as_json(opened, last))["remark"] == missing
        assert missing in as_text(opened, last).decode()


def test_a_clip_that_is_not_sure_enough_has_no_label(run: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", tone("dog", 0.5), 16000)
    (sure,) = classify(run, tmp_path / "clip.wav")
    (just,) = classify(run, tmp_path / "clip.wav", threshold=sure.probabilities["dog"])
    (unsure,) = classify(run, tmp_path / "clip.wav", threshold={"dog": min(1.0, sure.probabilities["dog"] + 1e-6)})
    assert (sure.label, just.label, unsure.label) == ("dog", "dog", "")
