"""predict(): the probabilities of recordings, window by window, by the features that the run was trained on."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import replace
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cache.file.settings import MelSettings
from cache.shared.cli import signal_came
from cache.shared.errors import UserError, reason_in
from cache.shared.segment import grid
from featurize.audio.audio import Audio, ClipError, Reading, audio_of
from featurize.audio.decode import open_audio
from featurize.audio.pieces import Loudest
from featurize.audio.resample import mono_blocks, n_resampled
from featurize.audio.sndfile import open_stream
from featurize.features.row import check_reach, energy, n_frames_of, reach_remark, spectrogram
from train.models.calibration import calibrated
from train.models.inference import BATCH_SIZE, forward_of
from train.predict.recordings import Clip, Kind, Recording, Source, Tally, Window, find_sources
from train.predict.threads import joined, mapped
from train.predict.windows import Cut, Windows, cuts, settings_of, thresholds_of, windows_as_scored
from train.runs.directory import Run, open_run

# Recordings that are read at a time; parts of each that may be featurized ahead; and parts without a spectrogram, such
# as missing files, that a batch may hold.
_N_THREADS = os.cpu_count() or 1
_N_AHEAD = 4 * BATCH_SIZE
_MAX_PARTS = 256

# Samples of a window that one thread may as well transform itself.
_SHORT = 20_000

_SILENT = "silent"

# An amplitude, with 1 as full scale, below which a sample counts as silence: far below the noise of 16 bits.
_QUIET = 1e-6


def classify(
    run: str | Path, *clips: Clip | Iterable[Clip], threshold: float | str | Mapping[str, float] = 0.0
) -> Iterator[Window | Recording]:
    """Classify audio with the model of a run, as `python -m train predict` does.

    There is a Recording for each clip, with its `label` and its `probabilities`. A Recording longer than one and a half
    windows comes after a Window for each of its windows. A file that cannot be used has a `reason` instead. Raises a
    UserError if the run or the threshold cannot be used.

    Parameters
    ----------
    clips
        Audio files, folders of them, or (samples, sample rate) with mono samples between -1 and 1; or lists of these.
    threshold
        A probability, one by class, or "auto" for the thresholds that the run has. A clip whose most probable
        class is below its threshold has no label.
    """
    opened = open_run(run)
    thresholds = _by_class(opened, threshold)
    return predict(opened, find_sources(clips), threshold=thresholds)


def _by_class(run: Run, threshold: float | str | Mapping[str, float]) -> dict[str, float]:
    """Return a threshold for each class."""
    if threshold == "auto":
        return thresholds_of(run)
    thresholds = dict(threshold) if isinstance(threshold, Mapping) else dict.fromkeys(run.class_names, threshold)
    if unknown := thresholds.keys() - set(run.class_names):
        raise UserError(f"{run.folder} has no class {min(unknown)}; its classes are {', '.join(run.class_names)}")
    for p in thresholds.values():
        if not (isinstance(p, int | float | np.floating) and 0 <= p <= 1):
            raise UserError(f'threshold is {p!r}; give a number from 0 to 1, numbers by class, or "auto"')
    return {name: float(thresholds.get(name, 0.0)) for name in run.class_names}


def predict(
    run: Run, sources: Iterable[Source], windows: Windows | None = None, threshold: Mapping[str, float] | None = None
) -> Iterator[Window | Recording]:
    """Classify recordings in order, and yield what is found as it is computed.

    There is a Recording for each source, after the windows of a long one, which is cut as windows_as_scored(run) by
    default. A recording that proves damaged after some windows ends with a Recording of the kind "rejected". A class
    that is less probable than its threshold, by default 0, is not a label. Raises a UserError if the features of the
    run are not the ones that this program computes, or its model cannot be loaded.
    """
    settings = settings_of(run)
    windows = windows or windows_as_scored(run)
    thresholds = threshold or dict.fromkeys(run.class_names, 0.0)
    # Nothing is longer than a recording that is not cut, whose samples at its own rate may last a millisecond more.
    longest = max(1.0, windows.longest_whole) * windows.seconds + 1e-3
    network = forward_of(run, n_frames_of(round(longest * settings.sr) + 1, settings))
    tally = Tally()
    for batch in _batches(sources, windows, settings, run.record.cache.dtype):
        rows = [part.x for part in batch if part.x is not None]
        found = iter(calibrated(network(np.stack(rows)), run.temperature).tolist() if rows else ())
        for one, x in batch:
            if x is not None:
                probabilities = dict(zip(run.class_names, next(found), strict=True))
                one = replace(one, label=label_of(probabilities, thresholds), probabilities=probabilities)
            if isinstance(one, Window):
                tally.add(one)
            elif one.kind is Kind.RECORDING:
                one = tally.recording(one.path, one.end, one.note)
                # Scores are of the mean over a recording's windows.
                label = label_of(one.probabilities, thresholds) if run.is_cropped else one.label
                one = replace(one, label=label)
            tally = tally if isinstance(one, Window) else Tally()
            yield one


class _Part(NamedTuple):
    """A window or a recording before it is classified, and its spectrogram, (128, 128, 1), None where it has none."""

    one: Window | Recording
    x: npt.NDArray[Any] | None = None


def _parts(source: Source, windows: Windows, settings: MelSettings, dtype: str, threads: ThreadPool) -> Iterator[_Part]:
    """Yield the parts of a recording, whose spectrograms the threads compute."""
    try:
        with _open(source) as audio:
            check_reach(audio.sr, settings)
            blocks = Reading(mono_blocks(audio, audio.sr))
            of_cuts = cuts(blocks, audio.sr, windows)
            featurized = partial(_featurized, path=source.path, audio=audio, settings=settings, dtype=dtype)
            parts: Iterable[_Part]
            if windows.n_loudest and not source.is_stdin:
                parts = _loudest(of_cuts, featurized, audio.sr, windows, settings)
            # To hand over a short window takes longer than to transform it, unless it is resampled; and a microphone's
            # must not wait for the next one.
            elif windows.seconds * audio.sr > _SHORT and not source.is_stdin:
                parts = (part for _, part in mapped(featurized, of_cuts, threads, 2 * _N_THREADS))
            else:
                parts = map(featurized, of_cuts)
            part = _Part(Recording(source.path, Kind.CLIP))
            for part in parts:
                if part.one.kind is Kind.WINDOW:
                    yield part
            # Only when all is read is it known whether something is wrong with it.
            decoded = blocks.result.decoded
            note = "; ".join(filter(None, (decoded.remark, reach_remark(audio.sr, settings))))
            one, x = part
            if isinstance(one, Window):
                # The loudest windows need not reach the end.
                end = decoded.n_samples / audio.sr if windows.n_loudest else one.end
                one, x = Recording(source.path, Kind.RECORDING, end), None
            yield _Part(replace(one, note=note), x)
        return
    except (ClipError, OSError) as error:
        reason = reason_in(error)
    except Exception as error:
        # A file of unknown origin may make a decoder fail in any way; that must cost this file only.
        reason = f"it cannot be decoded ({type(error).__name__}: {error})"
    yield _Part(Recording(source.path, Kind.REJECTED, reason=reason))


def _open(source: Source) -> AbstractContextManager[Any]:
    if source.reason:
        raise ClipError(source.reason)
    if source.samples is not None:
        return nullcontext(audio_of(source.samples[:, None], source.sr, ""))
    if source.is_stdin:
        return nullcontext(open_stream(0, signal_came))
    if not stat.S_ISREG(source.path.stat().st_mode):
        raise ClipError("it is not a file; a WAV in a pipe goes to standard input, as `predict RUN -`")
    return open_audio(str(source.path))


def _loudest(
    of_cuts: Iterable[Cut], featurized: Callable[[Cut], _Part], sr: int, windows: Windows, settings: MelSettings
) -> list[_Part]:
    """Return the windows of a recording that featurize takes of it with --crop loudest; a silent one if all are."""
    loudest = Loudest[_Part](windows.n_loudest, grid(windows.seconds, windows.overlap, sr))
    silent: list[_Part] = []
    for cut in of_cuts:
        if cut.whole:
            return [featurized(cut)]
        blocks = mono_blocks(audio_of(cut.y[:, None], sr, ""), settings.sr)
        at, first = energy(blocks, n_resampled(len(cut.y), sr, settings.sr), settings), round(cut.start * sr)
        if loudest.may_have(at, first):
            part = featurized(cut)
            if part.x is not None:
                loudest.add(at, first, part)
            else:
                silent = [_Part(replace(part.one, reason=_SILENT))]
    return loudest.chosen or silent


def _featurized(cut: Cut, path: Path, audio: Audio, settings: MelSettings, dtype: str) -> _Part:
    """Return a cut of a recording with its spectrogram, or with the reason why a silent one has none."""
    y, sr = cut.y, audio.sr
    one: Window | Recording = Window(path, cut.start, cut.end, "", {}, duration=audio.n_samples / sr)
    one = Recording(path, Kind.CLIP, cut.end) if cut.whole else one
    try:
        # Through the type of the cache, so that a row is to the bit what the model saw in training.
        x = spectrogram(y, sr, settings).astype(dtype, copy=False)
    except ClipError as error:
        raise ClipError(str(error) if cut.whole else f"from {cut.start:.2f} to {cut.end:.2f} s {error}") from None
    # Silence has nothing to tell classes apart by, so what a network says about it means nothing.
    if x.any():
        return _Part(one, x)
    reason = f"no sound in the {settings.row_seconds:.2g} s that are used; there is sound elsewhere"
    is_silent = len(y) / sr <= settings.row_seconds or np.abs(y).max() < _QUIET
    return _Part(replace(one, reason=_SILENT if is_silent else reason))


def _batches(sources: Iterable[Source], windows: Windows, settings: MelSettings, dtype: str) -> Iterator[list[_Part]]:
    """Yield the parts in lists with up to BATCH_SIZE spectrograms.

    Threads featurize ahead. A microphone's list holds what is finished when the network is free, which is one window.
    """
    sources = list(sources)
    is_live = any(source.is_stdin for source in sources)
    batch: list[_Part] = []
    with ExitStack() as stack:
        threads = stack.enter_context(closing(ThreadPool(_N_THREADS)))
        streams = (_parts(source, windows, settings, dtype, threads) for source in sources)
        for part in stack.enter_context(closing(joined(streams, _N_THREADS, _N_AHEAD))):
            if part is not None:
                batch.append(part)
            n_rows = sum(one.x is not None for one in batch)
            if n_rows == BATCH_SIZE or len(batch) == _MAX_PARTS or (part is None and batch and is_live):
                yield batch
                batch = []
        if batch:
            yield batch


def label_of(probabilities: Mapping[str, float], thresholds: Mapping[str, float]) -> str:
    """Return the most probable class; "" if it does not reach its threshold, or there are no probabilities."""
    if not probabilities:
        return ""
    name = max(probabilities, key=probabilities.__getitem__)
    return name if probabilities[name] >= thresholds[name] else ""
