"""predict --segments: files of what was found, whose samples are the recording's own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from tests import ROOT
from tests.helpers.tones import tone
from train.__main__ import app
from train.predict.predict import Kind, Prediction
from train.predict.segments import with_segments
from train.predict.sources import Source


def found(path: Path, label: str = "dog") -> list[Prediction]:
    """A dog from 0.5 to 1 s, and a second of something else."""
    heard = [(0.0, 0.5, {"background": 1.0}), (0.5, 1.0, {label: 1.0}), (1.0, 1.5, {"background": 1.0})]
    windows = [Prediction(path, p, "", Kind.WINDOW, start, end, 1.5) for start, end, p in heard]
    return [*windows, Prediction(path, {}, "", Kind.RECORDING, 0.0, 1.5)]


@pytest.mark.parametrize(
    ("sr", "n_channels", "subtype"), [(44100, 2, "PCM_16"), (16000, 1, "PCM_24"), (8000, 5, "PCM_16")]
)
def test_a_segment_has_the_samples_the_rate_and_the_channels_of_its_recording(
    sr: int, n_channels: int, subtype: str, tmp_path: Path
) -> None:
    y = np.random.default_rng(0).integers(-(2**31), 2**31 - 1, (3 * sr // 2, n_channels), np.int32)
    path = tmp_path / "night.wav"
    soundfile.write(path, y, sr, subtype=subtype)
    passed = list(with_segments(found(path), [Source(path, "deep/night.wav")], tmp_path / "found", False))
    assert passed == found(path)
    (file,) = [file for file in (tmp_path / "found").rglob("*") if file.is_file()]
    assert file == tmp_path / "found" / "dog" / "deep" / "night.wav_000000.50-000001.00.flac"
    samples, rate = soundfile.read(file, dtype="int32", always_2d=True)
    original, _ = soundfile.read(path, dtype="int32", always_2d=True)
    assert rate == sr
    np.testing.assert_array_equal(samples, original[sr // 2 : sr])


def test_no_class_leads_out_of_the_folder(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone("dog", 1.5), 16000)
    for label in ("..", "../up", "/root", "."):
        source = Source(tmp_path / "a.wav", "a.wav")
        list(with_segments(found(source.path, label), [source], tmp_path / "out" / "found", True))
    assert {file.relative_to(tmp_path).parts[:2] for file in tmp_path.rglob("*.flac")} == {("out", "found")}


def test_the_command_writes_what_it_finds_and_never_overwrites(run: Path, tmp_path: Path) -> None:
    y = np.concatenate((tone("dog", 2), np.zeros(32000), tone("cat", 2)))
    soundfile.write(tmp_path / "yard.wav", y, 16000)
    command = ["predict", str(run), str(tmp_path / "yard.wav"), "--segments", str(tmp_path / "found")]
    program = [sys.executable, "-m", "train", *command, "--threshold", "auto"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"cat", "dog"} <= {file.parent.name for file in (tmp_path / "found").rglob("*.flac")}
    again = CliRunner().invoke(app, command)
    assert "exists already" in str(again.exception)
    for wrong in (["--threshold", "high"], ["--threshold", "1.5"], ["--threshold", "nan"]):
        assert CliRunner().invoke(app, ["predict", str(run), "x.wav", *wrong]).exit_code == 2
    assert CliRunner().invoke(app, ["predict", str(run), "-", "--segments", str(tmp_path / "new")]).exit_code == 2
