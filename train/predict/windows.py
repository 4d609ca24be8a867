"""Windows of a recording, and the detections that neighbouring windows of one label are joined to.

A short recording is classified whole, as the clip it is, a long one window by window.
"""

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from cache.file.settings import MelSettings
from cache.labels.annotation import Region
from cache.shared.cli import command_line
from cache.shared.errors import UserError
from cache.shared.segment import grid
from cache.shared.tree import is_background
from cache.shared.types import Float32
from featurize.audio.pieces import cut_windows
from featurize.features.profiles import computable
from featurize.features.row import FEATURE_VERSION
from train.predict.recordings import Kind, Recording, Window
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
    trained_on = run.record.feature_version
    if trained_on != FEATURE_VERSION:
        raise UserError(
            f"{run.folder} was trained on version {trained_on} of the features, and this program computes "
            f"version {FEATURE_VERSION}; run `python -m featurize` and train again{otherwise}"
        )
    return computable(MelSettings(**run.record.settings))  # type: ignore[arg-type]  # their types were checked with the run


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
        options = ("--recordings", "FOLDER", "--labels", "FOLDER", "--keep-thresholds")
        raise UserError(
            f"{run.folder}: {why}; give --threshold P, train again with --val 0.15, or find thresholds on labelled "
            f"recordings with `{command_line('train', 'evaluate', run.folder, *options)}`"
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


class Detection(NamedTuple):
    """Neighbouring windows of one label, and the seconds of the recording that they stand for."""

    start: float
    end: float
    label: str
    windows: list[Window | Recording]

    @property
    def probabilities(self) -> dict[str, float]:
        """The mean probability of each class."""
        names, n = self.windows[0].probabilities, len(self.windows)
        return {name: sum(one.probabilities[name] for one in self.windows) / n for name in names}


class Detections:
    """The detections of one recording after another, each given out as soon as its last window is known."""

    def __init__(self) -> None:
        # The windows of the label that goes on, and where its detection starts.
        self._windows: list[Window | Recording] = []
        self._start = 0.0

    def take(self, one: Window | Recording) -> list[Region]:
        """Take the next prediction; return what is complete with it as annotations, see complete()."""
        return [Region(*its[:3], its.probabilities[its.label]) for its in self.complete(one)]

    def complete(self, one: Window | Recording) -> list[Detection]:
        """Take the next prediction; return what is complete with it, a class that means "none of them" aside.

        Where two windows overlap, each has the half that is nearer to it.
        """
        complete: list[Detection] = []
        if one.kind in (Kind.WINDOW, Kind.CLIP):
            if not self._windows:
                self._start = one.start
            elif one.start > (last := self._windows[-1]).end:
                # The loudest windows may lie apart.
                complete, self._start = self._ended(last.end), one.start
            elif one.label != last.label:
                middle = (one.start + last.end) / 2
                complete, self._start = self._ended(middle), middle
            self._windows.append(one)
        if one.kind is not Kind.WINDOW and self._windows:
            complete += self._ended(self._windows[-1].end)
        return complete

    def _ended(self, end: float) -> list[Detection]:
        """Return the detection of the label that ends there."""
        windows, self._windows = self._windows, []
        label = windows[0].label
        return [Detection(self._start, end, label, windows)] if label and not is_background(label) else []
