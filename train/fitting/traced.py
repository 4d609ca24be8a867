"""as_if_new(): what a model is trained through, built and traced once for all fits that have it in common."""

from functools import lru_cache
from typing import Any

import numpy.typing as npt

from train.fitting.options import Options
from train.models.narrow import build_to_train
from train.models.recipes import N_COLUMNS, Recipe, recipe


def as_if_new(options: Options, n_classes: int, n_steps: int, n_frames: int) -> Any:
    """Return build_to_train() of the options, with its optimiser as it was before the first step.

    The folds of a cross-validation and the seeds of a sweep differ in their rows and weights alone. To build a model
    and to trace its training step takes seconds, which is a sixth of a fold of a few hundred clips. So it is done once
    in a process, and what an earlier fit has left is undone.

    Parameters
    ----------
    options, n_classes, n_steps, n_frames
        As for build_to_train().

    Returns
    -------
    keras.Model
        Its weights are those of an earlier fit; a fit begins with set_weights(). It is good until the next call.
    """
    n_frames = min(n_frames, N_COLUMNS)
    # A name may come to stand for another recipe, and what is traced for one kind of kernels is not for the other.
    unlike = recipe(options.model), options.deterministic
    model, state = _traced(unlike, options.model, n_classes, options.learning_rate, n_steps, n_frames)
    for variable, value in zip(model.optimizer.variables, state, strict=True):
        variable.assign(value)
    return model


# Two, for folds that differ by one optimiser step.
@lru_cache(2)
def _traced(unlike: tuple[Recipe, bool], *asked: Any) -> tuple[Any, list[npt.NDArray[Any]]]:
    model = build_to_train(*asked)
    model.optimizer.build(model.trainable_variables)
    return model, [variable.numpy() for variable in model.optimizer.variables]
