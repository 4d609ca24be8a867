"""predict(): the probabilities of recordings, window by window, by the features that the run was trained on."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from cache.shared.errors import UserError
from cache.shared.segment import grid
from cache.shared.types import Float32
from featurize.audio.audio import Audio, Blocks, ClipError, Decoded, Reading
from featurize.audio.decode import open_audio
from featurize.audio.pieces import Loudest
from featurize.audio.resample import mono_blocks, n_resampled
from featurize.audio.sndfile import open_stream
from featurize.features.row import check_reach, energy, n_frames_of, reach_remark, spectrogram
from featurize.workers.threads import joined, mapped
from train.models.calibration import calibrated
from train.models.inference import BATCH_SIZE, forward_of
from train.models.network import Forward
from train.models.recipes import N_COLUMNS
from train.predict.results import Kind, Recording, Tally, Window
from train.predict.sources import Clip, Source, find_sources
from train.predict.windows import Cut, Windows, cuts, settings_of, thresholds_of, windows_as_scored
from train.runs.directory import Run, open_run

# Recordings that are read at a time; parts of each that may be featurized ahead; and parts without a spectrogram, such
# as missing files, that a batch may hold.
_N_THREADS = os.cpu_count() or 1
_N_AHEAD = 4 * BATCH_SIZE
_MAX_PARTS = 256

# Samples of a window that one thread may as well transform itself.
_SHORT = 20_000

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
    network = _network(run, windows, settings)
    tally = Tally()
    for batch in _batches(sources, windows, settings, run.dtype):
        for part, probabilities in zip(batch, network(batch), strict=True):
            label = label_of(probabilities, thresholds)
            if part.kind is Kind.WINDOW:
                window = Window(part.path, part.start, part.end, label, probabilities, part.reason, part.duration)
                tally.add(window)
                yield window
                continue
            if part.kind is Kind.RECORDING:
                recording = tally.recording(part.path, part.end, part.note)
                # Scores are of the mean over a recording's windows.
                label = label_of(recording.probabilities, thresholds)
                yield replace(recording, label=label) if run.is_cropped else recording
            else:
                yield Recording(part.path, part.kind, part.end, label, probabilities, part.reason, part.note)
            tally = Tally()


# A spectrogram; or None for silence, and in words what is silent.
Featurized = tuple[npt.NDArray[Any] | None, str]


class _Part(NamedTuple):
    """A window or a clip before it is classified, the end of a long recording, or the reason of a bad one.

    `x` is the spectrogram, (128, 128, 1); None for what has none.
    """

    path: Path
    kind: Kind
    start: float = 0.0
    end: float = 0.0
    x: npt.NDArray[Any] | None = None
    reason: str = ""
    note: str = ""
    duration: float = 0.0


def _parts(source: Source, windows: Windows, settings: MelSettings, dtype: str, threads: ThreadPool) -> Iterator[_Part]:
    """Yield the parts of a recording, whose spectrograms the threads compute."""
    kind, end = Kind.CLIP, 0.0
    try:
        with _open(source) as audio:
            duration = audio.n_samples / audio.sr
            check_reach(audio.sr, settings)
            blocks, low = Reading(mono_blocks(audio, audio.sr)), reach_remark(audio.sr, settings)
            featurized = partial(_featurized, sr=audio.sr, settings=settings, dtype=dtype)
            # To hand over a short window takes longer than to transform it, unless it is resampled; and a microphone's
            # must not wait for the next one.
            is_slow = windows.seconds * audio.sr > _SHORT and not source.is_stdin
            of_cuts = cuts(blocks, audio.sr, windows)
            if windows.n_loudest and not source.is_stdin:
                done: Iterable[tuple[Cut, Featurized]] = _loudest(of_cuts, featurized, audio.sr, windows, settings)
            elif is_slow:
                done = mapped(featurized, of_cuts, threads, 2 * _N_THREADS)
            else:
                done = ((c, featurized(c)) for c in of_cuts)
            for (start, end, is_whole, _), (x, reason) in done:
                kind = Kind.CLIP if is_whole else Kind.WINDOW
                # A clip comes when all is read; before, nobody knows whether something is wrong with it.
                note = _notes(blocks.result.decoded.remark, low) if is_whole else ""
                yield _Part(source.path, kind, start, end, x, reason, note, duration)
            if kind is Kind.WINDOW:
                # The loudest windows need not reach the end.
                end = blocks.result.decoded.n_samples / audio.sr if windows.n_loudest else end
                yield _Part(source.path, Kind.RECORDING, end=end, note=_notes(blocks.result.decoded.remark, low))
        return
    except ClipError as error:
        reason = str(error)
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:
        # A file of unknown origin may make a decoder fail in any way; that must cost this file only.
        reason = f"it cannot be decoded ({type(error).__name__}: {error})"
    yield _Part(source.path, Kind.REJECTED, reason=reason)


def _notes(*notes: str) -> str:
    return "; ".join(filter(None, notes))


def _open(source: Source) -> AbstractContextManager[Any]:
    if source.reason:
        raise ClipError(source.reason)
    if source.samples is not None:
        return nullcontext(_in_memory(source.samples, source.sr))
    if source.is_stdin:
        return nullcontext(open_stream(0, signal_came))
    if not stat.S_ISREG(source.path.stat().st_mode):
        raise ClipError("it is not a file; a WAV in a pipe goes to standard input, as `predict RUN -`")
    return open_audio(str(source.path))


def _in_memory(y: Float32, sr: int) -> Audio:
    def blocks() -> Blocks:
        yield y[:, None]
        return Decoded(len(y))

    return Audio(sr, 1, len(y), "", blocks, lambda: "")


def _loudest(
    of_cuts: Iterable[Cut], featurized: Callable[[Cut], Featurized], sr: int, windows: Windows, settings: MelSettings
) -> list[tuple[Cut, Featurized]]:
    """Return the windows of a recording that featurize takes of it with --crop loudest; a silent one if all are."""
    loudest = Loudest[tuple[Cut, Featurized]](windows.n_loudest, grid(windows.seconds, windows.overlap, sr))
    silent: list[tuple[Cut, Featurized]] = []
    for cut in of_cuts:
        silent = [(cut, (None, "silent"))]
        if cut.whole:
            return [(cut, featurized(cut))]
        blocks = mono_blocks(_in_memory(cut.y, sr), settings.sr)
        at, first = energy(blocks, n_resampled(len(cut.y), sr, settings.sr), settings), round(cut.start * sr)
        if loudest.may_have(at, first):
            x, reason = featurized(cut)
            if x is not None:
                loudest.add(at, first, (cut._replace(y=cut.y[:0]), (x, reason)))
    return loudest.chosen or silent


def _featurized(cut: Cut, sr: int, settings: MelSettings, dtype: str) -> Featurized:
    """Return the spectrogram of a cut; or None for silence, and in words what is silent."""
    y = cut.y
    try:
        # Through the type of the cache, so that a row is to the bit what the model saw in training.
        x = spectrogram(y, sr, settings).astype(dtype, copy=False)
    except ClipError as error:
        raise ClipError(str(error) if cut.whole else f"from {cut.start:.2f} to {cut.end:.2f} s {error}") from None
    # Silence has nothing to tell classes apart by, so what a network says about it means nothing.
    if x.any():
        return x, ""
    if len(y) / sr <= settings.row_seconds or np.abs(y).max() < _QUIET:
        return None, "silent"
    return None, f"no sound in the {settings.row_seconds:.2g} s that are used; there is sound elsewhere"


def _batches(sources: Iterable[Source], windows: Windows, settings: MelSettings, dtype: str) -> Iterator[list[_Part]]:
    """Yield the parts in lists with up to BATCH_SIZE spectrograms, which are all of windows or all of clips.

    Threads featurize ahead. A microphone's list holds what is finished when the network is free, which is one window.
    """
    sources = list(sources)
    is_live = any(source.is_stdin for source in sources)
    batch: list[_Part] = []
    n_rows, kind = 0, Kind.CLIP
    with ExitStack() as stack:
        threads = stack.enter_context(closing(ThreadPool(_N_THREADS)))
        streams = (_parts(source, windows, settings, dtype, threads) for source in sources)
        for part in stack.enter_context(closing(joined(streams, _N_THREADS, _N_AHEAD))):
            if part is None:
                if batch and is_live:
                    yield batch
                    batch, n_rows = [], 0
                continue
            is_row = part.x is not None
            if len(batch) == _MAX_PARTS or (is_row and n_rows and (n_rows == BATCH_SIZE or part.kind is not kind)):
                yield batch
                batch, n_rows = [], 0
            if is_row:
                n_rows, kind = n_rows + 1, part.kind
            batch.append(part)
        if batch:
            yield batch


def _network(
    run: Run, windows: Windows, settings: MelSettings
) -> Callable[[Sequence[_Part]], Iterator[dict[str, float]]]:
    """Return the model of a run as a function of parts; those without a spectrogram have no probabilities."""
    of_frames = forward_of(run)
    forwards: dict[Kind, Forward] = {}
    # A window is a whole number of samples at the rate of its recording, so it may be a millisecond longer.
    n_frames = n_frames_of(round((windows.seconds + 1e-3) * settings.sr) + 1, settings)

    def probabilities_of(batch: Sequence[_Part]) -> Iterator[dict[str, float]]:
        kind = next((part.kind for part in batch if part.x is not None), None)
        if kind is None:
            yield from ({} for _ in batch)
            return
        if kind not in forwards:
            forwards[kind] = of_frames(N_COLUMNS if kind is Kind.CLIP else n_frames)
        rows = np.stack([part.x.astype(np.float32, copy=False) for part in batch if part.x is not None])
        values = iter(calibrated(forwards[kind](rows), run.temperature).tolist())
        for part in batch:
            yield {} if part.x is None else dict(zip(run.class_names, next(values), strict=True))

    return probabilities_of


def label_of(probabilities: Mapping[str, float], thresholds: Mapping[str, float]) -> str:
    """Return the most probable class; "" if it does not reach its threshold, or there are no probabilities."""
    if not probabilities:
        return ""
    name = max(probabilities, key=probabilities.__getitem__)
    return name if probabilities[name] >= thresholds[name] else ""
