"""steps(): a step of training and one of scoring, each traced once for batches of any size."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy.typing as npt

from train.backend.keras import tf


class Steps(NamedTuple):
    """What is done with a batch: X, shape (n, 128, n_columns, 1), y and the weight of every clip in the loss, (n,).

    Both return the mean loss of the batch and how many of its clips are classified rightly.

    Attributes
    ----------
    train
        Moves the weights.
    score
        Leaves them as they are.
    """

    train: Callable[[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]], tuple[Any, Any]]
    score: Callable[[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]], tuple[Any, Any]]


# As many as there are models to train through, see as_if_new().
@lru_cache(2)
def steps(model: Any) -> Steps:
    """Return the steps of a compiled model.

    Keras's own fit() does the same, but gets its batches from a generator behind a tf.data iterator, which costs a
    quarter of a step of a small network; and its train_on_batch() is traced a second time for an epoch's last batch.
    """
    model.optimizer.build(model.trainable_variables)

    def train(X: Any, y: Any, clip_weights: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            probabilities = model(X, training=True)
            loss = model.compute_loss(X, y, probabilities, clip_weights)
        model.optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss, _n_right(y, probabilities)

    def score(X: Any, y: Any, clip_weights: Any) -> tuple[Any, Any]:
        probabilities = model(X, training=False)
        return model.compute_loss(X, y, probabilities, clip_weights, training=False), _n_right(y, probabilities)

    shapes = ((None, *model.input_shape[1:]), (None, model.output_shape[1]), (None,))
    signature = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    return Steps(tf.function(train, signature, autograph=False), tf.function(score, signature, autograph=False))


def _n_right(y: Any, probabilities: Any) -> Any:
    return tf.math.count_nonzero(tf.argmax(y, axis=1) == tf.argmax(probabilities, axis=1))
