"""Rows of the map -> shuffled batches: what Keras eats, read from the file as it is eaten."""

from typing import Any

import numpy as np
import numpy.typing as npt

from train.backend import keras

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Some rows of a cache, a batch at a time.

    Only the rows of one batch are copied, and cast to float32 if the cache is in float16.

    Parameters
    ----------
    X
        Spectrograms, shape (N, 128, 128, 1), mapped.
    y
        One-hot labels, shape (N, n_classes).
    rows
        Which rows, in which order.
    batch_size
        Rows a batch; the last one holds what is left.
    """

    def __init__(self, X: npt.NDArray[Any], y: npt.NDArray[np.float32], rows: npt.NDArray[np.intp], batch_size: int):
        super().__init__()
        self.X = np.asarray(X)
        self.y = np.asarray(y)
        self.rows = rows
        self.order = rows
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __getitem__(self, index: int) -> Batch:
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        return self.X[rows].astype(np.float32, copy=False), self.y[rows]

    def shuffle(self, seed: int, epoch: int) -> None:
        """Reorder the rows for an epoch; the order depends on the seed and the epoch alone, so a fit can be resumed."""
        self.order = np.random.default_rng([seed, epoch]).permutation(self.rows)
