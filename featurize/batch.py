"""The unit of work: a batch of clips to finished rows. Pure and picklable, so any executor can run it."""

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cache.layout import ROW_SHAPE, X_DTYPES
from cache.partial import Rejected, Row
from featurize.audio import Audio, ClipError, mono_blocks, n_resampled, open_audio
from featurize.clips import Clip
from featurize.mel import MelSettings, n_frames_of, write_spectrogram

Float32 = npt.NDArray[np.float32]


class Task(NamedTuple):
    """A clip to compute, unless its content is still that of `known_sha256` ("" for none)."""

    clip: Clip
    known_sha256: str


class Done(NamedTuple):
    """What became of a batch.

    Attributes
    ----------
    rows
        The clips that were computed.
    X
        Their spectrograms, shape (len(rows), 128, 128, 1).
    unchanged
        Paths of the clips whose content was already known.
    rejected
        The clips that cannot be used.
    """

    rows: list[Row]
    X: npt.NDArray[np.floating]
    unchanged: list[str]
    rejected: list[Rejected]


def featurize_batch(data: str, tasks: Sequence[Task], settings: MelSettings, dtype: str) -> Done:
    """Compute the rows of some clips.

    Parameters
    ----------
    data
        The folder that the clips' paths are relative to.
    tasks
        The clips.
    settings
        What to compute.
    dtype
        Element type of X, a key of `cache.layout.X_DTYPES`.
    """
    X = np.zeros((len(tasks), *ROW_SHAPE), np.float32)
    done = Done([], X, [], [])
    for clip, known_sha256 in tasks:
        out = X[len(done.rows)]
        try:
            row = _compute(f"{data}/{clip.path}", clip, known_sha256, settings, out)
        except ClipError as error:
            stamp = (-1, -1) if error.passing else (clip.size, clip.mtime_ns)
            done.rejected.append(Rejected(clip.path, *stamp, str(error)))
            out[...] = 0
            continue
        if row is None:
            done.unchanged.append(clip.path)
        else:
            done.rows.append(row)
    finished = X[: len(done.rows)].astype(X_DTYPES[dtype], copy=False)
    rows = [row._replace(crc32=zlib.crc32(x)) for row, x in zip(done.rows, finished, strict=True)]
    return done._replace(rows=rows, X=finished)


def _compute(path: str, clip: Clip, known_sha256: str, settings: MelSettings, out: Float32) -> Row | None:
    try:
        with open_audio(path, clip.size, clip.mtime_ns) as audio:
            if audio.sha256 == known_sha256:
                return None
            n_samples = _spectrogram(audio, settings, out)
    except ClipError:
        raise
    except Exception as error:
        # A file of unknown origin may make a decoder fail in any way; that must cost this clip only.
        raise ClipError(f"it cannot be decoded ({type(error).__name__}: {error})") from None
    n_frames = n_frames_of(n_samples, settings)
    duration = audio.n_samples / audio.sr
    return Row(clip.path, clip.size, clip.mtime_ns, audio.sha256, n_frames, duration, audio.sr, audio.format, 0)


def _spectrogram(audio: Audio, settings: MelSettings, out: Float32) -> int:
    """Write one clip's spectrogram and return its length in samples at `settings.sr`."""
    announced = n_resampled(audio.n_samples, audio.sr, settings.sr)
    n_samples = _stream(audio, announced, settings, out)
    if n_samples != announced:
        # The header was wrong about the length, and with it we about where the centre is.
        out[...] = 0
        _stream(audio, n_samples, settings, out)
    return n_samples


def _stream(audio: Audio, n_samples: int, settings: MelSettings, out: Float32) -> int:
    n_read = 0

    def counted() -> Iterator[Float32]:
        nonlocal n_read
        for block in mono_blocks(audio, settings.sr):
            n_read += len(block)
            yield block

    write_spectrogram(counted(), n_samples, settings, out[:, :, 0])
    return n_read


def featurize_clip(path: Path, settings: MelSettings | None = None) -> Float32:
    """Compute the normalised mel spectrogram of one audio file, to the bit as it would be in a cache.

    Parameters
    ----------
    path
        Any audio file that libsndfile reads.
    settings
        What to compute; the project's contract by default.

    Returns
    -------
    ndarray
        Shape (128, 128, 1), float32, in [0, 1].

    Raises
    ------
    ClipError
        The file cannot be used; the message says why.
    """
    out = np.zeros(ROW_SHAPE, np.float32)
    status = path.stat()
    _compute(str(path), Clip(path.name, 0, status.st_size, status.st_mtime_ns), "", settings or MelSettings(), out)
    return out
