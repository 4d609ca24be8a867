"""The synthetic clips: reproducible, varied, and told apart by their sound only."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests import ROOT

N_PER_CLASS = 40


def synthesize(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, ROOT / "data" / "synthesize.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def samples(folder: Path) -> dict[str, np.ndarray]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {file.relative_to(folder).as_posix(): soundfile.read(file, always_2d=True)[0] for file in files}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    done = synthesize(folder, "--n-per-class", str(N_PER_CLASS))
    assert done.returncode == 0, done.stderr
    assert "synthetic" in done.stdout
    return folder


def test_every_class_gets_the_number_asked_for(clips: Path) -> None:
    assert {folder.name: len(list(folder.iterdir())) for folder in clips.iterdir()} == dict.fromkeys(
        ("dog", "cat", "bird"), N_PER_CLASS
    )


def test_the_same_seed_gives_the_same_samples_however_many_are_asked_for(clips: Path, tmp_path: Path) -> None:
    synthesize(tmp_path, "--n-per-class", "9")
    again = samples(tmp_path)
    before = samples(clips)
    assert len(again) == 27
    for name, y in again.items():
        np.testing.assert_array_equal(y, before[name])


def test_another_seed_gives_other_clips_beside_those_that_are_there(tmp_path: Path) -> None:
    synthesize(tmp_path, "--n-per-class", "2", "--seed", "1")
    first = samples(tmp_path)
    synthesize(tmp_path, "--n-per-class", "2", "--seed", "2")
    both = samples(tmp_path)
    assert len(first) == 6
    assert len(both) == 12
    contents = {y.tobytes() for y in both.values()}
    assert len(contents) == 12


def test_a_file_that_exists_is_never_overwritten(tmp_path: Path) -> None:
    synthesize(tmp_path, "--n-per-class", "2")
    mine, generated = sorted((tmp_path / "dog").iterdir())
    mine.write_bytes(b"my own recording")
    stamp = generated.stat().st_mtime_ns
    done = synthesize(tmp_path, "--n-per-class", "3")
    assert done.returncode == 0
    assert "1 written, 2 were there already" in done.stdout
    assert mine.read_bytes() == b"my own recording"
    assert generated.stat().st_mtime_ns == stamp
    assert len(list((tmp_path / "dog").iterdir())) == 3


def test_a_folder_that_cannot_be_written_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    done = synthesize(tmp_path / "taken")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "taken" in done.stderr


def test_each_class_comes_in_many_formats_and_sample_rates_and_lengths(clips: Path) -> None:
    for folder in clips.iterdir():
        infos = [soundfile.info(file) for file in folder.iterdir()]
        assert len({(info.format, info.subtype) for info in infos}) >= 7
        assert {8000, 16000, 44100, 48000} <= {info.samplerate for info in infos}
        assert {info.channels for info in infos} == {1, 2}
        durations = [info.duration for info in infos]
        assert min(durations) < 1
        assert max(durations) > 4.1  # longer than the features are wide
        assert all(np.abs(y).max() <= 1 for y in samples(folder).values())


@pytest.mark.parametrize("level", ["rms", "peak"])
def test_length_and_level_alone_do_not_tell_the_class(clips: Path, level: str) -> None:
    measures, labels = [], []
    for file in sorted(clips.rglob("*.*")):
        y, sr = soundfile.read(file, always_2d=True)
        loudness = np.sqrt(np.mean(y**2)) if level == "rms" else np.abs(y).max()
        measures.append([np.log(len(y) / sr), np.log(loudness)])
        labels.append(file.parent.name)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    accuracy = cross_val_score(model, np.array(measures), labels, cv=folds).mean()
    # A third is chance; with so many clips its standard error is 0.04.
    assert accuracy < 1 / 3 + 3 * 0.04
