"""Rows of a cache: those of some clips, their mean by clip, and shuffled batches of them, read as they are needed.

Most clips are one row, and a long one may be several, each a window of it; the clip counts once.
"""

import mmap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from cache import Cache
from cache.shared.segment import segment_of
from cache.shared.types import Rows
from train.dataset.augment import Augmentation, augment, overlay

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
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


class Batches:
    """Some rows of a cache, a batch at a time.

    Only the rows of two batches are copied, and cast to float32 if the cache has float16. While one is trained on, a
    thread reads and varies the next, and the rows of the one after that are asked of the disk.

    Parameters
    ----------
    rows
        Which rows of X, (N, 128, 128, 1), and y, in which order; the last batch may have fewer than `batch_size`.
    n_columns
        Width of the batches; the columns of X beyond it hold nothing but padding.
    augmentation
        How the rows are varied, differently in every epoch; None: not at all.
    n_frames
        Frames of every clip before crop or pad, shape (N,); the augmentation does not change padding.
    backgrounds
        Rows of background sound, which the augmentation mixes into the others.
    clip
        The clip of which each of the rows is a window, ascending from 0; None: each is a clip. An epoch takes one
        window of every clip, each in turn, so that a long clip counts as much as a short one.
    n_views
        How often each clip of a batch is in it, each time varied in another way; all clips once, then all again.
    """

    def __init__(
        self,
        X: npt.NDArray[Any],
        y: npt.NDArray[np.float32],
        rows: npt.NDArray[np.intp],
        batch_size: int,
        n_columns: int | None = None,
        augmentation: Augmentation | None = None,
        n_frames: npt.NDArray[np.integer] | None = None,
        backgrounds: npt.NDArray[np.intp] | None = None,
        clip: npt.NDArray[np.intp] | None = None,
        n_views: int = 1,
    ) -> None:
        self.X = np.asarray(X)
        self.y = np.asarray(y)
        self.rows = rows
        self.order = rows
        self.batch_size = batch_size
        self.n_columns = self.X.shape[2] if n_columns is None else n_columns
        self.augmentation = augmentation
        self.n_frames = np.full(len(self.X), self.n_columns) if n_frames is None else np.asarray(n_frames)
        self.backgrounds = rows[:0] if backgrounds is None else backgrounds
        self.n_windows = np.ones(len(rows), np.intp) if clip is None else np.bincount(clip)
        self.n_views = n_views
        self.seeds = (0, 0)
        self._map, self._offset = _map_of(self.X)
        # One thread for all epochs: the memory that malloc keeps belongs to a thread.
        self._thread = ThreadPoolExecutor(1)

    def __len__(self) -> int:
        return -(-len(self.n_windows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        batches = (self._thread.submit(self.__getitem__, index) for index in range(len(self)))
        following = next(batches, None)
        while following is not None:
            batch = following.result()
            following = next(batches, None)
            yield batch

    def __getitem__(self, index: int) -> Batch:
        rows = np.tile(self.order[index * self.batch_size : (index + 1) * self.batch_size], self.n_views)
        X, y = self.X[rows, :, : self.n_columns].astype(np.float32, copy=False), self.y[rows]
        self._ask_for(index + 1)
        if self.augmentation is None:
            return X, y
        # + 1, because NumPy treats [seed, epoch] as [seed, epoch, 0], and shuffle() draws from that.
        rng = np.random.default_rng([*self.seeds, index + 1])
        if len(self.backgrounds):
            X = self._with_backgrounds(X, rows, rng, self.augmentation)
        return augment(X, self.n_frames[rows], rng, self.augmentation), y

    def _with_backgrounds(
        self,
        X: npt.NDArray[np.float32],
        rows: npt.NDArray[np.intp],
        rng: np.random.Generator,
        settings: Augmentation,
    ) -> npt.NDArray[np.float32]:
        others = np.flatnonzero(~np.isin(rows, self.backgrounds))
        # At most as many as there are rows: they, too, are read from the file.
        drawn = rng.choice(self.backgrounds, min(len(rows), len(self.backgrounds)), replace=False)
        noise = self.X[np.sort(drawn), :, : self.n_columns]
        frames = self.n_frames[np.sort(drawn)]
        X = X.copy()
        X[others] = overlay(X[others], self.n_frames[rows[others]], noise, frames, rng, settings)
        return X

    def shuffle(self, seed: int, epoch: int) -> None:
        """Begin an epoch, whose order and variations depend on nothing else, so that a fit can be resumed."""
        self.seeds = (seed, epoch)
        self.order = np.random.default_rng([seed, epoch]).permutation(self._windows(seed, epoch))
        self._ask_for(0)

    def _windows(self, seed: int, epoch: int) -> npt.NDArray[np.intp]:
        """Return a row of every clip: from a random one on, the next with every epoch."""
        first = np.cumsum(self.n_windows) - self.n_windows
        # A stream that no epoch and no batch draws from.
        start = np.random.default_rng([seed, 0, 0, 1]).integers(self.n_windows)
        return self.rows[first + (start + epoch) % self.n_windows]

    def _ask_for(self, index: int) -> None:
        """Let the system read the rows of a batch, without waiting for it."""
        if self._map is None:
            return
        n_bytes = self.X[0].nbytes
        for row in self.order[index * self.batch_size : (index + 1) * self.batch_size].tolist():
            start = self._offset + row * n_bytes
            before = start % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, start - before, n_bytes + before)


def _map_of(X: npt.NDArray[Any]) -> tuple[mmap.mmap | None, int]:
    """Return the map of a file in which an array lies, None if it lies in memory, and where in the map it begins."""
    owner: Any = X
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if not isinstance(owner, mmap.mmap) or not hasattr(owner, "madvise"):
        return None, 0
    return owner, X.ctypes.data - np.frombuffer(owner, np.uint8).ctypes.data
