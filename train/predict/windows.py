"""Windows of a recording: a short one is classified whole, as the clip it is, a long one window by window."""

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from cache.file.settings import MelSettings
from cache.shared.errors import UserError
from cache.shared.segment import grid
from cache.shared.tree import is_background
from cache.shared.types import Float32
from featurize.audio.pieces import cut_windows
from featurize.features.row import FEATURE_VERSION, computable
from train.runs.directory import Run


@dataclass(frozen=True)
class Windows:
    """How long recordings are cut: windows of so many seconds, each overlapping the one before by a share of it."""

    seconds: float
    overlap: float = 0.5
    longest_whole: float = 1.5  # a recording up to so many windows long is one clip
    n_loudest: int = 0  # take so many windows of the most energy alone; 0: all


class Cut(NamedTuple):
    """A part of a recording, from `start` to `end` in seconds, or all of it; `y` is mono at its own rate, (n,)."""

    start: float
    end: float
    whole: bool
    y: Float32


def windows_of(run: Run, seconds: float | None = None, overlap: float | None = None) -> Windows:
    """Return windows that cover a recording, by default as long as the median of the clips that a run was trained on.

    Where those were cut into windows, these are as long as its windows.

    Raises a UserError if the run does not say how long that is.
    """
    overlap = Windows.overlap if overlap is None else overlap
    if seconds is not None:
        return Windows(seconds, overlap)
    if run.is_cropped:
        return Windows(settings_of(run).row_seconds, overlap, longest_whole=1.0)
    median = run.record.clip_duration
    if median is None:
        raise UserError(f"{run.folder / 'run.json'} does not say how long its clips were; give --window SECONDS")
    return Windows(median, overlap)


def windows_as_scored(run: Run) -> Windows:
    """Return the windows whose mean is the answer for a clip: those that the cache of the run has of it."""
    crop = run.record.cropping
    windows = windows_of(run, overlap=crop.overlap)
    return replace(windows, n_loudest=crop.n_windows) if crop.crop == "loudest" else windows


def settings_of(run: Run, otherwise: str = "") -> MelSettings:
    """Return the settings of a run's features.

    Raises a UserError, which ends with another remedy, if this program computes other features.
    """
    if run.feature_version != FEATURE_VERSION:
        raise UserError(
            f"{run.folder} was trained on version {run.feature_version} of the features, and this program computes "
            f"version {FEATURE_VERSION}; run `python -m featurize` and train again{otherwise}"
        )
    return computable(MelSettings(**run.settings))  # type: ignore[arg-type]  # their types were checked with the run


def thresholds_of(run: Run, except_for: Collection[str] = ()) -> dict[str, float]:
    """Return the thresholds of all classes of a run; 0 for a class that needs none or is excepted.

    Raises a UserError if another class has none.
    """
    found = run.record.thresholds
    missing = [name for name in run.class_names if not (name in found or name in except_for or is_background(name))]
    if missing:
        why = (
            "it has no thresholds, because it was trained without validation clips (--val 0, the default of compact)"
            if run.record.temperature is None and not found
            else f"it has no threshold for {', '.join(missing)}, because no validation clip belongs to that"
        )
        raise UserError(
            f"{run.folder}: {why}; give --threshold P, train again with --val 0.15, or find thresholds on labelled "
            f"recordings with `python -m train evaluate {run.folder} --recordings FOLDER --labels FOLDER "
            "--keep-thresholds`"
        )
    return {name: found.get(name, 0.0) for name in run.class_names}


def gap(windows: Windows, settings: MelSettings) -> str:
    """Return a sentence if parts of a recording are in no spectrogram, else "".

    A spectrogram shows the middle `n_frames` of a window, and windows may start further apart than that.
    """
    shown = settings.row_seconds
    step = windows.seconds * (1 - windows.overlap)
    if windows.seconds <= shown or step <= shown:
        return ""
    return (
        f"windows start every {step:.2f} s, and only the middle {shown:.2f} s of each are looked at; "
        f"--overlap {math.ceil(100 * (1 - shown / windows.seconds)) / 100:.2f} covers everything"
    )


def cuts(blocks: Iterable[Float32], sr: int, windows: Windows) -> Iterator[Cut]:
    """Cut a mono waveform, in consecutive blocks of any length, into windows as it is read.

    It is all of the recording if that is no longer than `longest_whole`, else each window.
    """
    of_clip = grid(windows.seconds, windows.overlap, sr)
    for first, y, is_whole in cut_windows(blocks, of_clip, int(windows.longest_whole * of_clip.length)):
        yield Cut(first / sr, (first + len(y)) / sr, is_whole, y)
