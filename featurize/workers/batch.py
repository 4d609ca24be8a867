"""The unit of work: a batch of clips to finished rows. Pure and picklable, so any executor can run it."""

import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cache.file.layout import ROW_SHAPE
from cache.file.partial import Rejected, Row
from cache.file.settings import MelSettings
from featurize.clips.decode import Audio, ClipError, open_audio
from featurize.clips.find import Clip
from featurize.clips.resample import mono_blocks, n_resampled, sound_remark
from featurize.features.row import n_frames_of, write_spectrogram

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


def featurize_batch(data: str, tasks: Iterable[Task], settings: MelSettings, X: npt.NDArray[np.floating]) -> Done:
    """Compute the rows of some clips.

    Parameters
    ----------
    data
        The folder that the clips' paths are relative to.
    tasks
        The clips.
    settings
        What to compute.
    X
        Room for the rows, shape (at least as many as there are tasks, 128, 128, 1), float32 or float16.

    Returns
    -------
    Done
        Its X is the part of `X` that was filled.
    """
    rows: list[Row] = []
    unchanged: list[str] = []
    rejected: list[Rejected] = []
    for clip, known_sha256 in tasks:
        x = X[len(rows)]
        try:
            row = _compute(f"{data}/{clip.path}", clip, known_sha256, settings, x)
        except ClipError as error:
            stamp = (-1, -1) if error.passing else (clip.size, clip.mtime_ns)
            rejected.append(Rejected(clip.path, *stamp, str(error), clip.inode))
            continue
        if row is None:
            unchanged.append(clip.path)
        else:
            rows.append(row)
    return Done(rows, X[: len(rows)], unchanged, rejected)


def _compute(path: str, clip: Clip, known_sha256: str, settings: MelSettings, x: npt.NDArray[Any]) -> Row | None:
    out = x if x.dtype == np.float32 else np.empty(ROW_SHAPE, np.float32)
    with open_audio(path, clip.size, clip.mtime_ns) as audio:
        sha256 = audio.sha256
        if sha256 == known_sha256:
            return None
        n_samples = write_row(audio, settings, out)
        said = sound_remark(audio, not out.any(), settings.n_frames * settings.hop_length / settings.sr, settings.sr)
    if out is not x:
        x[...] = out
    return Row(
        clip.path,
        clip.size,
        clip.mtime_ns,
        sha256,
        n_frames_of(n_samples, settings),
        audio.n_decoded / audio.sr,
        audio.sr,
        audio.format,
        zlib.crc32(x.data),
        "; ".join(filter(None, (audio.remark, said))),
        inode=clip.inode,
    )


def write_row(audio: Audio, settings: MelSettings, out: Float32) -> int:
    """Write one clip's spectrogram and return its length in samples at `settings.sr`."""
    announced = n_resampled(audio.n_samples, audio.sr, settings.sr)
    n_samples = write_spectrogram(mono_blocks(audio, settings.sr), announced, settings, out[:, :, 0])
    if n_samples != announced:
        # The length was not known, or the header wrong about it, and with it we about where the centre is.
        write_spectrogram(mono_blocks(audio, settings.sr), n_samples, settings, out[:, :, 0])
    return n_samples
