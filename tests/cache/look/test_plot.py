"""cache plot: the axes are what they say, and no name can break or alter the picture."""

import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import soundfile

from cache import Cache, open_cache
from cache.file.settings import band, hz_to_mel, mel_to_hz
from cache.look import plot
from cache.shared.errors import UserError
from featurize import build
from tests import ROOT

# Mathematics, markup, no glyph in the font, right to left, beyond the basic plane, a line's end, a cursor's movement.
ODD_NAMES = [r"$\frac{1}{0}$", "a_b^c$", "<b>&amp;", "猫", "כלב", "🐈", "line\nend", "\x1b[2J", "x" * 200]


def draw(cache: Cache, out: Path, seed: int = 0) -> tuple[Any, int, int]:
    """Draw with every warning an error; return the figure too."""
    figures: list[Any] = []
    from matplotlib.figure import Figure

    saved = Figure.savefig
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("error")
        patch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), saved(self, *a, **k)))
        n_clips, n_classes = plot.draw_sheet(cache, out, seed)
    return figures[0], n_clips, n_classes


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Clips of odd names, lengths and sample rates; one class has a single clip, and an odd name too."""
    data = tmp_path_factory.mktemp("odd") / "data"
    rng = np.random.default_rng(0)
    for i, name in enumerate(ODD_NAMES):
        (data / "$dog$").mkdir(parents=True, exist_ok=True)
        soundfile.write(data / "$dog$" / f"{name}.wav", rng.normal(0, 0.1, 3000 * (i + 1)), (8000, 16000)[i % 2])
    (data / "猫").mkdir()
    soundfile.write(data / "猫" / "long.wav", rng.normal(0, 0.1, 8000 * 200), 8000)
    build(data, data / "f.h5", classes=("$dog$", "猫"))
    return open_cache(data / "f.h5")


@pytest.fixture(scope="module")
def odd_figure(odd: Cache, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return draw(odd, tmp_path_factory.mktemp("sheet") / "sheet.png")[0]


@pytest.mark.parametrize("hz", [0.0, 1.0, 440.0, 999.0, 1000.0, 1001.0, 4000.0, 8000.0])
def test_the_mel_scale_is_librosas(hz: float) -> None:
    assert hz_to_mel(hz) == pytest.approx(librosa.hz_to_mel(hz))
    assert mel_to_hz(hz_to_mel(hz)) == pytest.approx(hz)


def test_every_band_lies_where_librosas_filters_peak(tones_cache: Path) -> None:
    settings = open_cache(tones_cache).settings
    corners = librosa.mel_frequencies(n_mels=130, fmin=settings["fmin"], fmax=settings["fmax"])
    assert [band(hz, settings) for hz in corners] == pytest.approx(np.arange(-1, 129), abs=1e-9)


def test_a_sheet_shows_clips_of_every_class_on_axes_in_seconds_and_kilohertz(tones_cache: Path, tmp_path: Path) -> None:
    cache = open_cache(tones_cache)
    figure, n_clips, n_classes = draw(cache, tmp_path / "sheet.png")
    assert (n_clips, n_classes) == (12, 3)
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    *rows, foot = figure.subfigs
    assert [row.get_suptitle() for row in rows] == [f"{name}: 16 clips, 8.00 s" for name in ("dog", "cat", "bird")]
    ax = rows[0].axes[0]
    (image,) = ax.images
    assert image.get_clim() == (0, 1)
    shown = ax.get_title().splitlines()[0]
    i = next(i for i, path in enumerate(cache.paths) if path == f"dog/{shown}")
    np.testing.assert_array_equal(image.get_array(), cache.X[i, :, :, 0])
    left, right, bottom, top = image.get_extent()
    # The middle of a column is the time of its frame, the middle of a row its band.
    times = librosa.frames_to_time(np.arange(128), sr=16000, hop_length=512)
    assert left + (np.arange(128) + 0.5) * (right - left) / 128 == pytest.approx(times, abs=1e-9)
    assert bottom + (np.arange(128) + 0.5) * (top - bottom) / 128 == pytest.approx(np.arange(128))
    ticks = dict(zip((label.get_text() for label in ax.get_yticklabels()), ax.get_yticks(), strict=True))
    assert ticks["1"] == pytest.approx(band(1000, cache.settings))
    assert "each clip's own range" in foot.axes[0].get_xlabel()


def test_the_histograms_count_every_clip_of_the_class(odd_figure: Any) -> None:
    for row, n, rates in ((odd_figure.subfigs[0], 9, [5, 4]), (odd_figure.subfigs[1], 1, [1, 0])):
        durations, sample_rates = row.axes[-2:]
        assert sum(bar.get_height() for bar in durations.patches) == n
        assert [label.get_text() for label in sample_rates.get_yticklabels()] == ["8 kHz", "16 kHz"]
        assert [bar.get_width() for bar in sample_rates.patches] == rates


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_odd_names_are_shown_as_they_are_and_nothing_warns(suffix: str, odd: Cache, tmp_path: Path) -> None:
    figure, n_clips, _ = draw(odd, tmp_path / f"sheet.{suffix}")
    assert n_clips == 5
    assert figure.subfigs[0].get_suptitle().startswith("$dog$: ")
    assert figure.subfigs[1].get_suptitle().startswith(r"\u732b: ")
    titles = [plot.drawable(name) for name in ODD_NAMES]
    assert titles[:3] == ODD_NAMES[:3]
    assert titles[3] == r"\u732b"
    assert titles[5:8] == [r"\U0001f408", r"line\nend", r"\x1b[2J"]


def test_a_clip_that_is_longer_than_its_row_says_so(odd_figure: Any) -> None:
    assert odd_figure.subfigs[1].axes[0].get_title() == "long.wav\n3 min 20 s, the middle 4.1 s"


def test_the_seed_chooses_the_clips(odd: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot, "MAX_CLASSES", 1)

    def titles(seed: int) -> list[str]:
        figure, _, _ = draw(odd, tmp_path / "sheet.png", seed)
        return [ax.get_title() for ax in figure.subfigs[0].axes[:4]]

    assert titles(0) == titles(0) != titles(1)


def test_of_very_many_classes_the_first_are_drawn(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot, "MAX_CLASSES", 3)
    data = tmp_path / "data"
    clip = next((tones / "dog").iterdir()).read_bytes()
    names = tuple(f"class{i:02d}" for i in range(5))
    for name in names:
        (data / name).mkdir(parents=True)
        (data / name / "one.wav").write_bytes(clip)
    build(data, data / "f.h5", classes=names)
    _, n_clips, n_classes = draw(open_cache(data / "f.h5"), tmp_path / "sheet.png")
    assert n_clips == n_classes == 3


def test_a_picture_of_another_kind_is_refused_before_anything_is_drawn(odd: Cache, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(".png, .svg or .pdf")):
        plot.draw_sheet(odd, tmp_path / "sheet.bmp", 0)


def test_the_command_writes_the_picture_and_says_where(tones_cache: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "cache", "plot", tones_cache, "--out", tmp_path / "sheet.png"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"12 clips of {tones_cache}: {tmp_path / 'sheet.png'}\n"
    assert (tmp_path / "sheet.png").stat().st_size > 10_000


def test_a_window_says_where_it_lies_and_clips_are_counted(tmp_path: Path) -> None:
    for name, seconds in (("dog", 9), ("cat", 1)):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.wav", np.random.default_rng(0).normal(0, 0.1, 16000 * seconds), 16000)
    cache = build(tmp_path, classes="dog,cat", crop="segments").cache
    figure, *_ = draw(cache, tmp_path / "sheet.png")
    dog, cat, _ = figure.subfigs
    assert [part.get_suptitle() for part in (dog, cat)] == ["dog: 1 clip, 9.00 s", "cat: 1 clip, 1.00 s"]
    shown = [ax.get_title() for ax in dog.axes]
    spans = ((0.0, 4.1), (2.0, 6.1), (4.1, 8.2), (4.9, 9.0))
    assert shown[:4] == [f"a.wav\nfrom {start} to {end} s" for start, end in spans]
    assert cat.axes[0].get_title() == "a.wav\n1.00 s"
