"""build_model(): the compiled CNNs, by name.

Keras is imported inside the functions, so that the names are known without starting TensorFlow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cache.terminal import UserError

INPUT_SHAPE = (128, 128, 1)


@dataclass(frozen=True)
class Recipe:
    """How one model is built, and how long it is trained when the user does not say.

    Attributes
    ----------
    build
        Takes the number of classes and the learning rate (None: its own) and returns the compiled model.
    epochs
        Default of `--epochs`.
    """

    build: Callable[[int, float | None], Any]
    epochs: int


def build_model(name: str, n_classes: int, learning_rate: float | None = None) -> Any:
    """Build one of the models in `RECIPES`.

    Parameters
    ----------
    name
        A key of `RECIPES`.
    n_classes
        Number of softmax outputs, at least 1.
    learning_rate
        Instead of the recipe's own.

    Returns
    -------
    keras.Model
        Built and compiled: input (batch, 128, 128, 1) in [0, 1], output (batch, n_classes) probabilities.

    Raises
    ------
    UserError
        There is no such model.
    """
    return recipe(name).build(n_classes, learning_rate)


def recipe(name: str) -> Recipe:
    """Return the recipe of that name; a UserError lists the names there are."""
    if name not in RECIPES:
        raise UserError(f"there is no model {name!r}; there is {', '.join(RECIPES)}")
    return RECIPES[name]


def _baseline(n_classes: int, learning_rate: float | None) -> Any:
    from train.backend import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(INPUT_SHAPE),
            layers.Conv2D(32, (3, 3), activation="relu", padding="same"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu", padding="same"),
            layers.MaxPooling2D((2, 2)),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(n_classes, activation="softmax"),
        ],
        name="baseline",
    )
    optimizer = keras.optimizers.Adam() if learning_rate is None else keras.optimizers.Adam(learning_rate)
    model.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
    return model


RECIPES: dict[str, Recipe] = {
    "baseline": Recipe(_baseline, epochs=15),
}
