"""The row of one clip, a file or samples in memory, to the bit as it would be in a cache."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from cache.file.columns import ROW_SHAPE
from cache.file.settings import MelSettings
from cache.shared.errors import UserError
from cache.shared.segment import recording_of
from cache.shared.types import Float32
from featurize.audio.audio import ClipError, audio_of, check_sr
from featurize.audio.pieces import open_clip
from featurize.workers.rows import write_row


def row_of_file(path: str, settings: MelSettings) -> Float32:
    """Compute the row of a clip by its path, which may be that of a segment; see `featurize.featurize_clip`."""
    out = np.empty(ROW_SHAPE, np.float32)
    try:
        with open_clip(path) as audio:
            write_row(audio, settings, out)
    except ClipError as error:
        gone = not Path(recording_of(path)).exists() and not Path(path).exists()
        raise ClipError(f"{path}: {'there is no such file' if gone else error}", error.passing) from None
    return out


def row_of_samples(y: npt.NDArray[np.floating], sr: int | None, settings: MelSettings) -> Float32:
    """Compute the row of samples, shape (n,) or (n_channels, n); see `featurize.featurize_clip`."""
    if sr is None:
        raise UserError("samples need their sample rate; give it as featurize_clip(y, sr=22050)")
    y = np.asarray(y)
    if y.dtype.kind != "f":
        raise UserError(f"samples are {y.dtype}; give floats, of which 1.0 is full scale")
    if y.ndim not in (1, 2) or y.size == 0:
        raise UserError(f"samples have the shape {y.shape}; give (n,) or (n_channels, n)")
    check_sr(sr, "the sample rate is")
    with np.errstate(over="ignore"):  # a sample that is too large is refused when the row is finished
        samples = np.ascontiguousarray(np.atleast_2d(y).T, np.float32)
    out = np.empty(ROW_SHAPE, np.float32)
    write_row(audio_of(samples, sr, y.dtype.name), settings, out)
    return out
