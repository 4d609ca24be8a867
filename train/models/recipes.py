"""Recipes: the models by name, how each is built, and how it is trained when the user does not say.

A new model is a module with a function that builds it, and its line in `RECIPES`; the two of the notebook are built
here. Keras is imported inside the functions, so that the names are known without starting TensorFlow.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from cache.shared.errors import UserError
from train.backend.types import Model
from train.dataset.augment import Augmentation
from train.models.compact import STRIDE, compact

N_COLUMNS = 128
_FEWEST_EPOCHS = 8
_MOST_EPOCHS = 100


def baseline(n_classes: int, learning_rate: float | None) -> Model:
    """Two convolutions and a Dense of 64, as in the notebook."""
    return _model("baseline", (32, 64), 64, 0.0, n_classes, learning_rate)


def dropout(n_classes: int, learning_rate: float | None) -> Model:
    """Three convolutions and a Dense of 128 with dropout."""
    return _model("dropout", (32, 64, 128), 128, 0.5, n_classes, learning_rate)


def _model(
    name: str, filters: tuple[int, ...], n_units: int, rate: float, n_classes: int, learning_rate: float | None
) -> Model:
    """Build convolutions, each with its pooling, a Dense, dropout at a rate or none, and the Dense of the classes."""
    from train.backend.keras import keras

    # Each layer draws the seed of its first weights when it is made, so their order belongs to a seed's results.
    layers = [keras.Input((128, 128, 1))]
    for n_filters in filters:
        layers.append(keras.layers.Conv2D(n_filters, (3, 3), activation="relu", padding="same"))
        layers.append(keras.layers.MaxPooling2D((2, 2)))
    layers += [keras.layers.Flatten(), keras.layers.Dense(n_units, activation="relu")]
    layers += [keras.layers.Dropout(rate)] if rate else []
    layers.append(keras.layers.Dense(n_classes, activation="softmax"))
    model: Model = keras.Sequential(layers, name=name)
    optimizer = keras.optimizers.Adam() if learning_rate is None else keras.optimizers.Adam(learning_rate)
    model.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
    return model


@dataclass(frozen=True)
class Recipe:
    """How one model is built, and how it is trained when the user does not say."""

    # Takes the number of classes and the learning rate (None: its own), returns the compiled model.
    build: Callable[..., Model]
    epochs: int  # default of `--epochs`, see default_epochs()
    # Few clips are gone through more often than `epochs`: until so many are seen for two classes, see default_epochs().
    n_seen: int = 0
    n_steps: int = 10_000  # for many clips, as many epochs as make so many optimiser steps
    val: float = 0.15  # default of `--val`
    augmentation: Augmentation | None = None  # how the training rows are varied; None: not at all
    # How many variations of each of its clips a batch has. Several make a step's direction surer than as many steps on
    # one each (batch augmentation, Hoffer et al. 2020).
    n_views: int = 1
    # `build` also takes `n_steps`, over which the learning rate follows a schedule, and `n_columns`, the width of the
    # input. The padding of short clips has no influence on such a model, so the same weights are the same function at
    # any width that holds the clips.
    variable_width: bool = False
    # Whether it is trained through train.models.fast_path, which says for which models that is possible.
    fast_path: bool = False


def build_model(
    name: str,
    n_classes: int,
    learning_rate: float | None = None,
    n_steps: int | None = None,
    n_columns: int = N_COLUMNS,
) -> Model:
    """Build and compile one of the models in `RECIPES`; a UserError lists them if there is none of this name.

    The input is (batch, 128, n_columns, 1) in [0, 1], the output (batch, n_classes) probabilities.

    Parameters
    ----------
    learning_rate
        Instead of the recipe's own.
    n_steps
        Optimiser steps that the training will take, for a model with a schedule; None: the model will not be trained,
        and plain Keras can load its file.
    n_columns
        Width of the input if the recipe has a variable width, see input_columns(); otherwise it is 128.
    """
    found = recipe(name)
    if not found.variable_width:
        return found.build(n_classes, learning_rate)
    return found.build(n_classes, learning_rate, n_steps, n_columns)


def build_to_train(name: str, n_classes: int, learning_rate: float | None, n_steps: int, n_frames: int) -> Model:
    """Build the model to train instead of build_model()'s: the same weights in the same order, in less work.

    The input (batch, 128, n_columns, 1) holds the `n_frames` frames of the longest clip, and lacks columns of padding.
    """
    model = build_model(name, n_classes, learning_rate, n_steps, input_columns(name, n_frames))
    if not recipe(name).fast_path:
        return model

    from train.models.fast_path import fast_to_train

    return fast_to_train(model, n_frames)


def input_columns(name: str, n_frames: int) -> int:
    """Return the narrowest input for which a model can be built when no clip has more frames than `n_frames`."""
    if not recipe(name).variable_width:
        return N_COLUMNS
    # Keras warns of a softmax over one frame, which is all that is left of a narrower input.
    return min(N_COLUMNS, max(2, -(-n_frames // STRIDE)) * STRIDE)


def default_epochs(own: Recipe, n_clips: int, n_classes: int, batch_size: int) -> int:
    """Return how many epochs a model is trained on so many clips of so many classes.

    It takes some number of steps to learn a few hundred clips, however many they are, and more for more classes. So the
    fewer clips there are, the more often they are gone through. After `n_steps` of the recipe, more steps gain little.
    """
    n_clips = max(n_clips, 1)
    of_few = own.n_seen * math.sqrt(n_classes / 2) / n_clips
    wanted = max(own.epochs, min(_MOST_EPOCHS, round(of_few)))
    return min(wanted, max(_FEWEST_EPOCHS, own.n_steps * batch_size // n_clips))


def recipe(name: str) -> Recipe:
    """Return the recipe of that name; a UserError lists the names there are."""
    if name not in RECIPES:
        raise UserError(f"there is no model {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


RECIPES: dict[str, Recipe] = {
    "baseline": Recipe(baseline, epochs=15, fast_path=True),
    "dropout": Recipe(dropout, epochs=20, fast_path=True),
    # The schedule ends at a learning rate of 0, so the last epoch is the one to keep and all clips can train.
    "compact": Recipe(
        compact,
        epochs=16,
        n_seen=13_000,
        n_steps=5_500,
        val=0.0,
        augmentation=Augmentation(),
        n_views=2,
        variable_width=True,
    ),
}
