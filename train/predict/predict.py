"""Probabilities from a trained model: for rows of a cache, and for recordings."""

import stat
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from enum import StrEnum
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cache.shared.errors import UserError
from train.models.forward import BATCH_SIZE, Forward, forward
from train.models.temperature import calibrated
from train.predict.sources import Source, find_sources
from train.predict.windows import Windows, cuts, windows_of
from train.runs.directory import Run, open_run

# Batches that may be featurized ahead, and pieces without a row, such as files that are missing, that one may hold.
_N_AHEAD = 4
_MAX_PIECES = 256

# The amplitude, of 1, under which no sample is sound: far below the noise of 16 bits.
_QUIET = 1e-6


class Kind(StrEnum):
    """What a prediction is about: a recording that was taken whole, a window, all windows, or a file that is bad."""

    CLIP = "clip"
    WINDOW = "window"
    RECORDING = "recording"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Prediction:
    """What became of a recording or a window of it.

    Attributes
    ----------
    path
        The recording.
    probabilities
        Of each class by name; of a recording, the mean of its windows. Empty if there are none.
    reason
        Why there are none.
    kind
        What this is about.
    start, end
        Which part of the recording, in seconds.
    duration
        Seconds that the recording has according to its header; 0 if that does not know.
    threshold
        What is less probable has no label.
    n_windows
        Of a recording: windows by label, "" for those that have none.
    remark
        What is amiss with the recording although it is classified: how much of it is missing.
    """

    path: Path
    probabilities: dict[str, float]
    reason: str = ""
    kind: Kind = Kind.CLIP
    start: float = 0.0
    end: float = 0.0
    duration: float = 0.0
    threshold: float = 0.0
    n_windows: dict[str, int] = field(default_factory=dict)
    remark: str = ""

    @property
    def class_name(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def label(self) -> str:
        """The most probable class, of a recording that of most windows; "" if nothing is probable enough."""
        if self.kind is Kind.RECORDING:
            labelled = {name: n for name, n in self.n_windows.items() if name}
            return max(labelled, key=labelled.__getitem__, default="")
        sure = self.probabilities and self.probabilities[self.class_name] >= self.threshold
        return self.class_name if sure else ""


def classify(run: str | Path, *paths: str | Path, threshold: float = 0.0) -> Iterator[Prediction]:
    """Classify audio files, and those in folders, with a run directory; see predict_files()."""
    return predict_files(open_run(Path(run)), find_sources(paths), threshold=threshold)


def predict_files(
    run: Run, sources: Iterable[Source], windows: Windows | None = None, threshold: float | Mapping[str, float] = 0.0
) -> Iterator[Prediction]:
    """Classify recordings with the features that the run was trained on, in order, as they are computed.

    Parameters
    ----------
    run
        A finished run.
    sources
        The recordings.
    windows
        How a recording longer than one and a half windows is cut; by default windows_of(run).
    threshold
        A probability, or one by class; what is less probable has no label.

    Yields
    ------
    Prediction
        One a recording, or one a window and then one for all of them. A recording that proves damaged after some
        windows ends with its reason instead.

    Raises
    ------
    UserError
        The features of the run are not the ones that this program computes, or its model cannot be loaded.
    """
    from cache.file.settings import MelSettings
    from featurize.features.row import FEATURE_VERSION, computable

    if run.feature_version != FEATURE_VERSION:
        raise UserError(
            f"{run.folder} was trained on version {run.feature_version} of the features, and this program computes "
            f"version {FEATURE_VERSION}; run `python -m featurize` and train again"
        )
    settings = computable(MelSettings(**run.settings))  # type: ignore[arg-type]  # their types were checked before
    windows = windows or windows_of(run)
    pieces = (piece for source in sources for piece in _pieces(source, windows, settings, run.dtype))
    yield from _with_summaries(_predictions(run, _ahead(_batches(pieces)), windows, settings, threshold))


class _Piece(NamedTuple):
    """A prediction to be, and the spectrogram that it takes its probabilities from."""

    of: Prediction
    x: npt.NDArray[Any] | None = None


def _pieces(source: Source, windows: Windows, settings: Any, dtype: str) -> Iterator[_Piece]:
    from featurize.audio.audio import ClipError, Reading
    from featurize.audio.resample import mono_blocks

    of = Prediction(source.path, {})
    try:
        with _open(source) as audio:
            of = replace(of, duration=audio.n_samples / audio.sr)
            blocks = Reading(mono_blocks(audio, audio.sr))
            for start, end, whole, y in cuts(blocks, audio.sr, windows):
                of = replace(of, start=start, end=end, kind=Kind.CLIP if whole else Kind.WINDOW)
                # Known once all of it is read, as it is when it comes as one clip.
                remark = blocks.result.decoded.remark if whole else ""
                yield _piece(replace(of, remark=remark), y, audio.sr, settings, dtype)
            if of.kind is Kind.WINDOW:
                remark = blocks.result.decoded.remark
                yield _Piece(replace(of, kind=Kind.RECORDING, start=0.0, remark=remark))
        return
    except ClipError as error:
        reason = str(error)
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:
        # A file of unknown origin may make a decoder fail in any way; that must cost this file only.
        reason = f"it cannot be decoded ({type(error).__name__}: {error})"
    yield _Piece(Prediction(source.path, {}, reason, Kind.REJECTED))


def _open(source: Source) -> AbstractContextManager[Any]:
    from featurize.audio.audio import ClipError
    from featurize.audio.decode import open_audio
    from featurize.audio.sndfile import open_stream

    if source.reason:
        raise ClipError(source.reason)
    if source.is_stdin:
        return nullcontext(open_stream(0))
    if not stat.S_ISREG(source.path.stat().st_mode):
        raise ClipError("it is not a file; a WAV in a pipe goes to standard input, as `predict RUN -`")
    return open_audio(str(source.path))


def _piece(of: Prediction, y: npt.NDArray[np.float32], sr: int, settings: Any, dtype: str) -> _Piece:
    from featurize.audio.audio import ClipError
    from featurize.features.row import spectrogram

    try:
        # Through the type of the cache, so that a row is to the bit what the model saw in training.
        x = spectrogram(y, sr, settings).astype(dtype, copy=False)
    except ClipError as error:
        where = f"from {of.start:.2f} to {of.end:.2f} s " if of.kind is Kind.WINDOW else ""
        raise ClipError(f"{where}{error}") from None
    # In silence there is nothing to tell classes apart by, and what a network makes of it means nothing.
    return _Piece(of, x) if x.any() else _Piece(replace(of, reason=_why_silent(y, sr, settings)))


def _why_silent(y: npt.NDArray[np.float32], sr: int, settings: Any) -> str:
    """Say what is silent: a spectrogram shows the middle of what is longer than it."""
    used = settings.n_frames * settings.hop_length / settings.sr
    if len(y) / sr <= used or np.abs(y).max() < _QUIET:
        return "silent"
    return f"no sound in the {used:.1f} s that are used; there is sound elsewhere"


def _batches(pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    """Yield pieces in lists with up to BATCH_SIZE rows, all of which are windows or none."""
    batch: list[_Piece] = []
    n_rows, kind = 0, Kind.CLIP
    for piece in pieces:
        if piece.x is not None:
            if n_rows == BATCH_SIZE or (n_rows and piece.of.kind is not kind):
                yield batch
                batch, n_rows = [], 0
            n_rows, kind = n_rows + 1, piece.of.kind
        elif len(batch) >= _MAX_PIECES:
            yield batch
            batch, n_rows = [], 0
        batch.append(piece)
    if batch:
        yield batch


def _ahead(batches: Iterator[list[_Piece]]) -> Iterator[list[_Piece]]:
    """Yield the batches, of which some are computed ahead in a thread while the network is busy."""
    # Its thread is a daemon: one that waits for a pipe must not keep the process from ending.
    with ThreadPool(1) as thread:
        pending = deque(thread.apply_async(next, (batches, None)) for _ in range(_N_AHEAD))
        while (batch := pending.popleft().get()) is not None:
            pending.append(thread.apply_async(next, (batches, None)))
            yield batch


def _predictions(
    run: Run, batches: Iterable[list[_Piece]], windows: Windows, settings: Any, threshold: float | Mapping[str, float]
) -> Iterator[Prediction]:
    from train.runs.load import load_model

    model = load_model(run)
    forwards: dict[Kind, Forward] = {}
    for batch in batches:
        rows = [piece.x.astype(np.float32, copy=False) for piece in batch if piece.x is not None]
        values: Iterator[list[float]] = iter(())
        if rows:
            kind = next(piece.of.kind for piece in batch if piece.x is not None)
            if kind not in forwards:
                forwards[kind] = forward(model) if kind is Kind.CLIP else _narrow(run, model, windows, settings)
            values = iter(calibrated(forwards[kind](np.stack(rows)), run.temperature).tolist())
        for of, x in batch:
            probabilities = {} if x is None else dict(zip(run.class_names, next(values), strict=True))
            one = replace(of, probabilities=probabilities)
            if isinstance(threshold, float):
                yield replace(one, threshold=threshold)
            else:
                yield replace(one, threshold=threshold[one.class_name]) if probabilities else one


def _narrow(run: Run, model: Any, windows: Windows, settings: Any) -> Forward:
    from featurize.features.row import n_frames_of
    from train.models.narrow import narrow

    # A window is a whole number of samples at the rate of its recording, so it may be a millisecond longer.
    n_frames = n_frames_of(round((windows.seconds + 1e-3) * settings.sr) + 1, settings)
    return narrow(model, run.record.model, n_frames)


def _with_summaries(predictions: Iterable[Prediction]) -> Iterator[Prediction]:
    """Put into the prediction of a recording what its windows were."""
    n_windows: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    n_sums = 0
    reasons: set[str] = set()
    for one in predictions:
        if one.kind is Kind.WINDOW:
            n_windows[one.label] += 1
            reasons.add(one.reason)
            n_sums += bool(one.probabilities)
            for name, p in one.probabilities.items():
                sums[name] += p  # type: ignore[assignment]  # a Counter adds up whatever can be added
            yield one
            continue
        if one.kind is Kind.RECORDING:
            means = {name: total / n_sums for name, total in sums.items()}
            reason = reasons.pop() if len(reasons) == 1 else ""
            one = replace(one, probabilities=means, n_windows=dict(n_windows), reason=reason)
        n_windows, sums, n_sums, reasons = Counter(), Counter(), 0, set()
        yield one
