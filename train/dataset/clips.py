"""Clips of a cache: most are one row, and a long one may be several, each a window of it; the clip counts once."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from cache import Cache
from cache.shared.segment import segment_of
from cache.shared.types import Rows

_Float = TypeVar("_Float", bound=np.floating)


def rows_of(cache: Cache, clips: Rows) -> tuple[Rows, Rows]:
    """Return the rows of some clips, one clip after another, and for each row the place of its clip among them."""
    place = np.full(cache.n_clips, -1)
    place[clips] = np.arange(len(clips))
    of_row = place[cache.clips]
    rows = np.flatnonzero(of_row >= 0)
    rows = rows[np.argsort(of_row[rows], kind="stable")]
    return rows, of_row[rows]


def mean_by_clip(values: npt.NDArray[_Float], clip: Rows) -> npt.NDArray[_Float]:
    """Return the mean over each clip's rows, as `predict` averages the windows of a recording.

    The clips of the rows, shape (n_rows,), ascend from 0.
    """
    n_windows = np.bincount(clip)
    if len(n_windows) == len(clip):
        return values
    total = np.zeros((len(n_windows), values.shape[1]))
    np.add.at(total, clip, values)
    return (total / n_windows[:, None]).astype(values.dtype)


def seconds_shown(cache: Cache, row: int) -> tuple[float, float]:
    """Return which seconds of its clip a row shows."""
    columns, n_kept = cache.columns, cache.X.shape[2]
    n = int(columns["n_frames"][row])
    first = max(0, (n - n_kept) // 2)  # of a longer clip, its middle
    frame = float(cache.settings["hop_length"]) / float(cache.settings["sr"])
    end = min((first + min(n, n_kept)) * frame, float(columns["duration"][row]))
    before = 0.0
    if path := columns["clip"][row].decode():
        clip = segment_of(path)
        before = float(columns["start"][row]) - (clip.start if clip else 0.0)
    return before + first * frame, before + end
