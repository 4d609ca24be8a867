"""predict --segments: files of what was found, whose samples are the recording's own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from cache.shared.errors import UserError
from tests.helpers.commands import train_here
from tests.helpers.recordings import heard
from tests.helpers.tones import tone
from train.__main__ import app
from train.predict.deliver import Output, deliver
from train.predict.recordings import Recording, Source, Window
from train.predict.sinks import Segments
from train.predict.windows import Detections
from train.runs.directory import Run, open_run


def found(path: Path, label: str = "dog") -> list[Window | Recording]:
    """A dog from 0.5 to 1 s, and a second of something else."""
    return heard(path, [(0.0, 0.5, "background"), (0.5, 1.0, label), (1.0, 1.5, "background")])


def written(sink: Segments, predictions: list[Window | Recording]) -> str:
    """Hand predictions over as they come; return what is wrong with their recording."""
    detections = Detections()
    return "".join(sink.write(one, detections.take(one)) for one in predictions)


def segments_of(run: Run, source: Source, folder: Path, label: str = "dog") -> tuple[list[Path], str]:
    """The files that are written for a recording, and what is wrong with it."""
    reason = written(Segments(run, [source], folder), found(source.path, label))
    return [file for file in folder.rglob("*") if file.is_file()], reason


@pytest.mark.parametrize(
    ("sr", "n_channels", "subtype"), [(44100, 2, "PCM_16"), (16000, 1, "PCM_24"), (8000, 5, "PCM_16")]
)
def test_a_segment_has_the_samples_the_rate_and_the_channels_of_its_recording(
    sr: int, n_channels: int, subtype: str, run: Path, tmp_path: Path
) -> None:
    y = np.random.default_rng(0).integers(-(2**31), 2**31 - 1, (3 * sr // 2, n_channels), np.int32)
    path = tmp_path / "night.wav"
    soundfile.write(path, y, sr, subtype=subtype)
    (file,), reason = segments_of(open_run(run), Source(path, "deep/night.wav"), tmp_path / "found")
    assert reason == ""
    assert file == tmp_path / "found" / "dog" / "deep" / "night.wav_000000.50-000001.00.flac"
    samples, rate = soundfile.read(file, dtype="int32", always_2d=True)
    original, _ = soundfile.read(path, dtype="int32", always_2d=True)
    assert rate == sr
    np.testing.assert_array_equal(samples, original[sr // 2 : sr])


@pytest.mark.parametrize("peak", [1.0, 1.5, 1000.0])
def test_samples_beyond_full_scale_are_kept(peak: float, run: Path, tmp_path: Path) -> None:
    y = peak * np.sin(np.arange(24000) / 10).astype(np.float32)
    soundfile.write(tmp_path / "loud.wav", y, 16000, subtype="FLOAT")
    sink = Segments(open_run(run), [Source(tmp_path / "loud.wav", "loud.wav")], tmp_path / "found")
    assert written(sink, found(tmp_path / "loud.wav")) == ""
    (file,) = [file for file in (tmp_path / "found").rglob("*") if file.is_file()]
    samples, _ = soundfile.read(file, dtype="float32")
    np.testing.assert_allclose(samples, y[8000:16000], rtol=0, atol=2**-23 if peak == 1 else 0)
    assert file.suffix == (".flac" if peak == 1 else ".wav")
    assert ("louder than FLAC can hold" in sink.summary) == (peak > 1)


@pytest.mark.parametrize(
    ("sr", "n_channels", "name", "reason"),
    [
        (44100, 10, "a.wav", "cut: FLAC cannot hold 10 channels at 44100 Hz"),
        (197_368, 1, "a.wav", "cut: FLAC cannot hold 1 channel at 197368 Hz"),
        (8000, 1, "long", "its name is too long for the names of its segments"),
    ],
)
def test_a_recording_that_cannot_be_cut_is_named_and_the_next_one_is_cut(
    sr: int, n_channels: int, name: str, reason: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{'a' * 240}.wav" if name == "long" else name
    soundfile.write(tmp_path / name, np.zeros((3 * sr // 2, n_channels)), sr)
    soundfile.write(tmp_path / "good.wav", tone("dog", 1.5), 16000)
    sources = [Source(tmp_path / name, name), Source(tmp_path / "good.wav", "good.wav")]
    output = Output("csv", tmp_path / "found.csv", segments=tmp_path / "found")
    with pytest.raises(UserError, match="1 of 2 files"):
        deliver(open_run(run), sources, lambda left: [one for s in left for one in in_classes(run, s)], output)
    (file,) = [file for file in (tmp_path / "found").rglob("*") if file.is_file()]
    assert file.name.startswith("good.wav_")
    complaint = capsys.readouterr().err.splitlines()[0]
    assert complaint.startswith(f"{sources[0].path}: it is classified, but")
    assert reason in complaint
    rows = (tmp_path / "found.csv").read_text()
    assert [f"recording,{source.path}" in rows for source in sources] == [True, True]


@pytest.mark.parametrize("format", ["csv", "json"])
def test_a_recording_that_could_not_be_cut_is_still_told_of_when_the_command_goes_on(
    format: str, run: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "wide.wav", np.zeros((12000, 10)), 8000)
    opened, source = open_run(run), Source(tmp_path / "wide.wav", "wide.wav")
    output = Output(format, tmp_path / "rows", segments=tmp_path / "found")
    with pytest.raises(UserError, match="1 of 1 files could not be used"):
        deliver(opened, [source], lambda _: in_classes(run, source), output)
    rows = (tmp_path / "rows").read_bytes()
    assert b"its segments cannot be cut: FLAC cannot hold 10 channels" in rows
    with pytest.raises(UserError, match="1 of 1 files could not be used"):
        deliver(opened, [source], lambda _: pytest.fail("it is classified again"), output._replace(resume=True))
    # Its rows are all that is asked for now, and they are there.
    deliver(opened, [source], lambda _: pytest.fail("it is"), output._replace(resume=True, segments=None))
    assert (tmp_path / "rows").read_bytes() == rows


def in_classes(run: Path, source: Source) -> list[Window | Recording]:
    names = dict.fromkeys(open_run(run).class_names, 0.1)
    return [replace(one, probabilities=names) for one in found(source.path)]


def test_a_class_whose_name_no_folder_can_have_is_refused_before_the_run(run: Path, tmp_path: Path) -> None:
    opened = open_run(run)
    names = ["dog", "cat", 150 * "\N{LATIN SMALL LETTER E WITH ACUTE}"]
    opened = replace(opened, record=replace(opened.record, class_names=names))
    with pytest.raises(UserError, match="too long a name for a folder"):
        Segments(opened, [], tmp_path / "found")
    assert not (tmp_path / "found").exists()


def test_recordings_of_one_name_are_refused_before_the_run(run: Path, tmp_path: Path) -> None:
    sources = [Source(tmp_path / folder / "x.wav", "x.wav") for folder in ("a", "b")]
    with pytest.raises(UserError, match="give them one at a time"):
        Segments(open_run(run), sources, tmp_path / "found")


def test_no_class_leads_out_of_the_folder(run: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone("dog", 1.5), 16000)
    for label in ("..", "../up", "/root", "."):
        segments_of(open_run(run), Source(tmp_path / "a.wav", "a.wav"), tmp_path / "out" / "found", label)
    assert {file.relative_to(tmp_path).parts[:2] for file in tmp_path.rglob("*.flac")} == {("out", "found")}


def test_the_command_writes_what_it_finds_and_never_overwrites(run: Path, tmp_path: Path) -> None:
    y = np.concatenate((tone("dog", 2), np.zeros(32000), tone("cat", 2)))
    soundfile.write(tmp_path / "yard.wav", y, 16000)
    command = ["predict", str(run), str(tmp_path / "yard.wav"), "--segments", str(tmp_path / "found")]
    done = train_here(*command, "--threshold", "auto")
    assert done.returncode == 0, done.stderr
    assert {"cat", "dog"} <= {file.parent.name for file in (tmp_path / "found").rglob("*.flac")}
    again = CliRunner().invoke(app, command)
    assert "exists already" in str(again.exception)
    for wrong in (["--threshold", "high"], ["--threshold", "1.5"], ["--threshold", "nan"], ["--threshold", "dog=2"]):
        assert CliRunner().invoke(app, ["predict", str(run), "x.wav", *wrong]).exit_code == 2
    assert CliRunner().invoke(app, ["predict", str(run), "-", "--segments", str(tmp_path / "new")]).exit_code == 2
