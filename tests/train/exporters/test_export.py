"""export: what is written says the same as featurize and the model, on any clip, with nothing of this project."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer.testing

from cache import open_cache
from cache.file.settings import MelSettings
from cache.shared.errors import UserError
from featurize import build, featurize_clip
from featurize.features.row import FEATURE_VERSION
from tests import ROOT
from tests.helpers.commands import train_here
from tests.helpers.made_runs import made_crossval
from train import export
from train.exporters import formats
from train.exporters.export import Export, checked_clips
from train.exporters.formats import Exportable, ExportFormat, ExportInput, format_called, format_named
from train.models.recipes import build_model
from train.runs.directory import Run, load_model, open_run

FORMATS = list(ExportFormat)
WAVEFORM, FEATURES = ExportInput.waveform, ExportInput.features
PAGE = (ROOT / ".docs" / "model.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

Made = dict[ExportFormat, tuple[Path, Export]]


@pytest.fixture(scope="module")
def made(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The run of `tiny` in every format, from the waveform, with what export() said of each."""
    folder = tmp_path_factory.mktemp("exported")
    files = {format: folder / f"dog-cat-bird.{format}" for format in FORMATS}
    return {format: (file, export(run, file, format, WAVEFORM)) for format, file in files.items()}


@pytest.fixture(scope="module")
def few(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of six clips, for models that take long for more."""
    return build(tones, tmp_path_factory.mktemp("few") / "features.h5", max_per_class=2).cache.file


@cache
def _opened(run: Path) -> tuple[Run, Any]:
    opened = open_run(run)
    return opened, load_model(opened)


def probabilities_of(run: Path, X: np.ndarray) -> np.ndarray:
    """Plain Keras's probabilities for spectrograms, their logarithms divided by the temperature of the run."""
    opened, model = _opened(run)
    assert opened.temperature != 1
    logits = np.log(model.predict(X, verbose=0)) / opened.temperature
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def waveforms() -> dict[str, np.ndarray]:
    """Clips that a front end could get wrong, at 16 kHz."""
    rng = np.random.default_rng(0)
    t = np.arange(24000) / 16000
    lengths = (1, 2, 511, 512, 513, 1023, 16000, 127 * 512 - 1, 127 * 512, 128 * 512, 129 * 512 + 7, 250_001)
    clips = {f"{n} samples of noise": rng.normal(0, 0.1, n) for n in lengths}
    return clips | {
        "silence": np.zeros(9000),
        "one sample of silence": np.zeros(1),
        "a constant": np.full(24000, 0.25),
        "a click": np.eye(1, 24000, 7000)[0],
        "a sine that dies away": np.sin(2 * np.pi * 440 * t) * np.exp(-6 * t),
        "a sine in very quiet noise": 0.9 * np.sin(2 * np.pi * 1003.7 * t) + rng.normal(0, 1e-5, len(t)),
        "a chirp": np.sin(2 * np.pi * (100 * t + 2500 * t * t)),
        "noise at the limit of what is told from silence": rng.normal(0, 3e-7, 24000),
        "a loud end after the part that is kept": np.concatenate([rng.normal(0, 1e-3, 90_000), rng.normal(0, 1, 9000)]),
    }


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """The row that featurize computes of each waveform."""
    folder = tmp_path_factory.mktemp("waveforms")
    for number, y in enumerate(waveforms().values()):
        soundfile.write(folder / f"{number}.wav", y.astype(np.float32), 16000, subtype="FLOAT")
    return {name: featurize_clip(folder / f"{number}.wav") for number, name in enumerate(waveforms())}


@pytest.mark.parametrize("format", FORMATS)
def test_a_waveform_of_any_kind_gives_what_featurize_and_the_model_give(
    format: ExportFormat, made: Made, run: Path, features: dict[str, np.ndarray]
) -> None:
    _, exported = format_called(format).open_file(made[format][0])
    probabilities = probabilities_of(run, np.stack(list(features.values())))
    for (name, y), expected in zip(waveforms().items(), probabilities, strict=True):
        outputs = exported(y.astype(np.float32)[None])
        assert outputs["features"].shape == (1, 128, 128, 1)
        assert np.abs(outputs["features"][0] - features[name]).max() <= 1e-3, name
        assert np.abs(outputs["probabilities"] - expected).max() <= 1e-3, name


@pytest.mark.parametrize("format", FORMATS)
def test_a_batch_is_its_clips(format: ExportFormat, made: Made) -> None:
    _, exported = format_called(format).open_file(made[format][0])
    batch = np.random.default_rng(1).normal(0, [[0.1], [0.001], [0]], (3, 20_000)).astype(np.float32)
    together = exported(batch)
    for i, y in enumerate(batch):
        for name, output in exported(y[None]).items():
            assert together[name][i] == pytest.approx(output[0], abs=1e-4)


@pytest.mark.parametrize("format", FORMATS)
def test_it_says_how_far_the_file_is_from_the_original_on_how_many_clips_of_which_cache(
    format: ExportFormat, made: Made, tones_cache: Path
) -> None:
    file, said = made[format]
    files = [file] if file.is_file() else [one for one in file.rglob("*") if one.is_file()]
    assert said.n_bytes == sum(one.stat().st_size for one in files)
    assert said.cache == str(tones_cache)
    assert said.n_checked == 32
    assert set(said.largest_difference) == {"features", "probabilities"}
    # No two ways of adding up agree to the last bit: 0 would mean that something was held against itself.
    assert 0 < said.largest_difference["features"] <= 1e-3
    assert said.largest_difference["probabilities"] <= 1e-3


def metadata_of(file: Path, format: ExportFormat) -> dict[str, Any]:
    if format == ExportFormat.onnx:
        import onnx

        texts = {entry.key: entry.value for entry in onnx.load(str(file)).metadata_props}
        plain = ("input", "model", "cache_fingerprint", "crop")
        return {name: text if name in plain else json.loads(text) for name, text in texts.items()}
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("metadata.json"))
            return json.loads(archive.read(name))
    return json.loads((file / "assets.extra" / "metadata.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("format", FORMATS)
def test_the_metadata_has_the_classes_and_all_feature_settings(
    format: ExportFormat, made: Made, run: Path, tones_cache: Path
) -> None:
    cache = open_cache(tones_cache)
    metadata = metadata_of(made[format][0], format)
    assert metadata["class_names"] == ["dog", "cat", "bird"]
    assert metadata["settings"] == cache.settings
    assert (metadata["input"], metadata["model"]) == ("waveform", "tiny")
    assert metadata["temperature"] == open_run(run).temperature
    assert metadata["cache_fingerprint"] == cache.fingerprint


@pytest.mark.parametrize("format", FORMATS)
def test_the_metadata_of_a_run_on_windows_and_of_no_other_says_how_a_long_clip_is_cut(
    format: ExportFormat, made: Made, run: Path, tmp_path: Path
) -> None:
    crop = {"crop": "loudest", "overlap": 0.25, "n_windows": 2}
    assert not crop.keys() & metadata_of(made[format][0], format).keys()
    of_windows = changed_run(run, tmp_path / "run", lambda record: record.update(crop))
    export(of_windows, tmp_path / "out", format, FEATURES)
    metadata = metadata_of(tmp_path / "out", format)
    assert {name: metadata.get(name) for name in crop} == crop


@pytest.mark.parametrize("format", FORMATS)
def test_rows_of_the_cache_can_be_the_input_and_then_no_clip_is_needed(
    format: ExportFormat, run: Path, tones_cache: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "features.h5"
    shutil.copy(tones_cache, alone)
    said = export(run, tmp_path / "out", format, FEATURES, alone)
    assert set(said.largest_difference) == {"probabilities"}
    _, exported = format_called(format).open_file(tmp_path / "out")
    X = np.array(open_cache(alone).X[:5])
    expected = probabilities_of(run, X)
    outputs = exported(X)
    assert list(outputs) == ["probabilities"]
    assert np.abs(outputs["probabilities"] - expected).max() <= 1e-3


def changed_run(run: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    shutil.copytree(run, folder)
    record = json.loads((folder / "run.json").read_text())
    change(record)
    (folder / "run.json").write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize(
    ("name", "formats"), [("baseline", ["onnx"]), ("dropout", ["tflite"]), ("compact", ["onnx", "tflite"])]
)
def test_every_model_can_be_taken_away(name: str, formats: list[str], run: Path, few: Path, tmp_path: Path) -> None:
    folder = changed_run(run, tmp_path / "run", lambda record: record["options"].update(model=name))
    build_model(name, 3).save(folder / "model.keras")
    for format in formats:
        said = export(folder, tmp_path / f"model.{format}", ExportFormat(format), WAVEFORM, few)
        assert said.n_checked == 6
        assert max(said.largest_difference.values()) <= 1e-3


@pytest.mark.parametrize(
    ("n_fft", "hop_length", "fmax"), [(256, 160, 7000.0), (4096, 300, 8000.0), (1024, 128, 8000.0)]
)
def test_the_features_are_computed_with_the_settings_that_they_have(
    n_fft: int, hop_length: int, fmax: float, tmp_path: Path
) -> None:
    from train.exporters.frontend import FrontEnd

    settings = MelSettings(n_fft=n_fft, hop_length=hop_length, fmin=50.0, fmax=fmax, top_db=60.0)
    layer = FrontEnd(settings)
    for n_samples in (1, 5000, 40_000):
        y = np.random.default_rng(n_samples).normal(0, 0.1, n_samples).astype(np.float32)
        soundfile.write(tmp_path / "clip.wav", y, 16000, subtype="FLOAT")
        expected = featurize_clip(tmp_path / "clip.wav", settings)
        assert np.abs(np.asarray(layer(y[None]))[0] - expected).max() <= 1e-3


def test_the_settings_are_those_of_the_run(run: Path, tones: Path, tmp_path: Path) -> None:
    settings = MelSettings(n_fft=256, hop_length=160, fmax=7000.0, top_db=60.0)
    build(tones, tmp_path / "features.h5", settings=settings)
    other = changed_run(run, tmp_path / "run", lambda record: record.update(settings=settings.as_dict()))
    with pytest.raises(UserError, match="has other features"):
        export(other, tmp_path / "out", ExportFormat.saved_model, WAVEFORM)
    export(other, tmp_path / "out", ExportFormat.saved_model, WAVEFORM, tmp_path / "features.h5")
    assert metadata_of(tmp_path / "out", ExportFormat.saved_model)["settings"] == settings.as_dict()
    clip = next(tones.rglob("*.wav"))
    y, _ = soundfile.read(clip, dtype="float32")
    _, exported = format_called(ExportFormat.saved_model).open_file(tmp_path / "out")
    assert np.abs(exported(y[None])["features"][0] - featurize_clip(clip, settings)).max() <= 1e-3


def test_a_file_that_computes_something_else_is_not_kept(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.exporters.frontend import FrontEnd

    monkeypatch.setattr("train.exporters.frontend.FrontEnd", lambda settings: FrontEnd(replace(settings, fmax=7900.0)))
    with pytest.raises(UserError, match=r"was not kept: .*features of .* differ .* more than 0.001"):
        export(run, tmp_path / "out.onnx", ExportFormat.onnx, WAVEFORM)
    assert list(tmp_path.iterdir()) == []


def test_what_a_converter_cannot_do_is_one_line_and_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(exportable: Exportable, file: Path) -> None:
        file.write_bytes(b"half")
        assert [sample.shape for sample in exportable.samples] == [(128, 128, 1)] * 32
        raise RuntimeError("no such operation\nand much more")

    onnx = formats.FORMATS[ExportFormat.onnx]
    monkeypatch.setitem(formats.FORMATS, ExportFormat.onnx, onnx._replace(write=fail))
    with pytest.raises(UserError, match=r"cannot be written as onnx \(no such operation\); try another --format$"):
        export(run, tmp_path / "out.onnx", ExportFormat.onnx, FEATURES)
    assert list(tmp_path.iterdir()) == []


def test_clips_and_caches_that_are_gone_are_named_with_what_to_do(run: Path, tones_cache: Path, tmp_path: Path) -> None:
    alone = tmp_path / "features.h5"
    shutil.copy(tones_cache, alone)
    with pytest.raises(UserError, match=r"none of 32 clips .* --cache"):
        export(run, tmp_path / "out", ExportFormat.onnx, WAVEFORM, alone)
    moved = changed_run(run, tmp_path / "run", lambda record: record["cache"].update(file=str(tmp_path / "gone.h5")))
    with pytest.raises(UserError, match=r"gone.h5, on which .* is not there any more.* --cache"):
        export(moved, tmp_path / "out", ExportFormat.onnx, WAVEFORM)
    older = changed_run(run, tmp_path / "older", lambda record: record.update(feature_version=0))
    with pytest.raises(UserError, match=f"feature version {FEATURE_VERSION} instead of 0"):
        export(older, tmp_path / "out", ExportFormat.onnx, WAVEFORM)


def test_a_clip_that_has_changed_since_is_not_checked_on(run: Path, tones: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(tones, data)
    build(data, tmp_path / "features.h5")
    for clip in (*data.glob("dog/*"), *data.glob("cat/*")):
        clip.write_bytes(next(data.glob("bird/*")).read_bytes())
    said = export(run, tmp_path / "out", ExportFormat.saved_model, WAVEFORM, tmp_path / "features.h5")
    assert 0 < said.n_checked < 32


def test_what_is_no_finished_fit_is_refused(run: Path, tones_cache: Path, tmp_path: Path) -> None:
    crossval = made_crossval(tmp_path / "crossval", tones_cache)
    unfinished = changed_run(run, tmp_path / "unfinished", lambda record: record.update(state="unfinished"))
    (tmp_path / "empty").mkdir()
    complaints = {
        crossval: "no model",
        unfinished: "--resume",
        tmp_path / "empty": "not a run",
        tmp_path / "no": "no such run",
    }
    for folder, complaint in complaints.items():
        with pytest.raises(UserError, match=complaint):
            export(folder, tmp_path / "out", ExportFormat.onnx, WAVEFORM)


def test_without_a_format_the_ending_says_it(run: Path, tmp_path: Path) -> None:
    from train.__main__ import app

    for end, format in ((".onnx", "onnx"), (".ONNX", "onnx"), (".tflite", "tflite")):
        assert format_named(None, Path(f"model{end}")) == format
    said = train_here("export", run, tmp_path / "model.tflite", "--input", "features", "--json")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["format"] == "tflite"
    for name in ("model", "model.bin"):
        done = typer.testing.CliRunner().invoke(app, ["export", str(run), str(tmp_path / name)])
        assert done.exit_code == 2
        assert all(format in done.output for format in FORMATS)


def test_clips_that_have_moved_are_found_by_the_folder_that_is_named(
    run: Path, tones: Path, tones_cache: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "features.h5"
    shutil.copy(tones_cache, alone)
    with pytest.raises(UserError, match=r"none of 32 clips .* --data"):
        export(run, tmp_path / "out", ExportFormat.saved_model, WAVEFORM, alone)
    moved = shutil.copytree(tones, tmp_path / "moved")
    assert export(run, tmp_path / "out", ExportFormat.saved_model, WAVEFORM, alone, moved).n_checked == 32


@pytest.mark.parametrize(("snippet", "format"), list(zip(SNIPPETS, ["onnx", "tflite"], strict=True)))
def test_the_readme_runs_it_where_neither_tensorflow_nor_librosa_nor_this_project_is(
    snippet: str, format: str, made: Made, run: Path, tones: Path, tmp_path: Path
) -> None:
    file, _ = made[ExportFormat(format)]
    shutil.copy(file, tmp_path / file.name)
    clip = next(tones.glob("cat/*.wav"))
    shutil.copy(clip, tmp_path / "clip.wav")
    absent = ("tensorflow", "keras", "librosa", "soundfile", "scipy", "h5py", "cache", "featurize", "train")
    forbid = f"import sys\nsys.modules.update(dict.fromkeys({absent!r}))\n"  # to import one of them now is an error
    done = subprocess.run(
        [sys.executable, "-I", "-c", forbid + snippet], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = probabilities_of(run, featurize_clip(clip)[None])[0]
    name, values = done.stdout.strip().split(" ", 1)
    assert name == ("dog", "cat", "bird")[expected.argmax()]
    assert np.fromstring(values.strip("[]"), sep=" ") == pytest.approx(expected, abs=1e-3)


def test_a_window_of_a_long_clip_is_read_again_as_a_clip_of_its_own(tmp_path: Path) -> None:
    y = np.random.default_rng(0).normal(0, 0.1, 160000).astype(np.float32)
    (tmp_path / "dog").mkdir()
    soundfile.write(tmp_path / "dog/a.wav", y, 16000, subtype="FLOAT")
    cache = build(tmp_path, classes="dog", crop="segments").cache
    clips = checked_clips(cache, MelSettings(), tmp_path)
    assert [clip.path for clip in clips] == cache.paths
    for start, clip, x in zip((0, 32768, 65536, 94464), clips, cache.X, strict=True):
        np.testing.assert_array_equal(clip.given, y[start : start + 65536])
        np.testing.assert_array_equal(clip.features, x)
    soundfile.write(tmp_path / "dog/a.wav", y[::-1], 16000, subtype="FLOAT")
    with pytest.raises(UserError, match=r"none of 4 clips of .* is unchanged"):
        checked_clips(cache, MelSettings(), tmp_path)
