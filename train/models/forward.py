"""The forward pass of a model: spectrograms in, probabilities out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

# A product of matrices takes rows 6 at a time with AVX2 and 8 with AVX-512, and rounds what is left over otherwise; on
# two threads each has half of them.
BATCH_SIZE = 48


Probabilities = npt.NDArray[np.float32]


Forward = Callable[[npt.NDArray[Any]], Probabilities]


def predict_rows(model: Any, X: npt.NDArray[Any], rows: npt.NDArray[np.intp]) -> Probabilities:
    """Return the model's probabilities for some rows of a cache, shape (n_rows, n_classes)."""
    X = np.asarray(X)
    probabilities_of = forward(model)
    probabilities = np.empty((len(rows), model.output_shape[1]), np.float32)
    for start in range(0, len(rows), BATCH_SIZE):
        batch = slice(start, start + BATCH_SIZE)
        probabilities[batch] = probabilities_of(X[rows[batch]])
    return probabilities


def forward(model: Any) -> Forward:
    """Return the model as a function of spectrograms, shape (n, 128, 128, 1) -> (n, n_classes), traced once for any n.

    Keras's own predict_on_batch() is traced anew for every n, the last batch of a folder for one. A batch is filled up
    to BATCH_SIZE: matrix products of another size round otherwise, and neither who is in a batch with a row nor which
    place it has there must matter.
    """
    from train.backend.keras import tf

    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]
    traced = tf.function(lambda batch: model(batch, training=False), input_signature=signature)

    def probabilities_of(batch: npt.NDArray[Any]) -> Probabilities:
        n, batch = len(batch), batch.astype(np.float32, copy=False)
        if n < BATCH_SIZE:
            batch = np.concatenate((batch, np.zeros((BATCH_SIZE - n, *batch.shape[1:]), np.float32)))
        return np.asarray(traced(batch))[:n]

    return probabilities_of
