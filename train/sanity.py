"""Sanity baselines: what a score is worth is seen beside what needs no network."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from cache import Cache

Rows = npt.NDArray[np.intp]


def majority_class(cache: Cache, train_rows: Rows, test_rows: Rows) -> npt.NDArray[np.intp]:
    """Predict the most frequent class of the training rows for every test row."""
    return np.full(len(test_rows), np.bincount(cache.labels[train_rows]).argmax())


# Each takes the cache, training rows and test rows, and returns a label index for every test row.
BASELINES: dict[str, Callable[[Cache, Rows, Rows], npt.NDArray[np.intp]]] = {
    "majority class": majority_class,
}
