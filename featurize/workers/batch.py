"""A batch of clips to finished rows; pure and picklable, so any executor can run it."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cache.file.columns import ROW_SHAPE, Rejected, Row
from cache.file.settings import MelSettings
from cache.shared.types import Float32
from featurize.audio.audio import Audio, ClipError, Reading
from featurize.audio.decode import open_audio
from featurize.audio.find import Clip
from featurize.audio.pieces import cut
from featurize.audio.resample import Sound, mono_blocks, n_resampled, sound_remark
from featurize.features.row import check_reach, n_frames_of, write_spectrogram

# Segments of a recording beyond this number, which fill 34 MB of rows, are another work item.
_MOST_SEGMENTS = 512


class Task(NamedTuple):
    """A clip to compute, unless its content is still that of `known_sha256` ("" for none)."""

    clip: Clip
    known_sha256: str


class Done(NamedTuple):
    """The results of a batch."""

    rows: list[Row]  # the clips that were computed
    X: npt.NDArray[np.floating]  # their spectrograms, shape (len(rows), 128, 128, 1)
    unchanged: list[str]  # paths of the clips whose content was already known
    rejected: list[Rejected]  # the clips that cannot be used


def work_items(tasks: Iterable[Task]) -> Iterator[list[Task]]:
    """Yield the tasks in work items, which one worker computes as a whole: a clip, or the segments of a recording."""
    item: list[Task] = []
    for task in tasks:
        is_more = task.clip.segment and item and task.clip.file == item[0].clip.file and len(item) < _MOST_SEGMENTS
        if not is_more:
            if item:
                yield item
            item = []
        item.append(task)
    if item:
        yield item


def n_bytes_of(tasks: Iterable[Task]) -> int:
    """Return how many bytes are read to compute some clips."""
    return sum(item[0].clip.size for item in work_items(tasks))


def files_of(data: str, tasks: Iterable[Task]) -> list[str]:
    """Return the files that some clips are in, each once."""
    return list(dict.fromkeys(f"{data}/{task.clip.file}" for task in tasks))


def featurize_batch(
    data: str,
    tasks: Sequence[Task],
    settings: MelSettings,
    X: npt.NDArray[np.floating],
    begin: Callable[[int], None] = lambda position: None,
) -> Done:
    """Compute the rows of some clips, whose paths are relative to the folder `data`.

    `X` is room for the rows, shape (at least as many as there are tasks, 128, 128, 1), float32 or float16; the result's
    X is the part of it that was filled. Before a work item is computed, `begin` takes the number of tasks before it.
    """
    done = Done([], X, [], [])
    position = 0
    for item in work_items(tasks):
        begin(position)
        position += len(item)
        if item[0].clip.segment:
            _compute_segments(data, item, settings, X[len(done.rows) :], done)
            continue
        clip, known_sha256 = item[0]
        try:
            row = _compute(f"{data}/{clip.path}", clip, known_sha256, settings, X[len(done.rows)])
        except ClipError as error:
            done.rejected.append(_rejected(clip, error))
            continue
        if row is None:
            done.unchanged.append(clip.path)
        else:
            done.rows.append(row)
    return done._replace(X=X[: len(done.rows)])


def _rejected(clip: Clip, error: ClipError) -> Rejected:
    stamp = (-1, -1) if error.passing else (clip.size, clip.mtime_ns)
    return Rejected(clip.path, *stamp, str(error), clip.inode)


def _compute(path: str, clip: Clip, known_sha256: str, settings: MelSettings, x: npt.NDArray[Any]) -> Row | None:
    with open_audio(path, clip.size, clip.mtime_ns) as audio:
        sha256 = audio.sha256
        return None if sha256 == known_sha256 else _row(clip, audio, sha256, settings, x)


def _compute_segments(
    data: str, tasks: Sequence[Task], settings: MelSettings, X: npt.NDArray[np.floating], done: Done
) -> None:
    """Compute segments of one recording while it is decoded, and add to `done` what became of them, in their order."""
    clip = tasks[0].clip
    ready: dict[int, Row] = {}
    bad: dict[int, ClipError] = {}
    same: set[int] = set()
    trouble = ClipError("")
    try:
        with open_audio(f"{data}/{clip.file}", clip.size, clip.mtime_ns) as audio:
            content = audio.sha256
            segments = [task.clip.segment for task in tasks if task.clip.segment is not None]
            sha256 = [segment.sha256(content) for segment in segments]
            same = {i for i, task in enumerate(tasks) if task.known_sha256 == sha256[i]}
            wanted = [i for i in range(len(tasks)) if i not in same]
            for which, piece in cut(audio, [segments[i] for i in wanted]):
                i = wanted[which]
                try:
                    ready[i] = _row(tasks[i].clip, piece, sha256[i], settings, X[i])
                except ClipError as error:
                    bad[i] = error
    except ClipError as error:
        trouble = error
        if error.passing:
            # Samples of a file that changed meanwhile are worth nothing.
            ready, same = {}, set()
    # Rows behind a missing one move up.
    for n, i in enumerate(sorted(ready)):
        if n != i:
            X[n] = X[i]
        done.rows.append(ready[i])
    done.unchanged.extend(tasks[i].clip.path for i in sorted(same))
    done.rejected.extend(
        _rejected(task.clip, bad.get(i, trouble)) for i, task in enumerate(tasks) if i not in ready and i not in same
    )


def _row(clip: Clip, audio: Audio, sha256: str, settings: MelSettings, x: npt.NDArray[Any]) -> Row:
    out = x if x.dtype == np.float32 else np.empty(ROW_SHAPE, np.float32)
    n_samples, sound = write_row(audio, settings, out)
    remark = sound_remark(audio, sound, out, settings.row_seconds, settings.sr)
    if sound.decoded.remark:
        remark = f"{sound.decoded.remark}; {remark}" if remark else sound.decoded.remark
    if out is not x:
        x[...] = out
    return Row(
        clip.path,
        clip.size,
        clip.mtime_ns,
        sha256,
        n_frames_of(n_samples, settings),
        sound.decoded.n_samples / audio.sr,
        audio.sr,
        audio.format,
        zlib.crc32(x.data),
        remark,
        clip.inode,
        *clip.span,
    )


def write_row(audio: Audio, settings: MelSettings, out: Float32) -> tuple[int, Sound]:
    """Write one clip's spectrogram; return its length in samples at `settings.sr`, and what the clip proved to be."""
    check_reach(audio.sr, settings)
    announced = n_resampled(audio.n_samples, audio.sr, settings.sr)
    waveform = Reading(mono_blocks(audio, settings.sr))
    n_samples = write_spectrogram(waveform, announced, settings, out[:, :, 0])
    if n_samples != announced:
        # The header was wrong about the length, or did not state it, so the centre was taken from the wrong place.
        write_spectrogram(mono_blocks(audio, settings.sr), n_samples, settings, out[:, :, 0])
    return n_samples, waveform.result
