"""The forward pass of a model: spectrograms in, probabilities out, in as little work as gives the same.

A finished run computes by its `network.onnx`, and by Keras where that cannot be used.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.shared.cli import notice
from cache.shared.types import Float32
from train.backend.types import Model
from train.models.network import Forward, Network, NoNetwork, open_network
from train.models.recipes import N_COLUMNS, RECIPES, input_columns
from train.runs.directory import Run, load_model

# A product of matrices takes rows 6 at a time with AVX2 and 8 with AVX-512, and rounds the rest in another way; each of
# two threads has half of the rows.
BATCH_SIZE = 48

# Largest difference between the probabilities of a model and its narrow copy, on a spectrogram of noise.
_TOLERANCE = 1e-4


def forward_of(run: Run) -> Callable[[int], Forward]:
    """Open the model of a run; a UserError if neither the network nor the model can be loaded.

    The result gives the forward pass for spectrograms every column of which is 0 from a number of frames on, given that
    number: spectrograms, shape (n, 128, 128, 1), to probabilities, shape (n, n_classes).
    """
    try:
        network = open_network(run.folder, len(run.class_names))
    except NoNetwork as error:
        notice(f"{run.folder}: TensorFlow computes, which takes seconds to start, because {error}")
        model = load_model(run)
        return lambda n_frames: narrow_forward(model, run.record.model, n_frames)
    return lambda n_frames: narrow_network(network, run.record.model, n_frames)


def predict_rows(probabilities_of: Forward, X: npt.NDArray[Any], rows: npt.NDArray[np.intp]) -> Float32:
    """Return the probabilities for some rows of a cache, shape (n_rows, n_classes)."""
    X = np.asarray(X)
    # Without rows, a forward pass of none tells the number of classes.
    starts = range(0, max(len(rows), 1), BATCH_SIZE)
    return np.concatenate([probabilities_of(X[rows[start : start + BATCH_SIZE]]) for start in starts])


def forward(model: Model) -> Forward:
    """Return the model as a function of spectrograms, shape (n, 128, 128, 1) -> (n, n_classes), traced once for any n.

    Keras's own predict_on_batch() is traced again for every n, such as the last batch of a folder. A batch is filled up
    to BATCH_SIZE, because matrix products of another size round in another way: the probabilities of a clip must not
    depend on the other clips in its batch, or on its place among them.
    """
    from train.backend.keras import tf

    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]
    traced = tf.function(lambda batch: model(batch, training=False), input_signature=signature)

    def probabilities_of(batch: npt.NDArray[Any]) -> Float32:
        n, batch = len(batch), batch.astype(np.float32, copy=False)
        if n < BATCH_SIZE:
            batch = np.concatenate((batch, np.zeros((BATCH_SIZE - n, *batch.shape[1:]), np.float32)))
        return np.asarray(traced(batch))[:n]

    return probabilities_of


def narrow_forward(model: Model, name: str, n_frames: int) -> Forward:
    """Return forward() of the model, on fewer columns if that gives the same for clips of at most `n_frames` frames.

    Every column of a spectrogram from there on is 0. The name is that of the recipe according to the run directory,
    which may have come from anywhere. So both ways are compared on a spectrogram of noise, and a model that is not of
    this recipe is used as it is.
    """
    whole = forward(model)
    copy = narrow_copy(model, name, n_frames) if n_frames < N_COLUMNS else None
    return whole if copy is None else _narrow_if_same(whole, forward(copy), copy.input_shape[2], n_frames)


def narrow_network(network: Network, name: str, n_frames: int) -> Forward:
    """Return the forward pass of a network, on fewer columns as narrow_forward() does for a model."""
    n_columns = input_columns(name, n_frames) if name in RECIPES and network.is_variable else N_COLUMNS
    if n_columns == N_COLUMNS:
        return network.forward
    return _narrow_if_same(network.forward, network.forward, n_columns, n_frames)


def _narrow_if_same(whole: Forward, narrow: Forward, n_columns: int, n_frames: int) -> Forward:
    noise = np.zeros((1, 128, N_COLUMNS, 1), np.float32)
    noise[:, :, :n_frames] = np.random.default_rng(0).random(noise[:, :, :n_frames].shape)
    same = np.allclose(narrow(noise[:, :, :n_columns]), whole(noise), rtol=0, atol=_TOLERANCE)
    return (lambda batch: narrow(batch[:, :, :n_columns])) if same else whole


def narrow_copy(model: Model, name: str, n_frames: int) -> Model | None:
    """Return a model of the same weights on as few columns as its recipe allows; None if these are all of them."""
    from train.backend.keras import keras
    from train.models.fast_path import fast_copy

    recipe = RECIPES.get(name)
    try:
        if recipe is not None and recipe.fast_path:
            return fast_copy(model, n_frames)
        n_columns = input_columns(name, n_frames) if recipe is not None else model.input_shape[2]
        if n_columns == model.input_shape[2]:
            return None
        # Not built by the recipe, which may have had other layers when the model was trained.
        copy: Model = keras.models.clone_model(model, input_tensors=keras.Input((model.input_shape[1], n_columns, 1)))
        copy.set_weights(model.get_weights())
    except (AttributeError, IndexError, StopIteration, TypeError, ValueError):
        # The model has other layers than the recipe.
        return None
    return copy
