"""The public face: what `build` and `featurize_clip` take, refuse, and say."""

import inspect
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer

from cache.file.columns import X_DTYPES
from cache.file.settings import MelSettings
from cache.shared.errors import UserError
from cache.shared.options import options_in
from featurize import build, featurize_clip
from featurize.__main__ import app
from featurize.audio.audio import ClipError
from featurize.update import summary
from featurize.update.options import Dtype, Options
from tests import ROOT
from tests.helpers.sounds import noise


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for seed, name in enumerate(("dog", "cat", "bird")):
        (tmp_path / "data" / name).mkdir(parents=True)
        soundfile.write(tmp_path / "data" / name / "0.wav", noise(1600, seed=seed), 16000)
    return tmp_path / "data"


@pytest.mark.parametrize("n_channels", [1, 2, 3])
@pytest.mark.parametrize(("sr", "seconds"), [(16000, 0.7), (22050, 3.0), (44100, 6.5), (48000, 30.0)])
def test_samples_give_the_row_of_a_file_with_these_samples(
    tmp_path: Path, n_channels: int, sr: int, seconds: float
) -> None:
    y = noise(round(sr * seconds), n_channels, seed=sr).astype(np.float32)
    soundfile.write(tmp_path / "clip.wav", y, sr, subtype="FLOAT")
    expected = featurize_clip(tmp_path / "clip.wav")
    samples = y[:, 0] if n_channels == 1 else y.T
    assert featurize_clip(samples, sr=sr).tobytes() == expected.tobytes()
    assert featurize_clip(samples.astype(np.float64), sr=sr).tobytes() == expected.tobytes()
    settings = MelSettings(fmax=6000.0)
    assert (featurize_clip(samples, settings, sr=sr) == featurize_clip(tmp_path / "clip.wav", settings)).all()


@pytest.mark.parametrize(
    ("y", "sr", "words"),
    [
        (np.zeros(100, np.int16), 16000, "samples are int16; give floats"),
        (np.zeros(100), None, "samples need their sample rate"),
        (np.zeros((2, 3, 4)), 16000, r"samples have the shape \(2, 3, 4\)"),
        (np.zeros(0), 16000, "samples have the shape"),
        (np.zeros(100), 3, "the sample rate is 3 Hz"),
        (np.full(100, np.nan), 16000, "NaN"),
    ],
)
def test_samples_that_make_no_clip_are_refused_in_words(y: Any, sr: int | None, words: str) -> None:
    with pytest.raises(UserError, match=words):
        featurize_clip(y, sr=sr)


def test_a_clip_that_cannot_be_used_is_an_error_for_users(tmp_path: Path) -> None:
    assert issubclass(ClipError, UserError)
    with pytest.raises(UserError, match="there is no such file"):
        featurize_clip(tmp_path / "gone.wav")
    with pytest.raises(UserError, match=f"^{tmp_path}: it is a folder, not a file$"):
        featurize_clip(tmp_path)
    with pytest.raises(UserError, match=r"^clip is ''; it must be a path$"):
        featurize_clip("")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_jobs": 0}, "n_jobs is 0; give a whole number, 1 or more"),
        ({"n_jobs": -1}, "n_jobs is -1"),
        ({"n_jobs": 1.5}, "n_jobs is 1.5"),
        ({"dtype": "int8"}, "dtype is 'int8'; give one of float32, float16"),
        ({"max_per_class": -1}, "max_per_class is -1; give a whole number, 0 or more"),
        ({"max_per_class": True}, "max_per_class is True"),
        ({"background": -1}, "background is -1"),
        ({"background": 1_000_000_000}, "background is 1000000000; .* from 0 to 10000"),
        ({"classes": "dog,,cat"}, "cannot be the name of a class"),
        ({"classes": "dog,dog"}, "a class is named twice"),
        ({"classes": [1, 2]}, "cannot be the name of a class"),
        ({"classes": ["dog", "../cat"]}, "cannot be the name of a class"),
        ({"labels": [3]}, "labels is 3; it must be a path"),
        ({"data": ["a.wav", "b.wav"]}, "data is .*; it must be a path"),
        ({"cache_file": 7}, "cache_file is 7; it must be a path"),
        ({"labels": ""}, "labels is ''; it must be a path"),
        ({"dashboard": True}, "only a cluster has a dashboard"),
    ],
)
def test_an_argument_that_makes_no_sense_is_named_before_anything_is_made(
    data: Path, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        build(**{"data": data, **arguments})
    assert sorted(file.name for file in data.iterdir()) == ["bird", "cat", "dog"]


def test_help_names_every_option_as_the_command_does() -> None:
    command: Any = typer.main.get_command(app)
    taken = {one.name: one for one in command.params}
    parameters = inspect.signature(build).parameters
    assert {"data", "labels", "n_jobs", "notify", "crop", "dashboard"} <= parameters.keys()
    for name, one in options_in(Options).items():
        assert taken[name].default == parameters[name].default
        assert taken[name].help == one.metadata["help"]
        assert one.metadata["help"] in (build.__doc__ or "")
    with pytest.raises(TypeError, match=r"^build\(\): got an unexpected keyword argument 'job'"):
        build(job=3)


def test_the_names_of_an_option_are_those_that_a_cache_can_have() -> None:
    assert [*Dtype] == [*X_DTYPES]


def test_numbers_of_numpy_are_taken_as_they_are_meant(data: Path) -> None:
    made = build(data, max_per_class=np.int64(1), overlap=np.float32(0.5), crop="segments", n_jobs=np.int8(1)).cache
    assert (made.header.max_per_class, made.header.overlap, made.header.crop) == (1, 0.5, "segments")
    assert type(made.header.crop) is str


def test_classes_and_labels_may_be_one_text(data: Path) -> None:
    assert build(data, classes="cat,dog").cache.class_names == ("cat", "dog")
    soundfile.write(data / "n.wav", noise(32000), 16000)
    (data / "ok.csv").write_text("file,start,end,label\nn.wav,0.5,1,wren\n")
    for labels in (str(data / "ok.csv"), data / "ok.csv"):
        with pytest.warns(UserWarning, match="3 audio files without labels are skipped"):
            made = build(data, data / "l.h5", labels=labels).cache
        assert made.paths == ["n.wav#0.500000-1.000000"]
        made.file.unlink()


def test_a_background_that_a_cache_remembers_is_held_to_the_limit(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(data / "n.wav", noise(32000), 16000)
    (data / "n.txt").write_text("0.5\t1\twren\n")
    said: list[str] = []
    build(data, labels=data / "n.txt", background=3, notify=said.append)
    assert "n.wav: 2 of the 3 background segments of 0.5 s fit between its labels" in said
    monkeypatch.setattr("featurize.update.request.MOST_BACKGROUND", 2)
    with pytest.raises(UserError, match=r"background is 3; .* from 0 to 2"):
        build(data)


def test_notices_are_warnings_for_who_takes_none_and_what_will_be_done_is_no_warning(data: Path) -> None:
    (data / "ant").mkdir()
    soundfile.write(data / "ant" / "0.wav", noise(800), 16000)
    for _ in range(2):
        (data / "features.h5").unlink(missing_ok=True)
        with pytest.warns(UserWarning, match="ant: 1 clip not used") as caught:
            build(data)
        assert [(warning.filename, len(caught)) for warning in caught] == [(__file__, 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said: list[str] = []
        build(data, data / "g.h5", notify=said.append)
    assert [line.split(";")[0] for line in said] == ["ant: 1 clip not used", "3 clips to compute"]


def test_the_face_is_imported_without_what_it_needs_to_compute() -> None:
    code = "import sys, featurize; sys.exit(bool({'numpy', 'h5py', 'soundfile', 'tqdm'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_summary_ends_with_what_comes_next(data: Path) -> None:
    last = summary.as_text(build(data)).splitlines()[-1]
    assert last == f"train on it: python -m train fit {data / 'features.h5'}"
    spaced = summary.as_text(build(data, data / "my features.h5")).splitlines()[-1]
    assert spaced.endswith(f" fit '{data / 'my features.h5'}'")
    one = build(data, data / "one.h5", "dog")
    assert repr(one.cache).endswith(": 1 clip of 1 class, float32>")
    alone = summary.as_text(one).splitlines()[-1]
    assert alone == "dog is the only class, and a network needs two to tell apart"


@pytest.mark.parametrize("above", ["audio", "sets/2024/all sounds"])
def test_classes_that_lie_in_the_only_folder_of_data_are_named_with_the_command_that_takes_them(
    data: Path, tmp_path: Path, above: str
) -> None:
    whole = tmp_path / "whole"
    (whole / above).parent.mkdir(parents=True)
    data.rename(whole / above)
    last = summary.as_text(build(whole, tmp_path / "f.h5")).splitlines()[-1]
    words, command = last.split(" as classes: ")
    assert words.endswith("for its folders bird, cat, dog")
    assert (Path.cwd() / shlex.split(command)[-1]).resolve() == (whole / above).resolve()


def test_a_cache_that_gets_the_clips_of_another_folder_says_so(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "copy")
    build(data, tmp_path / "f.h5")
    said: list[str] = []
    build(tmp_path / "copy", tmp_path / "f.h5", notify=said.append)
    assert said[0] == f"{tmp_path / 'f.h5'} has clips of {data}; it gets those of {tmp_path / 'copy'} instead"
    assert len([line for line in said if "instead" in line]) == 1
    data.rename(tmp_path / "gone")
    moved: list[str] = []
    build(tmp_path / "copy", tmp_path / "f.h5", notify=moved.append)
    assert moved == []


def test_clips_that_are_longer_than_a_row_shows_are_counted(data: Path) -> None:
    soundfile.write(data / "dog" / "long.wav", noise(16000 * 5), 16000)
    result = build(data, crop="middle")
    assert "1 of 4 clips is longer than the 4.1 s that a row shows" in summary.as_text(result).splitlines()
    assert summary.as_json(result)["n_longer"] == 1
    soundfile.write(data / "cat" / "long.wav", noise(16000 * 6, seed=1), 16000)
    assert (
        "2 of 5 clips are longer than the 4.1 s that a row shows"
        in summary.as_text(build(data, crop="middle")).splitlines()
    )


def test_twenty_complaints_about_one_recording_are_a_line_and_all_are_in_the_json(data: Path) -> None:
    soundfile.write(data / "n.wav", noise(32000), 16000)
    lines = [f"{10 + i}\t{11 + i}\twren\n" for i in range(20)]
    (data / "n.txt").write_text("".join(["0.5\t1\twren\n", *lines]))
    with pytest.warns(UserWarning, match="3 audio files without labels are skipped"):
        result = build(data, labels=data / "n.txt")
    [line] = [line for line in summary.as_text(result).splitlines() if line.startswith("rejected ")]
    assert line.startswith("rejected n.wav#10.000000-11.000000: n.txt:2: it starts at 10.00 s")
    assert line.endswith("; and 19 more segments of this recording")
    assert len(summary.as_json(result)["rejected"]) == 20


def test_every_bad_file_is_named_and_of_many_conflicts_some(data: Path) -> None:
    for i in range(25):
        (data / "dog" / f"bad{i:02}.wav").write_text("no audio")
        for name in ("dog", "cat"):
            soundfile.write(data / name / f"same{i}.wav", noise(400, seed=i), 16000)
    result = build(data)
    lines = summary.as_text(result).splitlines()
    assert len([line for line in lines if line.startswith("rejected dog/bad")]) == 25
    conflicts = [line for line in lines if line.startswith("conflict ")]
    assert (len(conflicts), conflicts[-1]) == (21, "conflict 5 more, see --json")
    assert len(summary.as_json(result)["conflicts"]) == 25


def test_one_is_one_and_two_are_two(data: Path) -> None:
    (data / "dog" / "copy.wav").write_bytes((data / "dog" / "0.wav").read_bytes())
    (data / "n.wav").write_bytes((data / "dog" / "0.wav").read_bytes())
    text = summary.as_text(build(data))
    assert "1 clip is an exact copy of another in its class; a split keeps them together" in text
    assert "skipped because it lies beside the class folders: n.wav" in text
    (data / "n.txt").write_text("0\t0.05\tdog\n")
    (data / "m.wav").write_bytes((data / "dog" / "0.wav").read_bytes())
    text = summary.as_text(build(data, labels=data / "n.txt"))
    assert "skipped because it has no label: m.wav" in text
    assert "1 clip is a segment of a recording, which is a group that a split keeps together" in text
