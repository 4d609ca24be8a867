"""Calls of bats at 250 kHz, from the recorder to an exported model: every part works in the range of the cache."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache.file.reader import Cache
from cache.file.settings import band
from cache.look import plot
from cache.shared.errors import UserError
from featurize import build, featurize_clip
from tests.helpers.tiny import OF_FIT
from train import classify, evaluate, export, fit
from train.exporters.formats import ExportFormat, ExportInput, format_called
from train.report.report import write_report
from train.runs.directory import open_run

SR = 250_000
CALLS = {"noctule": 22_000, "pipistrelle": 45_000}


def call(name: str, seed: int, seconds: float = 0.2) -> np.ndarray:
    t = np.arange(round(seconds * SR)) / SR
    y = 0.3 * np.sin(2 * np.pi * CALLS[name] * t) * np.sin(2 * np.pi * (3 + seed % 5) * t)
    return (y + np.random.default_rng(seed).normal(0, 1e-2, len(t))).astype(np.float32)


@pytest.fixture(scope="module")
def bats(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    data = tmp_path_factory.mktemp("bats") / "data"
    for name in CALLS:
        (data / name).mkdir(parents=True)
        for seed in range(12):
            soundfile.write(data / name / f"{seed}.wav", call(name, seed, 0.15 + 0.01 * seed), SR)
    return build(data, settings="bats").cache


@pytest.fixture(scope="module")
def run(bats: Cache, tiny: str) -> Path:
    folder, _ = fit(bats.file, bats.file.parent / "run", **OF_FIT)
    return folder


def is_near(row: int, hz: float, bats: Cache) -> bool:
    return abs(row - band(hz, bats.settings)) <= 1


def test_a_tone_of_45_khz_is_at_its_band_in_the_row_and_on_the_axis_of_a_plot(bats: Cache, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
        plot.draw_sheet(bats, tmp_path / "sheet.png", 0)
    ax = drawn[0].subfigs[1].axes[0]
    (image,) = ax.images
    shown = np.asarray(image.get_array())
    assert is_near(int(shown.mean(axis=1).argmax()), 45_000, bats)
    ticks = dict(zip((label.get_text() for label in ax.get_yticklabels()), ax.get_yticks(), strict=True))
    assert ticks["40"] < band(45_000, bats.settings) < ticks["60"]
    assert image.get_extent()[1] == pytest.approx(127.5 * 512 / SR)


def test_a_run_carries_the_settings_into_its_record_and_its_report(run: Path, bats: Cache) -> None:
    assert open_run(run).record.settings == bats.settings
    assert json.loads((run / "run.json").read_text())["settings"]["sr"] == SR
    write_report(run)
    assert re.search(r"120,?000", (run / "report.html").read_text())


def test_predict_works_in_the_range_and_in_windows_of_the_length_of_the_clips(run: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "night.wav", np.concatenate([call("noctule", 1, 1.0), call("pipistrelle", 2, 1.0)]), SR)
    *windows, night = classify(run, tmp_path / "night.wav")
    median = 0.15 + 0.01 * 5.5
    assert windows[0].end - windows[0].start == pytest.approx(median, abs=0.01)
    assert night.note == ""


def test_a_recording_that_does_not_reach_into_the_range_is_named(run: Path, tmp_path: Path) -> None:
    y = np.random.default_rng(0).normal(0, 0.1, 4800)
    soundfile.write(tmp_path / "low.wav", y, 48000)
    (low,) = classify(run, tmp_path / "low.wav")
    assert low.note == "nothing above 24 kHz, and a row shows up to 120 kHz"
    soundfile.write(tmp_path / "lower.wav", y, 16000)
    (lower,) = classify(run, tmp_path / "lower.wav")
    assert lower.reason == "it holds nothing above 8 kHz, and a row begins at 10 kHz"
    with pytest.raises(UserError, match="it holds nothing above 8 kHz, and a row begins at 10 kHz"):
        featurize_clip(tmp_path / "lower.wav", "bats")


def test_a_cache_of_another_range_is_refused_in_words(run: Path, bats: Cache, tmp_path: Path) -> None:
    other = build(bats.file.parent, tmp_path / "other.h5", settings="insects").cache
    with pytest.raises(UserError, match=r"has other features than .* sr 96000 instead of 250000"):
        evaluate(run, other.file)


def test_an_exported_model_takes_sound_at_the_rate_of_the_run(run: Path, bats: Cache, tmp_path: Path) -> None:
    export(run, tmp_path / "bats", ExportFormat.saved_model, ExportInput.waveform)
    _, exported = format_called(ExportFormat.saved_model).open_file(tmp_path / "bats")
    features = exported(call("pipistrelle", 50)[None])["features"][0]
    assert is_near(int(features[:, :90, 0].mean(axis=1).argmax()), 45_000, bats)
    soundfile.write(tmp_path / "clip.wav", call("pipistrelle", 50), SR, subtype="FLOAT")
    assert np.abs(features - featurize_clip(tmp_path / "clip.wav", "bats")).max() <= 1e-3
