"""build_to_train() and narrow(): models of as few columns as the clips fill, to train one and to classify with one."""

from typing import Any

import numpy as np

from train.models.equivalent import equivalent, narrowest
from train.models.forward import Forward, forward
from train.models.recipes import RECIPES, build_model, input_columns, recipe

# Between the probabilities of the two, on a spectrogram of noise.
_TOLERANCE = 1e-4


def build_to_train(name: str, n_classes: int, learning_rate: float | None, n_steps: int, n_frames: int) -> Any:
    """Build what a model is trained through: the same weights in the same order, of as few columns as hold the clips.

    Parameters
    ----------
    name, n_classes, learning_rate, n_steps
        See build_model().
    n_frames
        Frames of the longest clip.

    Returns
    -------
    keras.Model
        As build_model() returns it, but that its input (batch, 128, n_columns, 1) lacks columns of padding alone.
    """
    model = build_model(name, n_classes, learning_rate, n_steps, input_columns(name, n_frames))
    return equivalent(model, n_frames) if recipe(name).spares else model


def narrow(model: Any, name: str, n_frames: int) -> Forward:
    """Return forward() of the model, in less work if that gives the same for clips of at most `n_frames` frames.

    Parameters
    ----------
    model
        A trained model.
    name
        Its recipe, as the run has it; that it is the one is tried, not taken on trust.
    n_frames
        Beyond these, every column of a spectrogram is 0.

    Returns
    -------
    callable
        Spectrograms, shape (n, 128, 128, 1), to probabilities, (n, n_classes).
    """
    plain = forward(model)
    lean = _lean(model, name, n_frames)
    if lean is None:
        return plain
    n_columns = lean.input_shape[2]
    lean_forward = forward(lean)
    noise = np.zeros((1, *model.input_shape[1:]), np.float32)
    noise[:, :, :n_frames] = np.random.default_rng(0).random(noise[:, :, :n_frames].shape)
    same = np.allclose(lean_forward(noise[:, :, :n_columns]), model(noise, training=False), rtol=0, atol=_TOLERANCE)
    return (lambda batch: lean_forward(batch[:, :, :n_columns])) if same else plain


def _lean(model: Any, name: str, n_frames: int) -> Any:
    found = RECIPES.get(name)
    try:
        if found is not None and found.spares and narrowest(model, n_frames).n_like > 1:
            return equivalent(model, n_frames, is_final=True)
        n_columns = input_columns(name, n_frames) if found is not None and found.adapts else model.input_shape[2]
        if n_columns == model.input_shape[2]:
            return None
        lean = build_model(name, model.output_shape[1], n_columns=n_columns)
        lean.set_weights(model.get_weights())
    except (AttributeError, IndexError, StopIteration, TypeError, ValueError):
        # It has other layers than its recipe.
        return None
    return lean
